"""Forecasts of the positives still to come, of any past moment, and what they were worth.

The law: what a forecast rests on, the delays and the map of what had settled by then and the
actions that were open, follows from rows that are kept. So any past forecast can be made again;
`day_forecasts` makes those that are kept, a day's when it is known.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from agents_topics.calibration import DaySums
from tables.calibration_bins import Sums, bin_index_of
from tables.day_curve import DAY_MS, DayBin, Span, day_bins
from tables.delay_curve import age_bucket
from tables.forecast import Forecast, Waiting, forecast
from tables.open_actions import POSITIVE, DayDelays, Delays, Followed, delays_known
from tables.recalibration import recalibration


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a stream: its actions, its delays by day, its day rows, its window."""

    followed: Sequence[Followed]
    delays: Sequence[DayDelays]
    days: Sequence[DaySums]
    window_ms: int

    def bins_known(self, known_by_day: int) -> list[DayBin]:
        """The bins of what had settled by the end of a day."""
        return day_bins(self.days, Span(known_by_day=known_by_day))

    def delays_known(self, known_by_day: int, bins: Sequence[DayBin]) -> Delays:
        """The delays of the same."""
        failure_count = sum(held.all.sums.n - held.all.sums.sy for held in bins)
        return delays_known(self.delays, known_by_day, failure_count)

    def waiting_at(self, at_ms: int) -> list[Followed]:
        """The open actions whose window had not closed.

        Later only a person's label could still decide.
        """
        return [
            one
            for one in self.followed
            if one.is_open(at_ms) and at_ms - one.created_at_ms < self.window_ms
        ]

    def silent_at(self, at_ms: int) -> list[Followed]:
        """Those of them that no signal had reached."""
        return [one for one in self.waiting_at(at_ms) if one.status_at(at_ms) is None]


@dataclass(frozen=True, slots=True)
class ScoredForecast:
    """The forecast made at the end of a day, and how many positives came of the actions it saw."""

    day: int
    made: Forecast
    came: int


def end_of(day: int) -> int:
    """The moment at which a day has ended.

    >>> end_of(0)
    86400000
    """
    return (day + 1) * DAY_MS


def forecast_at(history: History, at_ms: int, known_by_day: int) -> Forecast | None:
    """The forecast of a moment; None where nothing is open or too little had closed.

    Args:
        history: All that is known; what is later than the moment changes nothing.
        at_ms: The moment; what begins or comes at it is not known yet.
        known_by_day: The last day whose settled outcomes were known.
    """
    bins = history.bins_known(known_by_day)
    delays = history.delays_known(known_by_day, bins)
    counts = Counter(
        (one.millionths, age_bucket(at_ms - one.created_at_ms, history.window_ms))
        for one in history.silent_at(at_ms)
    )
    return forecast_of(counts, delays, [held.lead.sums for held in bins])


def forecast_of(
    counts: Mapping[tuple[int, int], int], delays: Delays, lead: Sequence[Sums]
) -> Forecast | None:
    """The forecast of so many silent actions by confidence in millionths and bucket of age.

    They are taken in order: the same actions give the same bits. `lead` are the bins' sums.
    """
    silence = cache(delays.silence)
    waiting = []
    for (millionths, bucket), n in sorted(counts.items()):
        shares = silence(bin_index_of(millionths))
        if shares is None:
            return None
        waiting.append(Waiting(millionths, shares[bucket], n))
    return forecast(waiting, recalibration(lead)) if waiting else None


def scored_forecasts(history: History, days: Iterable[int]) -> list[ScoredForecast]:
    """The forecasts of those of these days whose open actions have all settled by now.

    Also those that a signal had reached: a label could overrule it, and they were silent then.
    """
    scored = []
    for day in days:
        silent = history.silent_at(end_of(day))
        made = forecast_at(history, end_of(day), day)
        if made is not None and all(one.is_settled for one in history.waiting_at(end_of(day))):
            scored.append(ScoredForecast(day, made, sum(o.status == POSITIVE for o in silent)))
    return scored

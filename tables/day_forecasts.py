"""The forecasts that are kept: one a stream and day, as of the day's end, scored when all is known.

The law: a day has closed for a stream when an outcome that settles later has entered; by then all
that began before its end is known, and what of it had been heard. So which days have forecasts, and
what they say, follows from outcomes alone. A score counts when all that was open has settled before
the end of the last closed day.

References:
    Dawid, A. P. (1984). Present Position and Potential Developments: Some Personal Views:
    Statistical Theory: The Prequential Approach. JRSS A 147. A forecaster is judged by the
    forecasts made in turn, each from what was known, and by what came.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tables.calibration_bins import BIN_COUNT, Sums
from tables.forecast import Forecast
from tables.open_actions import DayDelays, delays_known
from tables.past_forecasts import end_of, forecast_of


class OpenGroup(NamedTuple):
    """Actions of one confidence and bucket of age that were open at the end of a day.

    How many were silent, how many of those are positive by now, when the last of all settles, and
    whether an expired one counts as 0.
    """

    day: int
    millionths: int
    bucket: int
    silent: int
    came: int
    settles_at_ms: int
    expired_counts: bool


class DayKnown(NamedTuple):
    """Of a bin, what became known on a day: sums of lead records, and failures of all."""

    known_day: int
    bin_index: int
    n: int
    sp: int
    sy: int
    failures: int


@dataclass(frozen=True, slots=True)
class DayForecast:
    """The forecast of the end of a day; how many came, once all that was open has settled."""

    day: int
    made: Forecast
    settles_at_ms: int
    came: int | None


@dataclass(frozen=True, slots=True)
class Known:
    """What the forecasts of some days rest on."""

    open: Sequence[OpenGroup]
    sums: Sequence[DayKnown]
    delays: Sequence[DayDelays]


def day_forecasts(known: Known, closed_day: int) -> Iterator[DayForecast]:
    """The forecasts of the days on which something was silent and enough was known.

    There is none where an expired action does not count: it waits for no success.

    >>> told = DayDelays(9, 2, 0, 200, 0)  # of the upper third 200 positives came at once
    >>> sums = DayKnown(9, 8, n=300, sp=300 * 820_000, sy=240, failures=60)
    >>> fresh = OpenGroup(10, 820_000, 0, 50, 38, 11 * 86_400_000, True)
    >>> (found,) = day_forecasts(Known([fresh], [sums], [told]), closed_day=12)
    >>> found.day, found.made.count, found.came
    (10, 50, 38)
    """
    of_day: dict[int, list[OpenGroup]] = {}
    for group in known.open:
        of_day.setdefault(group.day, []).append(group)
    for day, groups in sorted(of_day.items()):
        counts = {(one.millionths, one.bucket): one.silent for one in groups if one.silent}
        if not counts or not all(one.expired_counts for one in groups):
            continue
        made = _made_of(counts, day, known)
        if made is not None:
            settles_at_ms = max(one.settles_at_ms for one in groups)
            is_over = settles_at_ms < end_of(closed_day)
            came = sum(one.came for one in groups) if is_over else None
            yield DayForecast(day, made, settles_at_ms, came)


def _made_of(counts: dict[tuple[int, int], int], day: int, known: Known) -> Forecast | None:
    lead, failures = [Sums() for _ in range(BIN_COUNT)], 0
    for one in known.sums:
        if one.known_day <= day:
            held = lead[one.bin_index]
            held.n += one.n
            held.sp += one.sp
            held.sy += one.sy
            failures += one.failures
    return forecast_of(counts, delays_known(known.delays, day, failures), lead)

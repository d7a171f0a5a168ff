"""How many of a stream's open actions will still come true, and what past forecasts were worth.

The law: a past forecast that is not stored is made again, from what was known then: it is the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agents_topics.calibration import DaySums, StreamCalibration
from sinks.postgres.calibration_readings import (
    calibration_streams,
    day_delays,
    followed_actions,
    followed_bounds,
    stream_days,
)
from sinks.postgres.forecasts import stored_scores
from tables.day_curve import DAY_MS, day_of
from tables.forecast import Forecast, past_coverage
from tables.open_actions import POSITIVE, DayDelays, Followed
from tables.past_forecasts import (
    History,
    ScoredForecast,
    end_of,
    forecast_at,
    scored_forecasts,
)
from tables.stream import Stream, stream_of
from trueup.curve import date_of
from trueup.curve_words import stream_words
from trueup.plain_text import counted, utc_s

SCORED_DAYS = 30


@dataclass(frozen=True, slots=True)
class Foretold:
    """The forecast of a stream at a moment; what came, if all of it has settled; past ones.

    `why_not` says why there is no forecast, and is empty where there is one.
    """

    stream: Stream
    at_ms: int
    made: Forecast | None
    came: int | None
    past: list[ScoredForecast]
    why_not: str


async def read_forecasts(
    url: str, tenant_id: str, action_type: str, as_of_day: int | None, scored_days: int
) -> list[Foretold]:
    """The forecasts of the streams of an action type, at the end of a day or now."""
    found = await calibration_streams(url, tenant_id, action_type)
    return [await _foretold(url, one, as_of_day, scored_days) for one in found]


async def _foretold(
    url: str, stands: StreamCalibration, as_of_day: int | None, scored_days: int
) -> Foretold:
    stream = stream_of(stands)
    bounds = await followed_bounds(url, stream)
    if bounds is None:
        return Foretold(stream, stands.last_settled_at_ms, None, None, [], "no action is stored")
    _, wait_ms, latest_ms, expired_counts = bounds
    at_ms = latest_ms + 1 if as_of_day is None else end_of(as_of_day)
    if not expired_counts:
        why_not = "confidence means success given a signal, which open actions need not get"
        return Foretold(stream, at_ms, None, None, [], why_not)
    day = day_of(at_ms - 1)
    last_scored = day - -(-wait_ms // DAY_MS)
    past_days = range(last_scored - scored_days + 1, last_scored + 1)
    past = await _stored(url, stream, past_days)
    days, summed_up_to = await _days(url, stream)
    if day < summed_up_to:
        why_not = (
            f"{date_of(day)} is older than what is kept by the day, which is since"
            f" {date_of(summed_up_to)} (TRUEUP_DAYS_KEPT); what was said then stands in"
            " calibration_forecasts"
        )
        return Foretold(stream, at_ms, None, None, [past[one] for one in sorted(past)], why_not)
    missing = [one for one in past_days if one not in past and one >= summed_up_to]
    since_ms = min([at_ms, *(end_of(one) for one in missing)]) - wait_ms - DAY_MS
    history = await _history(url, stream, since_ms, days)
    past |= {one.day: one for one in scored_forecasts(history, missing)}
    made = forecast_at(history, at_ms, day)
    silent = history.silent_at(at_ms)
    is_over = bool(silent) and all(one.is_settled for one in silent)
    came = sum(one.status == POSITIVE for one in silent) if is_over else None
    why_not = "" if made else _why_not(silent)
    return Foretold(stream, at_ms, made, came, [past[one] for one in sorted(past)], why_not)


async def _stored(url: str, stream: Stream, days: range) -> dict[int, ScoredForecast]:
    """Those of these days that the publisher has written, and their scores."""
    rows = await stored_scores(url, stream, days.start, days.stop - 1)
    return {day: ScoredForecast(day, Forecast(*made), came) for day, *made, came in rows}


def _why_not(silent: list[Followed]) -> str:
    if not silent:
        return "no action waits"
    return f"{counted(len(silent), 'action')} wait, but fewer than 100 positives were known"


async def _days(url: str, stream: Stream) -> tuple[list[DaySums], int]:
    """Day rows, and from which day on it is told what was known at its end."""
    kept, earlier = await stream_days(url, stream)
    return [*earlier, *kept], max((row.known_day for row in earlier), default=0)


async def _history(url: str, stream: Stream, since_ms: int, days: list[DaySums]) -> History:
    return History(
        [Followed(*row) for row in await followed_actions(url, stream, since_ms)],
        [DayDelays(*row) for row in await day_delays(url, stream)],
        days,
        stream.window_ms,
    )


def forecast_lines(told: Foretold, with_scores: bool) -> Iterator[str]:
    """The forecast, what came of it, and how past ones did."""
    yield stream_words(told.stream)
    if told.made is None:
        yield f"  {utc_s(told.at_ms)}: no forecast: {told.why_not}"
    else:
        yield f"  {utc_s(told.at_ms)}: of {_made_words(told.made)}{_came_words(told)}"
    if not told.past:
        yield "  no past forecast can be scored yet: too little has settled"
        return
    coverage = past_coverage([(one.made, one.came) for one in told.past])
    error = sum(one.made.expected - one.came for one in told.past) / len(told.past)
    assert coverage is not None
    yield (
        f"  past: of {counted(len(told.past), 'forecast')}, one a day, {100 * coverage:.0f} % held"
        f" what came (95 % are to); on average {abs(error):.1f} too"
        f" {'high' if error > 0 else 'low'}"
    )
    for one in told.past if with_scores else []:
        verdict = "held" if one.made.covers(one.came) else "missed"
        yield f"    {date_of(one.day)}: of {_made_words(one.made)}; {one.came:,} came: {verdict}"


def _made_words(made: Forecast) -> str:
    return (
        f"{made.count:,} that wait without a signal about {made.expected:,.0f} will still come true"
        f" ({made.low:,.0f} to {made.high:,.0f})"
    )


def _came_words(told: Foretold) -> str:
    if told.came is None or told.made is None:
        return ""
    return f"; {told.came:,} came: {'held' if told.made.covers(told.came) else 'missed'}"


def forecast_json(told: Foretold) -> dict[str, Any]:
    """The same in plain values."""
    scored = [(one.made, one.came) for one in told.past]
    return {
        "stream": told.stream._asdict(),
        "at": utc_s(told.at_ms),
        "forecast": _forecast_json(told.made) if told.made else None,
        "why_not": told.why_not,
        "came": told.came,
        "coverage": past_coverage(scored),
        "past": [
            {"day": date_of(one.day).isoformat(), "came": one.came} | _forecast_json(one.made)
            for one in told.past
        ],
    }


def _forecast_json(made: Forecast) -> dict[str, float]:
    return {
        "waiting": made.count,
        "expected": made.expected,
        "low": made.low,
        "high": made.high,
    }

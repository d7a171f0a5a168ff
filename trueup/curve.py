"""What is known of the streams of an action type: settled bins of a span, and what is still open.

The law: what is provisional is computed here, when it is read, and decides nothing. It stands
beside the check of the last cohort that has closed, and is withheld where that failed. "Now" is the
latest moment that the stream's rows tell of, not a clock: of rows from years ago it is years ago.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from agents_topics.calibration import DaySums, StreamCalibration, StreamTrend
from agents_topics.policy import Policy
from sinks.postgres.calibration_readings import (
    StreamKey,
    calibration_streams,
    calibration_trends,
    day_delays,
    followed_actions,
    followed_bounds,
    residual_cells,
    stream_days,
    stream_delays,
    stream_segments,
)
from tables.calibration_bins import BIN_COUNT, bin_index_of
from tables.day_curve import ALL_DAYS, DAY_MS, DayBin, Span, day_bins, day_of, sums_of
from tables.open_actions import (
    DayDelays,
    Delays,
    Followed,
    closed_cohort_at,
    delays_known,
    delays_of,
    last_check,
    provisional_rates,
)
from tables.past_forecasts import end_of
from tables.provisional import DelayCheck, ProvisionalRate
from tables.smooth_error import ResidualGrid, smooth_error
from tables.stream import Stream, stream_of

TARGET_DEFAULT = 0.7
_EPOCH = date(1970, 1, 1)


class NotKept(Exception):
    """The curve that is asked parts days that are only kept as a sum: says since when it can be."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which curve: of a span, of the last days that have settled, or of one segment."""

    span: Span = ALL_DAYS
    days: int | None = None
    segment: tuple[str, str] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the curve of all that has settled: what test and threshold rest on."""
        return self == Asked()


@dataclass(frozen=True, slots=True)
class Provisional:
    """What is open: how many by bin with their Σp in millionths, rates, the check, why withheld."""

    counts: list[int]
    sp_millionths: list[int]
    rates: list[ProvisionalRate | None]
    pooled: ProvisionalRate | None
    check: DelayCheck
    why_withheld: str

    @property
    def n(self) -> int:
        """How many actions are open."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Curve:
    """The curve of one stream.

    `tested` are the bins of what the test in force has seen; `first_day` and `last_day` are those
    of the actions in `bins`, None where a segment is asked, which has no days. What was known up to
    `summed_up_to`, the latest day of settle times of which only a sum is kept, has no first day.
    `pending` are by bin the actions of the span that are open; None where a segment is asked.
    """

    stream: Stream
    stands: StreamCalibration
    target: float
    asked: Asked
    bins: list[DayBin]
    tested: list[DayBin]
    first_day: int | None
    last_day: int | None
    is_test_anew: bool
    smooth_error: float | None
    provisional: Provisional | None
    summed_up_to: int | None = None
    pending: list[int] | None = None
    trends: Sequence[StreamTrend] = ()
    """Of the whole curve alone."""

    @property
    def is_of_one_moment(self) -> bool:
        """Whether its intervals hold at one fixed time."""
        return self.asked.span.is_of_one_moment

    @property
    def has_bands(self) -> bool:
        """Whether it may be said where a perfect agent's rates would lie."""
        return self.is_of_one_moment and self.asked.span.half_life_days is None


async def read_curves(
    url: str,
    policy: Policy,
    tenant_id: str,
    action_type: str,
    asked: Asked,
    outcome_type: str | None = None,
    source: str | None = None,
) -> list[Curve]:
    """The curves of the streams of an action type, those of the longest windows last.

    Raises:
        NotKept: too little is kept by the day.
    """
    found = await calibration_streams(url, tenant_id, action_type)
    kept = [
        one
        for one in found
        if outcome_type in (None, one.outcome_type) and source in (None, one.confidence_source)
    ]
    trends = await calibration_trends(url, tenant_id, action_type) if asked.is_whole else []
    return [await _curve(url, policy, one, asked, trends) for one in kept]


async def _curve(
    url: str,
    policy: Policy,
    stands: StreamCalibration,
    asked: Asked,
    trends: Sequence[StreamTrend],
) -> Curve:
    stream = stream_of(stands)
    kept, earlier = await stream_days(url, stream)
    days = [*earlier, *kept]
    since = day_of(stands.tested_since_ms)
    span = _span(asked, days)
    _check_kept(span, days, earlier)
    bins = day_bins(days, span)
    held = [row.action_day for row in days if span.holds(row)]
    is_summed = any(span.holds(row) for row in earlier)
    smooth = None
    if asked.segment is not None:
        bins = await _segment_bins(url, stream, asked.segment)
    elif span.half_life_days is None:
        smooth = await _smooth(url, stream, span)
    followed = await _followed(url, stream, span)
    return Curve(
        stream=stream,
        stands=stands,
        target=target_of(policy, stands),
        asked=Asked(span, asked.days, asked.segment),
        bins=bins,
        tested=day_bins(days, Span(known_since_day=since)),
        first_day=None if asked.segment or is_summed else min(held, default=None),
        last_day=None if asked.segment else max(held, default=None),
        is_test_anew=any(row.known_day < since for row in days),
        smooth_error=smooth,
        provisional=await _provisional(url, stream, asked, followed),
        summed_up_to=max((row.known_day for row in earlier), default=None),
        pending=None if asked.segment else _pending(followed, span),
        trends=[trend for trend in trends if stream_of(trend) == stream],
    )


def target_of(policy: Policy, stands: StreamCalibration) -> float:
    """The success that the policy of a stream's last outcome means; by default where it is gone."""
    version = policy.by_digest.get(stands.policy_version)
    rules = version and version.rules_of(stands.tenant_id, stands.action_type, stands.outcome_type)
    return rules[0].target_success if rules else TARGET_DEFAULT


def _span(asked: Asked, days: Sequence[DaySums]) -> Span:
    """The span that is asked; the last days are counted from the last one with a settled action."""
    span = asked.span
    if asked.days is None:
        return span
    last = max((row.action_day for row in days if span.holds(row)), default=0)
    return Span(last - asked.days + 1, last, span.known_by_day, span.half_life_days)


def _check_kept(span: Span, days: Sequence[DaySums], earlier: Sequence[DaySums]) -> None:
    last_day = max((row.action_day for row in days if span.holds(row)), default=0)
    if all(span.can_tell(row, last_day) for row in earlier):
        return
    acted = max(row.action_day for row in earlier)
    known = max(row.known_day for row in earlier)
    raise NotKept(
        f"The curve that is asked is older than what is kept by the day: actions are since"
        f" {date_of(acted + 1)}, and what was known is at the end of each day since"
        f" {date_of(known)}; of all before there is one sum (TRUEUP_DAYS_KEPT). Ask for later days"
        f"{', or for a shorter --half-life' if span.half_life_days else ''}."
    )


async def _segment_bins(url: str, stream: StreamKey, segment: tuple[str, str]) -> list[DayBin]:
    bins = [DayBin() for _ in range(10)]
    for row in await stream_segments(url, stream):
        if (row.dimension, row.segment) == segment:
            held = bins[row.bin_index]
            held.all.update(sums_of(row.all), 1)
            held.lead.update(sums_of(row.lead), 1)
            held.counts = row.counts
    return bins


async def _smooth(url: str, stream: StreamKey, span: Span) -> float | None:
    grid = ResidualGrid()
    ends = (span.since_day, span.until_day, span.known_by_day)
    cells = await residual_cells(url, stream, *(None if d is None else date_of(d) for d in ends))
    for cell, n, own, following in cells:
        grid.n += n
        grid.mass[cell] += own
        if following:
            grid.mass[cell + 1] += following
    return smooth_error(grid)


@dataclass(frozen=True, slots=True)
class _Followed:
    """Actions that are open at a moment, and those of some time before; whether expired is 0."""

    actions: list[Followed]
    at_ms: int
    expired_counts: bool


async def _followed(url: str, stream: StreamKey, span: Span) -> _Followed | None:
    """As of now, or of the end of the day asked; None where no action is stored."""
    bounds = await followed_bounds(url, stream)
    if bounds is None:
        return None
    _, wait_ms, latest_ms, expired_counts = bounds
    at_ms = latest_ms + 1 if span.known_by_day is None else end_of(span.known_by_day)
    rows = await followed_actions(url, stream, at_ms - 2 * wait_ms - DAY_MS)
    return _Followed([Followed(*row) for row in rows], at_ms, expired_counts)


def _pending(followed: _Followed | None, span: Span) -> list[int]:
    """By bin how many actions of the span's days are open."""
    counts = [0] * BIN_COUNT
    if followed is None:
        return counts
    for one in followed.actions:
        day = day_of(one.created_at_ms)
        is_in = (span.since_day is None or day >= span.since_day) and (
            span.until_day is None or day <= span.until_day
        )
        if is_in and one.is_open(followed.at_ms):
            counts[bin_index_of(one.millionths)] += 1
    return counts


async def _provisional(
    url: str, stream: StreamKey, asked: Asked, followed: _Followed | None
) -> Provisional | None:
    """What is open then; None where a part of the curve alone is asked."""
    span = asked.span
    if followed is None or Asked(Span(known_by_day=span.known_by_day)) != asked:
        return None
    actions, at_ms = followed.actions, followed.at_ms
    by_day = [DayDelays(*row) for row in await day_delays(url, stream)]
    told = await stream_delays(url, stream) if span.known_by_day is None else None
    delays = (
        delays_of(told.positive, told.negative)
        if told
        else delays_known(by_day, day_of(at_ms - 1), 0)
    )
    window_ms = stream[3]
    cohort_at_ms = closed_cohort_at(actions, at_ms)
    then = delays_known(by_day, day_of(cohort_at_ms) - 1, 0)
    check = last_check(actions, cohort_at_ms, window_ms, then, followed.expired_counts)
    return provisional(actions, at_ms, window_ms, delays, check, followed.expired_counts)


def provisional(
    actions: Sequence[Followed],
    at_ms: int,
    window_ms: int,
    delays: Delays,
    check: DelayCheck,
    expired_counts: bool,
) -> Provisional:
    """What is open at a moment, with the reason where rates are not to be shown."""
    rates, pooled = provisional_rates(actions, at_ms, window_ms, delays, expired_counts)
    counts, sp = [0] * 10, [0] * 10
    for one in actions:
        if one.is_open(at_ms):
            index = bin_index_of(one.millionths)
            counts[index] += 1
            sp[index] += one.millionths
    return Provisional(counts, sp, rates, pooled, check, _why_withheld(pooled, delays, check))


def _why_withheld(pooled: ProvisionalRate | None, delays: Delays, check: DelayCheck) -> str:
    if delays.positive.shares(0) is None:
        known = sum(map(sum, delays.positive.counts))
        return f"only {known} of 100 positives are known whose window has closed"
    if pooled is None:
        return "nothing is old enough"
    if check.ratio is None:
        return "no cohort has closed yet by which to check it"
    if check.is_withheld:
        return (
            f"of the last cohort that has closed it would have said {check.ratio:.2f} times what"
            " came, so delays are not what they were"
        )
    return ""


def date_of(day: int) -> date:
    """A day since 1970-01-01.

    >>> date_of(20_458)
    datetime.date(2026, 1, 5)
    """
    return _EPOCH + timedelta(days=day)

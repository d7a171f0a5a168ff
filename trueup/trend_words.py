"""A stream's trends in words, in figures and in plain values."""

from collections.abc import Iterator, Sequence
from typing import Any

from agents_topics.calibration import StreamTrend
from tables.direction import OVER_CONFIDENT, UNDER_CONFIDENT
from tables.trends import STABLE, SUPPORTED, UNSUPPORTED, Metric
from trueup.plain_text import utc_s

TOLD = (
    "n", "previous_mean", "current_mean", "change_percent", "direction", "evidence",
    "supported_direction", "low", "high", "compared_count", "half_size",
)  # fmt: skip


def trend_words(trend: StreamTrend) -> str:
    """Both halves of the newest samples, and what the last comparison supports.

    >>> of = dict.fromkeys(("tenant_id", "action_type", "outcome_type", "confidence_source"), "x")
    >>> fall = StreamTrend(**of, window_ms=1, metric="success_rate", n=200, previous_mean=0.71,
    ...     current_mean=0.52, change_percent=-26.8, direction="declining", evidence="supported",
    ...     supported_direction="declining", low=-0.33, high=-0.04, compared_count=1,
    ...     half_size=100, compared_at_ms=0)
    >>> trend_words(fall)  # doctest: +NORMALIZE_WHITESPACE
    'success: 52 % of the last 100, 71 % of the 100 before: declining, and the evidence supports it
    (-0.33 to -0.04 at the last full 100)'
    """
    older_n = trend.n // 2
    newer, older = trend.current_mean, trend.previous_mean
    if Metric(trend.metric).is_gap:
        named, of = "calibration", "over"
        told = [f"{_side(newer)} by {abs(newer):.2f}", f"by {abs(older):.2f}"]
        if _side(older) != _side(newer):
            told[1] = f"{_side(older)} {told[1]}"
    else:
        named, of, told = "success", "of", [f"{100 * mean:.0f} %" for mean in (newer, older)]
    last = f"{told[0]} {of} the last {trend.n - older_n}"
    before = f", {told[1]} {of} the {older_n} before" if older_n else ""
    return f"{named}: {last}{before}: {_finding(trend)}"


def _side(gap: float) -> str:
    return OVER_CONFIDENT if gap >= 0 else UNDER_CONFIDENT


def _finding(trend: StreamTrend) -> str:
    if trend.low is None or trend.high is None:
        return f"no change can be shown before {2 * trend.half_size} lead records"
    ends = f"({trend.low:+.2f} to {trend.high:+.2f} at the last full {trend.half_size})"
    if trend.evidence == UNSUPPORTED:
        return f"no change is shown {ends}"
    shown = trend.supported_direction
    if shown == STABLE:
        return f"it has changed, but is not shown to be nearer to right or farther {ends}"
    if shown == trend.direction:
        return f"{shown}, and the evidence supports it {ends}"
    return f"{trend.direction} now; {shown} at the last comparison, which supports it {ends}"


def trends_json(trends: Sequence[StreamTrend]) -> dict[str, dict[str, Any]]:
    """By metric the record without its stream; its time in words."""
    return {
        trend.metric: {name: getattr(trend, name) for name in TOLD}
        | {"compared_at": None if trend.compared_at_ms is None else utc_s(trend.compared_at_ms)}
        for trend in trends
    }


def trend_figures(trends: Sequence[StreamTrend]) -> Iterator[str]:
    """A line for each: means, change and direction; the last comparison with its interval."""
    for one in trends:
        percent = "" if one.change_percent is None else f" ({one.change_percent:+.1f} %)"
        told = (
            f"{one.metric} {one.previous_mean:.4f} → {one.current_mean:.4f}{percent} of"
            f" {one.n} samples, {one.direction}"
        )
        if one.low is None or one.high is None or one.compared_at_ms is None:
            yield f"{told}; not compared yet"
            continue
        word = one.supported_direction if one.evidence == SUPPORTED else one.evidence
        yield (
            f"{told}; comparison {one.compared_count} of {one.half_size} with {one.half_size}, at"
            f" {utc_s(one.compared_at_ms)}: {word}, {one.low:+.4f} to {one.high:+.4f}"
        )

"""Where thresholds stand and why, and what came of moving them, in words."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from agents_topics.calibration import StreamCalibration, ThresholdAdjustment
from tables.calibration_bins import UNIT
from tables.stream import Stream, stream_of
from trueup.curve_words import stream_words
from trueup.plain_text import counted, shown, utc_s

_CAUSES = {
    "evidence": "by evidence",
    "set": "set by a person",
    "roll_back": "rolled back by a person",
    "release": "released by a person",
}


def threshold_lines(
    streams: Sequence[StreamCalibration],
    adjustments: Sequence[ThresholdAdjustment],
    names: dict[str, str],
) -> Iterator[str]:
    """For each stream its threshold, the reason, and the adjustments that are given."""
    for one in streams:
        stream, now = stream_of(one), one.threshold_millionths / UNIT
        since = one.threshold_changed_at_ms
        held = ", held by a person" if one.is_threshold_held else ""
        changed = f" since {utc_s(since)}" if since is not None else ", as at first"
        tenant = names.get(one.tenant_id, one.tenant_id)
        yield f"{tenant}: {stream_words(stream)}: threshold {now:.3f}{changed}{held}"
        yield f"  {shown(one.reason)}"
        own = [a for a in adjustments if adjusted_stream(a) == stream]
        for adjustment in own:
            yield from _adjustment_lines(adjustment)


def adjusted_stream(adjustment: ThresholdAdjustment) -> Stream:
    """Whose threshold moved."""
    return Stream(*(getattr(adjustment, name) for name in Stream._fields))


def _adjustment_lines(one: ThresholdAdjustment) -> Iterator[str]:
    yield (
        f"  {one.number}. {utc_s(one.at_ms)} {one.old_threshold:.3f} → {one.new_threshold:.3f}"
        f" {_CAUSES[one.cause]}: {shown(one.reason)}"
    )
    told = filter(None, (_expected(one), _observed(one)))
    if words := "; ".join(told):
        yield f"     {words}"


def _expected(one: ThresholdAdjustment) -> str:
    if one.cause != "evidence":
        return ""
    before, after = map(_rate, (one.expected_before, one.expected_after))
    return f"expected success there {before} → {after}"


def _rate(rate: float | None) -> str:
    return "unobserved" if rate is None else f"{rate:.3f}"


def _observed(one: ThresholdAdjustment) -> str:
    if one.observed_before is None or one.observed_after is None:
        seen = counted(one.observed_n_after, "lead record")
        return f"observed: not enough yet, {seen} since"
    return (
        f"observed {one.observed_before:.3f} of {one.observed_n_before:,} before,"
        f" {one.observed_after:.3f} of {one.observed_n_after:,} since"
    )


def thresholds_json(
    streams: Sequence[StreamCalibration], adjustments: Sequence[ThresholdAdjustment]
) -> list[dict[str, Any]]:
    """The same in plain values."""
    return [
        {
            "stream": stream_of(one)._asdict(),
            "threshold": one.threshold_millionths / UNIT,
            "is_held": one.is_threshold_held,
            "changed_at_ms": one.threshold_changed_at_ms,
            "reason": one.reason,
            "adjustments": [asdict(a) for a in adjustments if adjusted_stream(a) == stream_of(one)],
        }
        for one in streams
    ]

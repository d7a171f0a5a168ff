"""What `calibration-updates` says of a stream: absolute values of all that has changed.

The keys: the stream, and behind it the bin, or a word and what tells the records of a kind apart.
"""

from collections.abc import Iterator
from typing import Any, cast

from agents_topics.calibration import (
    DaySums,
    DelaySums,
    SegmentSums,
    StreamCalibration,
    StreamTrend,
)
from agents_topics.events import BinSums, CalibrationUpdate
from tables.calibration_bins import StreamBin, Sums
from tables.stream import Stream
from tables.stream_calibration import Event, StreamFold
from tables.stream_sums import DayKey, SegmentKey, StreamSums
from tables.verdict import verdict

Record = (
    CalibrationUpdate | StreamCalibration | DaySums | SegmentSums | DelaySums | StreamTrend | Event
)


def stream_key(stream: Stream) -> str:
    """The record key of a stream, in `threshold-adjustments` and `calibration-maps`.

    >>> stream_key(Stream("t", "qualify", "deal_progression", 60000, "judge"))
    't/qualify/deal_progression/60000/judge'
    """
    return "/".join(map(str, stream))


def records_of(fold: StreamFold) -> Iterator[tuple[str, Record]]:
    """Every record of a stream that has changed since they were last told, with its key.

    Events are taken: whoever asks tells them. The rest stays as changed until the fold is told so.
    """
    stream, sums, key = fold.stream, fold.sums, stream_key(fold.stream)
    for index in sorted(sums.changed.bins):
        yield f"{key}/{index}", _bin_record(stream, index, sums.bins[index])
    for day, held in sums.changed.days.items():
        yield f"{key}/day/{'/'.join(map(str, day))}", _day_record(stream, day, held)
    for segment in sorted(sums.changed.segments):
        name = "/".join(map(str, segment))
        yield f"{key}/segment/{name}", _segment_record(stream, segment, sums.segments[segment])
    if sums.changed.has_delays:
        yield f"{key}/delay", _delay_record(stream, sums)
    for trend in fold.trends.records() if fold.trends.is_changed else ():
        yield f"{key}/trend/{trend.metric}", trend
    for event in fold.take_events():
        yield f"{key}/{event.kind}/{event.number}", event
    if fold.judged is not None:
        yield f"{key}/stream", stream_record(fold)


def emptied_of(fold: StreamFold) -> Iterator[tuple[str, CalibrationUpdate]]:
    """A stream is gone, its tenant forgotten: each of its bins says so by having no counts."""
    key = stream_key(fold.stream)
    for index in sorted(fold.sums.bins):
        yield f"{key}/{index}", _bin_record(fold.stream, index, StreamBin())


def stream_record(fold: StreamFold) -> StreamCalibration:
    """Where a stream stands."""
    judged, acting, rule = fold.judged, fold.acting, fold.rule
    assert judged and acting and rule, "nothing has entered"
    test, threshold = judged.test, acting.threshold
    found = verdict(judged.lead, test.raw, test.alpha)
    epoch, error = test.epoch, found.error
    return StreamCalibration(
        **fold.stream._asdict(),
        policy_version=fold.policy_version,
        tested_since_ms=judged.since_ms,
        n=test.raw.n,
        excluded_n=test.raw.excluded_n,
        log_evidence_nanos=found.log_evidence_nanos,
        worst_log_evidence_nanos=test.raw.robust_log_nanos(),
        peak_log_evidence_nanos=test.peak_nanos,
        alarm_at_ms=judged.alarm.opened_at_ms if judged.alarm else None,
        verdict=cast(Any, found.word),
        is_calibrated=found.is_calibrated,
        error=error.root if error else None,
        error_low=error.low if error else None,
        error_high=error.high if error else None,
        map_a_millionths=epoch.map.a_millionths if epoch else None,
        map_b_millionths=epoch.map.b_millionths if epoch else None,
        map_adopted_at_ms=epoch.adopted_at_ms if epoch else None,
        map_log_evidence_nanos=test.of_map.log_nanos(),
        threshold_millionths=threshold.value,
        threshold_changed_at_ms=threshold.changed_at_ms,
        is_threshold_held=threshold.is_held,
        reason=acting.why(rule, test),
        last_settled_at_ms=fold.last_settled_at_ms,
    )


def _bin_record(stream: Stream, index: int, held: StreamBin) -> CalibrationUpdate:
    return CalibrationUpdate(
        **stream._asdict(),
        bin_index=index,
        **_three(held),
        last_settled_at_ms=held.last_settled_at_ms,
        residuals=list(map(str, held.residuals or ())),
    )


def _day_record(stream: Stream, key: DayKey, held: StreamBin) -> DaySums:
    return DaySums(**stream._asdict(), **key._asdict(), **_three(held))


def _segment_record(stream: Stream, key: SegmentKey, held: StreamBin) -> SegmentSums:
    return SegmentSums(**stream._asdict(), **key._asdict(), **_three(held))


def _three(held: StreamBin) -> dict[str, Any]:
    return {
        "all": _bin_sums_of(held.all),
        "lead": _bin_sums_of(held.lead),
        "counts": dict(held.counts),
    }


def _bin_sums_of(sums: Sums) -> BinSums:
    return BinSums(
        n=sums.n,
        sp=sums.sp,
        spp=str(sums.spp),
        sy=sums.sy,
        spy=sums.spy,
        excluded_n=sums.excluded_n,
        excluded_sp=sums.excluded_sp,
        excluded_spp=str(sums.excluded_spp),
    )


def _delay_record(stream: Stream, sums: StreamSums) -> DelaySums:
    return DelaySums(
        **stream._asdict(),
        positive=[list(row) for row in sums.positive.counts],
        negative=[list(row) for row in sums.negative.counts],
        counts=list(sums.delays.counts),
        sum_ms=sums.delays.sum_ms,
    )

"""The changelog's rows of a stream, out and in.

`b/` a bin, `d/` a day of it, `g/` a segment of it, `l/` delays, `n/` trends, `t/` test and
threshold; each begins with its stream and holds absolute values. A `b/` row of an earlier release
has no residuals, a stream without a `t/` row begins its test with its next outcome, and one without
an `n/` row its trends.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec

from agents_topics.calibration import CalibrationAlarm, ThresholdAdjustment
from tables.calibration_bins import SUM_NAMES, StreamBin, Sums
from tables.delay_curve import DelayCurve
from tables.label_delay import LabelDelay
from tables.miscalibration_test import MiscalibrationTest
from tables.stream import Stream
from tables.stream_calibration import StreamFold
from tables.stream_records import stream_key
from tables.stream_sums import Changed, DayKey, SegmentKey
from tables.stream_test import StreamTest
from tables.stream_threshold import ActedOn, StreamRule, StreamThreshold
from tables.thresholds import Threshold

Row = Sequence[Any]
_values_of = attrgetter(*SUM_NAMES)
KINDS = (b"b/", b"d/", b"g/", b"l/", b"n/", b"t/")


def take_rows(fold: StreamFold) -> dict[bytes, Row | None]:
    """The rows of what has changed (None deletes); after this nothing has."""
    sums, stream, key = fold.sums, fold.stream, stream_key(fold.stream)
    changed, sums.changed = sums.changed, Changed()
    rows: dict[bytes, Row | None] = {}
    for index in changed.bins:
        held = sums.bins[index]
        residuals = [] if held.residuals is None else [list(map(str, held.residuals))]
        row = (stream, index, *_bin_row(held), held.last_settled_at_ms, *residuals)
        rows[f"b/{key}/{index}".encode()] = row
    for day in changed.dropped_days:
        rows[_name("d", key, day)] = None
    for day in changed.days.keys() & sums.days.keys():
        rows[_name("d", key, day)] = (stream, day, *_bin_row(sums.days[day]))
    for segment in changed.segments:
        rows[_name("g", key, segment)] = (stream, segment, *_bin_row(sums.segments[segment]))
    if changed.has_delays:
        delays = sums.delays
        curves = (sums.positive.counts, sums.negative.counts)
        rows[f"l/{key}".encode()] = (stream, *curves, delays.counts, delays.sum_ms)
    if fold.trends.is_changed:
        fold.trends.is_changed = False
        rows[f"n/{key}".encode()] = (stream, *fold.trends.row())
    if fold.judged is not None:
        rows[f"t/{key}".encode()] = _test_row(fold)
    return rows


def keys_of(fold: StreamFold) -> list[bytes]:
    """The keys of all rows that the changelog may hold of a stream."""
    sums, key = fold.sums, stream_key(fold.stream)
    days = (*sums.days, *sums.changed.dropped_days)
    return [
        *(f"b/{key}/{index}".encode() for index in sums.bins),
        *(_name("d", key, day) for day in days),
        *(_name("g", key, segment) for segment in sums.segments),
        f"l/{key}".encode(),
        f"n/{key}".encode(),
        f"t/{key}".encode(),
    ]


def restore_row(fold: StreamFold, kind: bytes, row: Row) -> None:
    """Takes back a row of one of the kinds, without its stream."""
    if kind == b"b/":
        _restore_bin(fold, row)
    elif kind == b"d/":
        key, *held = row
        fold.sums.restore_day(DayKey(*key), _bin_of(held))
    elif kind == b"g/":
        key, *held = row
        fold.sums.restore_segment(SegmentKey(*key), _bin_of(held))
    elif kind == b"l/":
        positive, negative, counts, sum_ms = row
        fold.sums.positive, fold.sums.negative = DelayCurve(positive), DelayCurve(negative)
        fold.sums.delays = LabelDelay(counts, sum_ms)
    elif kind == b"n/":
        fold.trends.restore(row)
    else:
        _restore_test(fold, row)


def _name(kind: str, key: str, parts: DayKey | SegmentKey) -> bytes:
    return "/".join((kind, key, *map(str, parts))).encode()


def _bin_row(held: StreamBin) -> tuple[Any, ...]:
    return _sums_row(held.all), _sums_row(held.lead), dict(held.counts)


def _sums_row(sums: Sums) -> list[str]:
    return list(map(str, _values_of(sums)))


def _sums_of(row: Row) -> Sums:
    return Sums(*map(int, row))


def _bin_of(row: Row) -> StreamBin:
    every, lead, counts = row
    return StreamBin(_sums_of(every), _sums_of(lead), counts)


def _restore_bin(fold: StreamFold, row: Row) -> None:
    index, every, lead, counts, last_settled_at_ms, *residuals = row
    held = _bin_of((every, lead, counts))
    held.last_settled_at_ms = last_settled_at_ms
    if residuals:
        held.residuals = list(map(int, residuals[0]))
    fold.sums.restore_bin(index, held)


# ---- test and threshold ------------------------------------------------------------------------


def _test_row(fold: StreamFold) -> Row:
    judged, acting, rule = fold.judged, fold.acting, fold.rule
    assert judged and acting and rule
    threshold = acting.threshold
    return (
        fold.stream,
        (fold.policy_version, rule, fold.last_settled_at_ms),
        (
            judged.test.row(),
            judged.since_ms,
            _ten_row(judged.own),
            judged.alarm,
            judged.alarm_count,
            list(judged.versions),
        ),
        (threshold.value, threshold.changed_at_ms, threshold.earlier, threshold.is_held),
        (
            acting.since_ms,
            _ten_row(acting.own_since),
            _ten_row(acting.own_epoch),
            acting.below_n,
            (acting.acted_on.since_ms, acting.acted_on.n, acting.acted_on.sy),
            acting.unobserved,
            acting.adjustment_count,
            acting.map_count,
            acting.reason,
            acting.asked_at_n,
        ),
    )


def _ten_row(bins: Sequence[Sums] | None) -> list[list[str]] | None:
    return None if bins is None else [_sums_row(sums) for sums in bins]


def _ten_of(rows: Sequence[Row] | None) -> list[Sums] | None:
    return None if rows is None else [_sums_of(row) for row in rows]


def _restore_test(fold: StreamFold, row: Row) -> None:
    (version, rule, last_settled_at_ms), judged, threshold, acting = row
    fold.policy_version, fold.rule = version, StreamRule(*rule)
    fold.last_settled_at_ms = last_settled_at_ms
    fold.judged = _test_of(fold, judged)
    fold.acting = _threshold_of(fold, threshold, acting)


def _test_of(fold: StreamFold, row: Row) -> StreamTest:
    test, since_ms, own, alarm, alarm_count, versions = row
    made = StreamTest(fold.stream, fold.sums.lead, since_ms, is_first=own is None)
    made.test, made.own = MiscalibrationTest.of_row(test), _ten_of(own)
    made.alarm = alarm and msgspec.convert(alarm, CalibrationAlarm)
    made.alarm_count, made.versions = alarm_count, dict.fromkeys(versions)
    return made


def _threshold_of(fold: StreamFold, threshold: Row, row: Row) -> StreamThreshold:
    value, changed_at_ms, earlier, is_held = threshold
    made = StreamThreshold(fold.stream, fold.sums.lead, value, is_first=True)
    made.threshold = Threshold(value, changed_at_ms, tuple(earlier), is_held)
    made.since_ms, since, epoch, made.below_n, acted_on, unobserved, *counts = row
    made.own_since, made.own_epoch, made.acted_on = (
        _ten_of(since),
        _ten_of(epoch),
        ActedOn(*acted_on),
    )
    made.unobserved = unobserved and msgspec.convert(unobserved, ThresholdAdjustment)
    made.adjustment_count, made.map_count, made.reason, made.asked_at_n = counts
    return made


def stream_of(row: Row) -> Stream:
    """The stream with which each row begins."""
    return Stream(*row[0])

"""Records of `calibration-updates` by what they are, the last of each key, and their rows.

All values are absolute: of several records of a key only the last is written.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

from agents_topics.calibration import (
    CalibrationAlarm,
    CalibrationMap,
    DaySums,
    DelaySums,
    SegmentSums,
    StreamCalibration,
    StreamTrend,
    ThresholdAdjustment,
)
from agents_topics.events import CalibrationUpdate
from agents_topics.label_rates import LabelCounts, LabelRate
from sinks.postgres import statements
from sinks.postgres.row_types import STREAM_COLUMNS, Record, Row, Version
from sinks.postgres.statements import Staged
from sinks.postgres.stream_rows import (
    adjustment_rows,
    alarm_rows,
    map_rows,
    stream_rows,
    trend_rows,
)
from sinks.postgres.sum_rows import (
    day_rows,
    delay_rows,
    label_rate_rows,
    segment_rows,
    stream_bin_rows,
)

Told = (
    CalibrationUpdate
    | LabelRate
    | DaySums
    | SegmentSums
    | DelaySums
    | StreamCalibration
    | CalibrationAlarm
    | ThresholdAdjustment
    | CalibrationMap
    | StreamTrend
)
"""What a record says."""


@dataclass(frozen=True, slots=True)
class Family:
    """Records of one kind: the table of their rows, how they are read, what tells them apart."""

    staged: Staged
    decode: Callable[[bytes], Any]
    key_of: Callable[[Any], Any]
    rows_of: Callable[[Any, Version], Iterable[Row]]


def _family(
    staged: Staged, event: Any, rows_of: Callable[[Any, Version], Iterable[Row]], *own_key: str
) -> Family:
    decode = msgspec.json.Decoder(event).decode
    return Family(staged, decode, attrgetter(*STREAM_COLUMNS, *own_key), rows_of)


FAMILY_OF: Mapping[type, Family] = {
    CalibrationUpdate: _family(
        statements.STREAM_BINS, CalibrationUpdate, stream_bin_rows, "bin_index"
    ),
    LabelRate: _family(statements.LABEL_RATES, LabelRate, label_rate_rows, "confidence_label"),
    DaySums: _family(statements.DAYS, DaySums, day_rows, "action_day", "known_day", "bin_index"),
    SegmentSums: _family(
        statements.SEGMENTS, SegmentSums, segment_rows, "dimension", "segment", "bin_index"
    ),
    DelaySums: _family(statements.DELAYS, DelaySums, delay_rows),
    StreamCalibration: _family(statements.STREAMS, StreamCalibration, stream_rows),
    CalibrationAlarm: _family(statements.ALARMS, CalibrationAlarm, alarm_rows, "number"),
    ThresholdAdjustment: _family(
        statements.ADJUSTMENTS, ThresholdAdjustment, adjustment_rows, "number"
    ),
    CalibrationMap: _family(statements.MAPS, CalibrationMap, map_rows, "number"),
    StreamTrend: _family(statements.TRENDS, StreamTrend, trend_rows, "metric"),
}
_OF_KIND: Mapping[bytes, Family] = {
    b"day": FAMILY_OF[DaySums],
    b"segment": FAMILY_OF[SegmentSums],
    b"delay": FAMILY_OF[DelaySums],
    b"stream": FAMILY_OF[StreamCalibration],
    b"alarm": FAMILY_OF[CalibrationAlarm],
    b"adjustment": FAMILY_OF[ThresholdAdjustment],
    b"map": FAMILY_OF[CalibrationMap],
    b"trend": FAMILY_OF[StreamTrend],
}
# A text inside a value has its quotes escaped: only a field can look like these.
_kind = re.compile(rb'"kind": ?"([a-z]+)"').search
_OF_A_LABEL = b'"confidence_label":'
_EMPTIED = (b'"counts":{}', b'"all":' + msgspec.json.encode(LabelCounts()))


def family_of(value: bytes) -> Family:
    """What a record is, by a look at its bytes."""
    if found := _kind(value):
        return _OF_KIND[found[1]]
    return FAMILY_OF[LabelRate if _OF_A_LABEL in value else CalibrationUpdate]


def emptied_of(value: bytes) -> str | None:
    """The tenant of a bin or label that a record says is gone; None where it says something."""
    if not any(mark in value for mark in _EMPTIED):
        return None
    tenant_id: str = family_of(value).decode(value).tenant_id
    return tenant_id


def emptied_among(records: Iterable[Record]) -> dict[str, int]:
    """The tenants whose bins or labels are said to be gone, and at which offset that was last."""
    said = ((emptied_of(value), offset) for offset, value in records)
    return {tenant_id: offset for tenant_id, offset in said if tenant_id is not None}


def last_told(records: Iterable[Record]) -> dict[str, list[tuple[int, Any]]]:
    """By table the last record of each key, with its offset."""
    last: dict[str, dict[Any, tuple[int, Any]]] = {}
    for offset, value in records:
        family = family_of(value)
        told = family.decode(value)
        last.setdefault(family.staged.table, {})[family.key_of(told)] = (offset, told)
    return {table: list(of_key.values()) for table, of_key in last.items()}


def rows_of(told: Iterable[tuple[int, Any]], lineage: int, partition: int) -> list[Row]:
    """The rows of records of one kind, each with its offset."""
    return [
        row
        for offset, one in told
        for row in FAMILY_OF[type(one)].rows_of(one, (lineage, partition, offset))
    ]

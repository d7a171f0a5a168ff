"""What `calibration-updates` says in sums as rows: bins, label rates, days, segments, delays.

Sums over all records and over lead ones stand in a row of their own each; counts by status, and a
bin's residuals, are over all records and stand with these.
"""

import uuid
from itertools import chain
from operator import attrgetter
from typing import Any

from agents_topics.calibration import DaySums, DelaySums, SegmentSums
from agents_topics.events import BinSums, CalibrationUpdate
from agents_topics.label_rates import LabelCounts, LabelRate
from sinks.postgres.row_types import STREAM_COLUMNS, VERSION_COLUMNS, Row, Version

_STATUSES = ("positive", "negative", "ambiguous", "expired")
_BIN_SUMS = ("n", "sp", "spp", "sy", "spy", "excluded_n", "excluded_sp", "excluded_spp")
COUNT_COLUMNS = tuple(f"{status}_count" for status in _STATUSES)
SUM_COLUMNS = (*_BIN_SUMS, *COUNT_COLUMNS)
"""Sums and counts by status: what two bins may be added in."""

STREAM_BIN_KEYS = (*STREAM_COLUMNS, "bin_index", "record_set", "curve")
STREAM_BIN_COLUMNS = (
    *STREAM_BIN_KEYS, *SUM_COLUMNS, "last_settled_at", *VERSION_COLUMNS, "residuals",
)  # fmt: skip
DAY_KEYS = (*STREAM_COLUMNS, "action_day", "known_day", "bin_index", "record_set")
EARLIER = "holds_earlier"
DAY_COLUMNS = (*DAY_KEYS, *SUM_COLUMNS, *VERSION_COLUMNS, EARLIER)
SEGMENT_KEYS = (*STREAM_COLUMNS, "dimension", "segment", "bin_index", "record_set")
SEGMENT_COLUMNS = (*SEGMENT_KEYS, *SUM_COLUMNS, *VERSION_COLUMNS)
DELAY_COUNTS = ("positive", "negative", "counts")
DELAY_COLUMNS = (*STREAM_COLUMNS, *DELAY_COUNTS, "sum_ms", *VERSION_COLUMNS)
LABEL_RATE_KEYS = (*STREAM_COLUMNS, "confidence_label", "record_set")
LABEL_COUNTS = ("n", *COUNT_COLUMNS)
LABEL_RATE_COLUMNS = (
    *LABEL_RATE_KEYS, *LABEL_COUNTS, "actual_rate", "last_settled_at", *VERSION_COLUMNS,
)  # fmt: skip
"""The columns of each table, in the order of its rows."""

stream_of = attrgetter(*STREAM_COLUMNS)
_sums_of = attrgetter(*_BIN_SUMS)
_label_counts_of = attrgetter("n", *_STATUSES)


def stream_bin_rows(update: CalibrationUpdate, version: Version) -> tuple[Row, Row]:
    """The rows of `calibration_stream_bins`, in its columns' order: of all and of lead records."""
    key, last = (*stream_of(update), update.bin_index), update.last_settled_at_ms
    every, lead = _of_each_set(update)
    return (
        (*key, "all", "settled", *every, last, *version, update.residuals),
        (*key, "lead", "settled", *lead, last, *version, ()),
    )


def day_rows(day: DaySums, version: Version) -> tuple[Row, Row]:
    """The rows of `calibration_days`."""
    key = (*stream_of(day), day.action_day, day.known_day, day.bin_index)
    every, lead = _of_each_set(day)
    return (*key, "all", *every, *version, False), (*key, "lead", *lead, *version, False)


def segment_rows(segment: SegmentSums, version: Version) -> tuple[Row, Row]:
    """The rows of `calibration_segments`."""
    key = (*stream_of(segment), segment.dimension, segment.segment, segment.bin_index)
    every, lead = _of_each_set(segment)
    return (*key, "all", *every, *version), (*key, "lead", *lead, *version)


def delay_rows(delays: DelaySums, version: Version) -> tuple[Row]:
    """The row of `calibration_delays`: the thirds of confidence one after the other."""
    thirds = (list(chain(*delays.positive)), list(chain(*delays.negative)))
    return ((*stream_of(delays), *thirds, delays.counts, delays.sum_ms, *version),)


def label_rate_rows(rate: LabelRate, version: Version) -> tuple[Row, Row]:
    """The rows of `calibration_label_rates`."""
    return (
        _label_rate_row(rate, "all", rate.all, version),
        _label_rate_row(rate, "lead", rate.lead, version),
    )


def _label_rate_row(rate: LabelRate, record_set: str, counts: LabelCounts, version: Version) -> Row:
    return (
        *stream_of(rate),
        rate.confidence_label,
        record_set,
        *_label_counts_of(counts),
        counts.positive / counts.n if counts.n else None,
        rate.last_settled_at_ms,
        *version,
    )


def _of_each_set(told: Any) -> tuple[Row, Row]:
    """Sums and counts of all records, and of lead ones."""
    every: BinSums = told.all
    counts = (told.counts.get(status, 0) for status in _STATUSES)
    return (*_sums_of(every), *counts), (*_sums_of(told.lead), None, None, None, None)


def display_bin_id(tenant_id: str, action_type: str, bin_index: int) -> str:
    """The id of a row of `calibration_bins`: the same after every replay."""
    return str(uuid.uuid5(uuid.UUID(tenant_id), f"calibration_bins/{action_type}/{bin_index}"))

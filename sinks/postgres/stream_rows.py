"""What `calibration-updates` decides as rows: where streams stand, decisions, maps, trends.

What comes in nano-nats and millionths is stored as exact decimals of nats and of 1.
"""

from decimal import Decimal

from agents_topics.calibration import (
    CalibrationAlarm,
    CalibrationMap,
    StreamCalibration,
    StreamTrend,
    ThresholdAdjustment,
)
from sinks.postgres.row_types import STREAM_COLUMNS, VERSION_COLUMNS, Row, Version
from sinks.postgres.sum_rows import stream_of

STREAM_STATE_COLUMNS = (
    *STREAM_COLUMNS, "policy_version", "tested_since_at", "n", "excluded_n", "log_evidence",
    "worst_log_evidence", "peak_log_evidence", "alarm_at", "verdict", "is_calibrated", "error",
    "error_low", "error_high", "map_a", "map_b", "map_adopted_at", "map_log_evidence", "threshold",
    "threshold_changed_at", "is_threshold_held", "reason", "last_settled_at", *VERSION_COLUMNS,
)  # fmt: skip
NUMBERED_KEYS = (*STREAM_COLUMNS, "number")
ALARM_COLUMNS = (
    *NUMBERED_KEYS, "opened_at", "n", "log_evidence", "direction", "direction_at_threshold",
    "shape", "closed_at", "closed_by", *VERSION_COLUMNS,
)  # fmt: skip
ADJUSTMENT_COLUMNS = (
    *NUMBERED_KEYS, "adjusted_at", "cause", "direction", "magnitude", "old_threshold",
    "new_threshold", "reason", "map_a", "map_b", "n", "log_evidence", "expected_before",
    "expected_after", "observed_before", "observed_after", "observed_n_before",
    "observed_n_after", *VERSION_COLUMNS,
)  # fmt: skip
MAP_COLUMNS = (
    *NUMBERED_KEYS, "adopted_at", "n", "form", "map_a", "map_b", "rates", *VERSION_COLUMNS,
)  # fmt: skip
TREND_KEYS = (*STREAM_COLUMNS, "metric")
TREND_COLUMNS = (
    *TREND_KEYS, "n", "previous_mean", "current_mean", "change_percent", "direction", "evidence",
    "supported_direction", "low", "high", "compared_count", "half_size", "compared_at",
    *VERSION_COLUMNS,
)  # fmt: skip
FORECAST_KEYS = (*STREAM_COLUMNS, "as_of_day")
FORECAST_COLUMNS = (
    *FORECAST_KEYS, "waiting", "expected", "low", "high", "settles_at", "came", *VERSION_COLUMNS,
)  # fmt: skip
"""The columns of each table, in the order of its rows."""


def stream_rows(told: StreamCalibration, version: Version) -> tuple[Row]:
    """The row of `calibration_streams`."""
    return (
        (
            *stream_of(told),
            told.policy_version,
            told.tested_since_ms,
            told.n,
            told.excluded_n,
            _nats(told.log_evidence_nanos),
            _nats(told.worst_log_evidence_nanos),
            _nats(told.peak_log_evidence_nanos),
            told.alarm_at_ms,
            told.verdict,
            told.is_calibrated,
            told.error,
            told.error_low,
            told.error_high,
            _ones(told.map_a_millionths),
            _ones(told.map_b_millionths),
            told.map_adopted_at_ms,
            _nats(told.map_log_evidence_nanos),
            _ones(told.threshold_millionths),
            told.threshold_changed_at_ms,
            told.is_threshold_held,
            told.reason,
            told.last_settled_at_ms,
            *version,
        ),
    )


def alarm_rows(alarm: CalibrationAlarm, version: Version) -> tuple[Row]:
    """The row of `calibration_alarms`."""
    return (
        (
            *stream_of(alarm),
            alarm.number,
            alarm.opened_at_ms,
            alarm.n,
            _nats(alarm.log_evidence_nanos),
            alarm.direction,
            alarm.direction_at_threshold,
            alarm.shape,
            alarm.closed_at_ms,
            alarm.closed_by,
            *version,
        ),
    )


def adjustment_rows(moved: ThresholdAdjustment, version: Version) -> tuple[Row]:
    """The row of `threshold_adjustments`."""
    return (
        (
            *stream_of(moved),
            moved.number,
            moved.at_ms,
            moved.cause,
            moved.direction,
            moved.magnitude,
            moved.old_threshold,
            moved.new_threshold,
            moved.reason,
            _ones(moved.map_a_millionths),
            _ones(moved.map_b_millionths),
            moved.n,
            _nats(moved.log_evidence_nanos),
            moved.expected_before,
            moved.expected_after,
            moved.observed_before,
            moved.observed_after,
            moved.observed_n_before,
            moved.observed_n_after,
            *version,
        ),
    )


def map_rows(found: CalibrationMap, version: Version) -> tuple[Row]:
    """The row of `calibration_maps`."""
    return (
        (
            *stream_of(found),
            found.number,
            found.adopted_at_ms,
            found.n,
            found.form,
            _ones(found.a_millionths),
            _ones(found.b_millionths),
            found.rates,
            *version,
        ),
    )


def trend_rows(trend: StreamTrend, version: Version) -> tuple[Row]:
    """The row of `calibration_trends`."""
    return (
        (
            *stream_of(trend),
            trend.metric,
            trend.n,
            trend.previous_mean,
            trend.current_mean,
            trend.change_percent,
            trend.direction,
            trend.evidence,
            trend.supported_direction,
            trend.low,
            trend.high,
            trend.compared_count,
            trend.half_size,
            trend.compared_at_ms,
            *version,
        ),
    )


def _nats(nanos: int) -> Decimal:
    return Decimal(nanos).scaleb(-9)


def _ones(millionths: int | None) -> Decimal | None:
    return None if millionths is None else Decimal(millionths).scaleb(-6)

"""The tables of what is known of a stream beside its bins: days, segments, delays, test, decisions.

A stream is (tenant, action type, outcome type, window length, confidence source). Times are settle
times. Evidence is the natural logarithm of E, exact to the nano-nat; thresholds and maps are exact
to the millionth.
"""

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, Date, Float, Index, String, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from sinks.postgres.row_types import STREAM_COLUMNS as _STREAM
from sinks.postgres.tenant_base import (
    ADDED,
    BIG,
    COUNTS,
    MILLIONTHS,
    NANO_NATS,
    SUMS,
    TIME,
    OfAStream,
    TenantBase,
    Versioned,
    WithSums,
)


class OfADay:
    """One day of actions and one on which they were known, within a stream's bin."""

    action_day: Mapped[date] = mapped_column(Date, primary_key=True)
    known_day: Mapped[date] = mapped_column(Date, primary_key=True)
    bin_index: Mapped[int] = mapped_column(primary_key=True)
    record_set: Mapped[str] = mapped_column(String(10), primary_key=True)


class OfASegment:
    """One segment within a stream's bin."""

    dimension: Mapped[str] = mapped_column(String(100), primary_key=True)
    segment: Mapped[str] = mapped_column(String(200), primary_key=True)
    bin_index: Mapped[int] = mapped_column(primary_key=True)
    record_set: Mapped[str] = mapped_column(String(10), primary_key=True)


class WithDelays:
    """Counts by delay: by third of confidence and 48th of the window, one third after the other;
    and over all signals up to 1, 5, 15 minutes … 30 days, and longer.
    """

    positive: Mapped[list[int]] = mapped_column(COUNTS, sort_order=SUMS)
    negative: Mapped[list[int]] = mapped_column(COUNTS, sort_order=SUMS)
    counts: Mapped[list[int]] = mapped_column(COUNTS, sort_order=SUMS)
    sum_ms: Mapped[Decimal] = mapped_column(BIG, sort_order=SUMS)


class CalibrationStreamModel(OfAStream, Versioned, TenantBase):
    """Where a stream stands: evidence, verdict, the map in force and the threshold."""

    __tablename__ = "calibration_streams"

    policy_version: Mapped[str] = mapped_column(String(64))
    tested_since_at: Mapped[datetime] = mapped_column(TIME)
    n: Mapped[int] = mapped_column(BigInteger)
    excluded_n: Mapped[int] = mapped_column(BigInteger)
    log_evidence: Mapped[Decimal] = mapped_column(NANO_NATS)
    worst_log_evidence: Mapped[Decimal] = mapped_column(NANO_NATS)
    peak_log_evidence: Mapped[Decimal] = mapped_column(NANO_NATS)
    alarm_at: Mapped[datetime | None] = mapped_column(TIME)
    verdict: Mapped[str] = mapped_column(String(20))
    is_calibrated: Mapped[bool]
    error: Mapped[float | None]
    error_low: Mapped[float | None]
    error_high: Mapped[float | None]
    map_a: Mapped[Decimal | None] = mapped_column(MILLIONTHS)
    map_b: Mapped[Decimal | None] = mapped_column(MILLIONTHS)
    map_adopted_at: Mapped[datetime | None] = mapped_column(TIME)
    map_log_evidence: Mapped[Decimal] = mapped_column(NANO_NATS)
    threshold: Mapped[Decimal] = mapped_column(MILLIONTHS)
    threshold_changed_at: Mapped[datetime | None] = mapped_column(TIME)
    is_threshold_held: Mapped[bool]
    reason: Mapped[str] = mapped_column(Text)
    last_settled_at: Mapped[datetime] = mapped_column(TIME)


class CalibrationDayModel(OfAStream, OfADay, WithSums, Versioned, TenantBase):
    """The sums of a bin over what happened on one day and was known on another, both in UTC.

    `known_day` is the day of the settle time: what was known on day T are the rows up to it. A row
    with `holds_earlier` is the sum of those that are no longer kept, up to both of its days.
    """

    __tablename__ = "calibration_days"
    __table_args__ = (
        CheckConstraint("bin_index BETWEEN 0 AND 9", "ck_calibration_days_bin_index"),
        CheckConstraint("record_set IN ('all', 'lead')", "ck_calibration_days_record_set"),
        Index(
            "ix_calibration_days_holds_earlier",
            *_STREAM,
            "known_day",
            postgresql_where=text("holds_earlier"),
        ),
    )

    holds_earlier: Mapped[bool] = mapped_column(server_default=text("false"), sort_order=ADDED)


class CalibrationSegmentModel(OfAStream, OfASegment, WithSums, Versioned, TenantBase):
    """The part of a bin that one model, agent or other segment of the policy has.

    `segment` is empty where an action does not say it, and `other` beyond the greatest number.
    """

    __tablename__ = "calibration_segments"
    __table_args__ = (
        CheckConstraint("bin_index BETWEEN 0 AND 9", "ck_calibration_segments_bin_index"),
        CheckConstraint("record_set IN ('all', 'lead')", "ck_calibration_segments_record_set"),
    )


class CalibrationDelayModel(OfAStream, WithDelays, Versioned, TenantBase):
    """How soon signals come in a stream, from windows that have closed."""

    __tablename__ = "calibration_delays"


class CalibrationAlarmModel(OfAStream, Versioned, TenantBase):
    """A stream was found to be miscalibrated; open until something new is tested."""

    __tablename__ = "calibration_alarms"
    __table_args__ = (
        Index(
            "ix_calibration_alarms_open",
            "opened_at",
            "tenant_id",
            postgresql_where=text("closed_at IS NULL"),
        ),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    opened_at: Mapped[datetime] = mapped_column(TIME)
    n: Mapped[int] = mapped_column(BigInteger)
    log_evidence: Mapped[Decimal] = mapped_column(NANO_NATS)
    direction: Mapped[str] = mapped_column(String(20))
    direction_at_threshold: Mapped[str] = mapped_column(String(20))
    shape: Mapped[str | None] = mapped_column(String(20))
    closed_at: Mapped[datetime | None] = mapped_column(TIME)
    closed_by: Mapped[str | None] = mapped_column(String(20))


class ThresholdAdjustmentModel(OfAStream, Versioned, TenantBase):
    """A threshold moved, by evidence or by a person."""

    __tablename__ = "threshold_adjustments"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    adjusted_at: Mapped[datetime] = mapped_column(TIME)
    cause: Mapped[str] = mapped_column(String(20))
    direction: Mapped[str] = mapped_column(String(20))
    magnitude: Mapped[float]
    old_threshold: Mapped[float]
    new_threshold: Mapped[float]
    reason: Mapped[str] = mapped_column(Text)
    map_a: Mapped[Decimal | None] = mapped_column(MILLIONTHS)
    map_b: Mapped[Decimal | None] = mapped_column(MILLIONTHS)
    n: Mapped[int] = mapped_column(BigInteger)
    log_evidence: Mapped[Decimal] = mapped_column(NANO_NATS)
    expected_before: Mapped[float | None]
    expected_after: Mapped[float | None]
    observed_before: Mapped[float | None]
    observed_after: Mapped[float | None]
    observed_n_before: Mapped[int] = mapped_column(BigInteger)
    observed_n_after: Mapped[int] = mapped_column(BigInteger)


class CalibrationMapModel(OfAStream, Versioned, TenantBase):
    """How to correct a stated confidence; `rates` by bin, null where nothing was observed."""

    __tablename__ = "calibration_maps"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    adopted_at: Mapped[datetime] = mapped_column(TIME)
    n: Mapped[int] = mapped_column(BigInteger)
    form: Mapped[str] = mapped_column(String(20))
    map_a: Mapped[Decimal] = mapped_column(MILLIONTHS)
    map_b: Mapped[Decimal] = mapped_column(MILLIONTHS)
    rates: Mapped[list[float | None]] = mapped_column(ARRAY(Float))


class CalibrationTrendModel(OfAStream, Versioned, TenantBase):
    """Is a stream getting better or worse: its success, and the gap to what it states.

    `evidence` and what follows are of the last comparison of full halves, at `compared_at`; `low`
    and `high` are null before the first. A gap has no `change_percent`, nor has a change from 0.
    """

    __tablename__ = "calibration_trends"

    metric: Mapped[str] = mapped_column(String(20), primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)
    previous_mean: Mapped[float]
    current_mean: Mapped[float]
    change_percent: Mapped[float | None]
    direction: Mapped[str] = mapped_column(String(20))
    evidence: Mapped[str] = mapped_column(String(20))
    supported_direction: Mapped[str] = mapped_column(String(20))
    low: Mapped[float | None]
    high: Mapped[float | None]
    compared_count: Mapped[int] = mapped_column(BigInteger)
    half_size: Mapped[int] = mapped_column(BigInteger)
    compared_at: Mapped[datetime | None] = mapped_column(TIME)


class CalibrationForecastModel(OfAStream, Versioned, TenantBase):
    """How many of the silent open actions of the end of a day were to come true, and how many came.

    `came` is null until all that was open has settled, at `settles_at`.
    """

    __tablename__ = "calibration_forecasts"

    as_of_day: Mapped[date] = mapped_column(Date, primary_key=True)
    waiting: Mapped[int] = mapped_column(BigInteger)
    expected: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    settles_at: Mapped[datetime] = mapped_column(TIME)
    came: Mapped[int | None] = mapped_column(BigInteger)


class CalibrationDayCorrectionModel(OfAStream, OfADay, WithSums, TenantBase):
    """What promotions have added to a day's sums beyond what the calibrator has counted."""

    __tablename__ = "calibration_day_corrections"


class CalibrationSegmentCorrectionModel(OfAStream, OfASegment, WithSums, TenantBase):
    """What promotions have added to a segment's sums."""

    __tablename__ = "calibration_segment_corrections"


class CalibrationDelayCorrectionModel(OfAStream, WithDelays, TenantBase):
    """What promotions have added to a stream's delays."""

    __tablename__ = "calibration_delay_corrections"

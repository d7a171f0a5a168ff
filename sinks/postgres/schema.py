"""The tables: the one place where columns are made, in the order in which rows are written.

The writer's rows and statements name them again, and a test holds those to this.

The law: nothing here comes from the server's clock or its dice. Ids follow from other ids, times
from events, so that a replay writes the same rows.
"""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    String,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from sinks.postgres.calibration_schema import (
    CalibrationAlarmModel,
    CalibrationDayCorrectionModel,
    CalibrationDayModel,
    CalibrationDelayCorrectionModel,
    CalibrationDelayModel,
    CalibrationMapModel,
    CalibrationSegmentCorrectionModel,
    CalibrationSegmentModel,
    CalibrationStreamModel,
    CalibrationTrendModel,
    ThresholdAdjustmentModel,
)
from sinks.postgres.tenant_base import (
    ADDED,
    AFTER_SUMS,
    BIGS,
    SCHEMA,
    TIME,
    OfAStream,
    TenantBase,
    Versioned,
    WithSums,
    table_of,
)

__all__ = [
    "SCHEMA",
    "SHADOW_OUTCOME_RECORDS",
    "CalibrationAlarmModel",
    "CalibrationBinModel",
    "CalibrationCorrectionModel",
    "CalibrationDayCorrectionModel",
    "CalibrationDayModel",
    "CalibrationDelayCorrectionModel",
    "CalibrationDelayModel",
    "CalibrationLabelCorrectionModel",
    "CalibrationLabelRateModel",
    "CalibrationMapModel",
    "CalibrationSegmentCorrectionModel",
    "CalibrationSegmentModel",
    "CalibrationStreamBinModel",
    "CalibrationStreamModel",
    "CalibrationTrendModel",
    "ConversationStateModel",
    "FeedbackEntryModel",
    "OutcomeRecordModel",
    "ReaderTenantModel",
    "ShadowModel",
    "SinkOffsetModel",
    "TenantBase",
    "ThresholdAdjustmentModel",
    "table_of",
]

_EMPTY_OBJECT = text("'{}'::json")
_EMPTY_ARRAY = text("'{}'")
_ZERO = text("0")


class OutcomeRecordModel(TenantBase):
    """What is known of one outcome of one action; final where `is_settled`.

    `settled_at` is the settle time, known from the start. A row gives way only to a greater
    (lineage, output_offset), and a settled one only to a greater lineage.
    """

    __tablename__ = "outcome_records"
    __table_args__ = (
        Index(None, "tenant_id", "action_type", "created_at"),
        Index(None, "tenant_id", "outcome_status", "created_at"),
        Index(None, "tenant_id", "outcome_type", "outcome_status"),
        Index(None, "tenant_id", "conversation_state_id", "created_at"),
        Index(None, "action_id"),
        # What is pending at any moment is little of what there is; each index costs every row.
        Index(
            "ix_outcome_records_pending",
            "window_expires_at",
            "tenant_id",
            "outcome_type",
            postgresql_where=text("outcome_status = 'pending'"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID]
    conversation_state_id: Mapped[uuid.UUID]
    conversation_id: Mapped[str] = mapped_column(String(200))
    action_type: Mapped[str] = mapped_column(String(50))
    action_id: Mapped[str | None] = mapped_column(String(100))
    predicted_confidence: Mapped[float | None]
    confidence_source: Mapped[str] = mapped_column(String(20))
    outcome_type: Mapped[str] = mapped_column(String(50))
    outcome_status: Mapped[str] = mapped_column(
        String(20), default="pending", server_default="pending"
    )
    outcome_score: Mapped[float | None]
    signal_source: Mapped[str | None] = mapped_column(String(20))
    decided_by: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(TIME)
    window_expires_at: Mapped[datetime | None] = mapped_column(TIME)
    settled_at: Mapped[datetime] = mapped_column(TIME)
    resolved_at: Mapped[datetime | None] = mapped_column(TIME)
    known_at: Mapped[datetime | None] = mapped_column(TIME)
    revision: Mapped[int]
    is_settled: Mapped[bool]
    calibrates: Mapped[bool]
    is_lead: Mapped[bool | None]
    expired_counts: Mapped[bool]
    policy_version: Mapped[str] = mapped_column(String(64))
    rep_id: Mapped[str | None] = mapped_column(String(100))
    agent_id: Mapped[str | None] = mapped_column(String(100))
    agent_version: Mapped[str | None] = mapped_column(String(100))
    model: Mapped[str | None] = mapped_column(String(100))
    cost_usd: Mapped[float | None]
    latency_ms: Mapped[float | None]
    metadata_json: Mapped[dict[str, Any]] = mapped_column(
        JSON, default=dict, server_default=_EMPTY_OBJECT
    )
    lineage: Mapped[int]
    output_partition: Mapped[int]
    output_offset: Mapped[int] = mapped_column(BigInteger)
    confidence_label: Mapped[str | None] = mapped_column(String(50))


class FeedbackEntryModel(TenantBase):
    """A person's rating of a message, a decision or a conversation."""

    __tablename__ = "feedback_entries"
    __table_args__ = (
        Index(None, "tenant_id", "conversation_state_id"),
        Index(None, "tenant_id", "reviewer_id", "created_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID]
    outcome_record_id: Mapped[uuid.UUID | None]
    conversation_state_id: Mapped[uuid.UUID]
    target_type: Mapped[str] = mapped_column(String(20))
    target_id: Mapped[str] = mapped_column(String(100))
    source: Mapped[str] = mapped_column(String(20))
    rating: Mapped[int]
    comment: Mapped[str | None] = mapped_column(String(1000))
    reviewer_id: Mapped[uuid.UUID]
    reviewer_role: Mapped[str] = mapped_column(String(20))
    metadata_json: Mapped[dict[str, Any]] = mapped_column(
        JSON, default=dict, server_default=_EMPTY_OBJECT
    )
    created_at: Mapped[datetime] = mapped_column(TIME)


class CalibrationStreamBinModel(OfAStream, WithSums, Versioned, TenantBase):
    """The exact sums of one bin of one stream, over all its records or its lead ones: the truth.

    Confidences are integers in millionths. The counts by status are over all records and stand
    with `all` only, and so do `residuals`, the mass of p - y by cell of .005.
    """

    __tablename__ = "calibration_stream_bins"
    __table_args__ = (
        CheckConstraint("bin_index BETWEEN 0 AND 9", "ck_calibration_stream_bins_bin_index"),
        CheckConstraint("record_set IN ('all', 'lead')", "ck_calibration_stream_bins_record_set"),
        CheckConstraint("curve IN ('settled', 'provisional')", "ck_calibration_stream_bins_curve"),
    )

    bin_index: Mapped[int] = mapped_column(primary_key=True)
    record_set: Mapped[str] = mapped_column(String(10), primary_key=True)
    curve: Mapped[str] = mapped_column(String(20), primary_key=True)
    last_settled_at: Mapped[datetime] = mapped_column(TIME, sort_order=AFTER_SUMS)
    residuals: Mapped[list[Decimal]] = mapped_column(
        BIGS, server_default=_EMPTY_ARRAY, sort_order=ADDED
    )


class CalibrationLabelRateModel(OfAStream, Versioned, TenantBase):
    """How often a label of a stream came true: settled outcomes whose actions stated no number.

    `n` counts those that say something, and `actual_rate` is `positive_count` / `n`, null where
    there is none. A label is in no bin.
    """

    __tablename__ = "calibration_label_rates"
    __table_args__ = (
        CheckConstraint("record_set IN ('all', 'lead')", "ck_calibration_label_rates_record_set"),
    )

    confidence_label: Mapped[str] = mapped_column(String(50), primary_key=True)
    record_set: Mapped[str] = mapped_column(String(10), primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)
    positive_count: Mapped[int] = mapped_column(BigInteger)
    negative_count: Mapped[int] = mapped_column(BigInteger)
    ambiguous_count: Mapped[int] = mapped_column(BigInteger)
    expired_count: Mapped[int] = mapped_column(BigInteger)
    actual_rate: Mapped[float | None]
    last_settled_at: Mapped[datetime] = mapped_column(TIME)


class CalibrationBinModel(TenantBase):
    """For display: the settled `all` sums of a bin over the streams of an action type.

    `brier_contribution` is a sum, Σ(p−y)². Times are settle times: `last_updated` of the latest
    record in the bin, `created_at` of the latest when the row was first written, which depends on
    batching and is under no checksum.
    """

    __tablename__ = "calibration_bins"
    __table_args__ = (
        UniqueConstraint(
            "tenant_id", "action_type", "bin_index", name="uq_calibration_bin_tenant_action_bin"
        ),
        Index(None, "tenant_id", "action_type"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID]
    action_type: Mapped[str] = mapped_column(String(50))
    bin_index: Mapped[int]
    bin_lower: Mapped[float]
    bin_upper: Mapped[float]
    sample_count: Mapped[int] = mapped_column(default=0, server_default=_ZERO)
    outcome_sum: Mapped[float] = mapped_column(default=0.0, server_default=_ZERO)
    actual_rate: Mapped[float | None]
    brier_contribution: Mapped[float | None]
    last_updated: Mapped[datetime | None] = mapped_column(TIME)
    created_at: Mapped[datetime] = mapped_column(TIME)


class ConversationStateModel(TenantBase):
    """Where a contact's conversation stands."""

    __tablename__ = "conversation_states"
    __table_args__ = (
        UniqueConstraint(
            "tenant_id",
            "account_id",
            "contact_id",
            name="uq_conversation_state_tenant_account_contact",
        ),
        Index(None, "tenant_id", "account_id"),
        Index(None, "tenant_id", "deal_stage"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID]
    account_id: Mapped[str] = mapped_column(String(100))
    contact_id: Mapped[str] = mapped_column(String(100))
    contact_email: Mapped[str] = mapped_column(String(255))
    contact_name: Mapped[str | None] = mapped_column(String(200))
    deal_stage: Mapped[str] = mapped_column(
        String(50), default="prospecting", server_default="prospecting"
    )
    persona_type: Mapped[str] = mapped_column(
        String(20), default="manager", server_default="manager"
    )
    qualification_data: Mapped[dict[str, Any]] = mapped_column(
        JSON, default=dict, server_default=_EMPTY_OBJECT
    )
    interaction_count: Mapped[int] = mapped_column(default=0, server_default=_ZERO)
    last_interaction: Mapped[datetime | None] = mapped_column(TIME)
    last_channel: Mapped[str | None] = mapped_column(String(20))
    escalated: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    escalation_reason: Mapped[str | None] = mapped_column(String(500))
    confidence_score: Mapped[float] = mapped_column(default=0.5, server_default=text("0.5"))
    next_actions: Mapped[list[Any]] = mapped_column(
        JSON, default=list, server_default=text("'[]'::json")
    )
    follow_up_scheduled: Mapped[datetime | None] = mapped_column(TIME)
    metadata_json: Mapped[dict[str, Any]] = mapped_column(
        JSON, default=dict, server_default=_EMPTY_OBJECT
    )
    created_at: Mapped[datetime] = mapped_column(TIME)
    updated_at: Mapped[datetime | None] = mapped_column(TIME)


class ReaderTenantModel(TenantBase):
    """Which tenant a person's role may read, whatever that person says with `set_config`."""

    __tablename__ = "reader_tenants"

    role_name: Mapped[str] = mapped_column(String(63), primary_key=True)
    tenant_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class SinkOffsetModel(TenantBase):
    """The next offset to write from each topic-partition, by the topic's name on the broker."""

    __tablename__ = "sink_offsets"

    topic: Mapped[str] = mapped_column(String(249), primary_key=True)
    partition: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    next_offset: Mapped[int] = mapped_column(BigInteger)
    lineage: Mapped[int]


class CalibrationCorrectionModel(OfAStream, WithSums, TenantBase):
    """What promotions have added to a bin beyond what the calibrator, who lives on, has counted."""

    __tablename__ = "calibration_corrections"

    bin_index: Mapped[int] = mapped_column(primary_key=True)
    record_set: Mapped[str] = mapped_column(String(10), primary_key=True)
    curve: Mapped[str] = mapped_column(String(20), primary_key=True)
    residuals: Mapped[list[Decimal]] = mapped_column(
        BIGS, server_default=_EMPTY_ARRAY, sort_order=ADDED
    )


class CalibrationLabelCorrectionModel(OfAStream, TenantBase):
    """What promotions have added to the counts of a label."""

    __tablename__ = "calibration_label_corrections"

    confidence_label: Mapped[str] = mapped_column(String(50), primary_key=True)
    record_set: Mapped[str] = mapped_column(String(10), primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)
    positive_count: Mapped[int] = mapped_column(BigInteger)
    negative_count: Mapped[int] = mapped_column(BigInteger)
    ambiguous_count: Mapped[int] = mapped_column(BigInteger)
    expired_count: Mapped[int] = mapped_column(BigInteger)


class ShadowModel(TenantBase):
    """A replay that stands beside the live rows under a name.

    `state` is filling, ready or promoted; `about` is how it was judged and what it covers.
    """

    __tablename__ = "shadows"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    state: Mapped[str] = mapped_column(String(20))
    as_of: Mapped[datetime] = mapped_column(TIME)
    lineage: Mapped[int | None]
    about: Mapped[dict[str, Any]] = mapped_column(JSON)


SHADOW_OUTCOME_RECORDS = Table(
    "shadow_outcome_records",
    TenantBase.metadata,
    Column("shadow", String(63), primary_key=True),
    *(
        Column(
            column.name,
            column.type,
            primary_key=column.primary_key,
            nullable=column.nullable,
            server_default=column.server_default,
        )
        for column in table_of(OutcomeRecordModel).columns
    ),
)
"""The rows of shadows: a shadow's name, and the columns of `outcome_records`."""

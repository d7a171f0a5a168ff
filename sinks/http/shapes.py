"""The bodies of the learning API: what it takes and what it answers.

Ids and times are text here, as JSON has them. Loads neither Kafka nor SQL.
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agents_topics.shapes import (
    FeedbackSource,
    FeedbackTarget,
    OutcomeRecord,
    check_rating,
)

_ANSWER = ConfigDict(allow_inf_nan=False)


class SubmitFeedbackRequest(BaseModel):
    """A person rates something. Tenant, reviewer and role come from the token, never from here.

    `conversation_state_id` is the conversation's UUID or its id.
    """

    model_config = ConfigDict(use_enum_values=True)

    conversation_state_id: Annotated[str, Field(min_length=1, max_length=200)]
    target_type: FeedbackTarget
    target_id: Annotated[str, Field(min_length=1, max_length=100)]
    source: FeedbackSource
    rating: Annotated[int, Field(ge=-1, le=5, strict=True)]
    comment: Annotated[str, Field(max_length=1000)] | None = None

    @model_validator(mode="after")
    def _has_a_rating_of_its_source(self) -> Self:
        check_rating(self.source, self.rating)
        return self


class SubmitFeedbackResponse(BaseModel):
    """The rating is in the log."""

    feedback_id: str
    status: str = "recorded"


class OutcomeRecordResponse(BaseModel):
    """Every field of an `OutcomeRecord`, as JSON has it."""

    model_config = _ANSWER

    id: str
    tenant_id: str
    conversation_state_id: str
    action_type: str
    action_id: str | None
    predicted_confidence: float | None
    outcome_type: str
    outcome_status: str
    outcome_score: float | None
    signal_source: str | None
    window_expires_at: str | None
    resolved_at: str | None
    metadata_json: dict[str, Any]
    created_at: str
    conversation_id: str | None
    confidence_source: str
    confidence_label: str | None
    decided_by: str | None
    settled_at: str | None
    known_at: str | None
    revision: int
    is_settled: bool
    calibrates: bool
    is_lead: bool | None
    expired_counts: bool
    policy_version: str | None
    rep_id: str | None
    agent_id: str | None
    agent_version: str | None
    model: str | None
    cost_usd: float | None
    latency_ms: float | None
    lineage: int
    output_partition: int | None
    output_offset: int | None

    @classmethod
    def of(cls, record: OutcomeRecord) -> Self:
        """The answer that tells a record."""
        return cls.model_validate(record.model_dump(mode="json"))


class AnalyticsDashboardResponse(BaseModel):
    """A dashboard for a role: `period` is its days ("30d"), `generated_at` a time in UTC."""

    model_config = _ANSWER

    role: str
    metrics: dict[str, Any]
    period: str
    generated_at: str


class CalibrationCurveResponse(BaseModel):
    """An action type's curve; without a settled record there is no Brier score."""

    model_config = _ANSWER

    action_type: str
    curve: dict[str, Any]
    brier_score: float | None
    sample_count: int
    is_calibrated: bool

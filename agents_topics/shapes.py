"""What is told of outcomes, feedback and calibration: the rows that readers get, as typed values.

The names, fields, types, lengths and defaults are those of the tables, for whoever reads Postgres
or the HTTP API; pydantic is all that this module loads. No id is generated and no time is taken
from a clock: both come with the data, so that a replay tells the same.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agents_topics.events import ConfidenceSource, OutcomeStatus

__all__ = [
    "CalibrationAdjustment",
    "CalibrationBin",
    "CalibrationCurve",
    "FeedbackEntry",
    "FeedbackSource",
    "FeedbackTarget",
    "OutcomeRecord",
    "OutcomeStatus",
    "OutcomeType",
    "OutcomeWindow",
    "ReviewerRole",
    "SignalSource",
    "check_rating",
]

IMMEDIATE_HOURS, ENGAGEMENT_HOURS, DEAL_PROGRESSION_HOURS = 24, 168, 720
RATINGS = {"inline": range(-1, 2), "dashboard": range(1, 6)}
"""The ratings that each source may give."""

_SHAPE = ConfigDict(extra="forbid", allow_inf_nan=False)

_Text20 = Annotated[str, Field(max_length=20)]
_Text50 = Annotated[str, Field(max_length=50)]
_Text100 = Annotated[str, Field(max_length=100)]
_Confidence = Annotated[float, Field(ge=0, le=1)]
SignalSource = Literal["automatic", "human_label"]
ReviewerRole = Literal["rep", "manager", "executive"]


class OutcomeType(StrEnum):
    """The outcome types of the built-in policy; a policy may name others."""

    EMAIL_ENGAGEMENT = "email_engagement"
    DEAL_PROGRESSION = "deal_progression"
    MEETING_OUTCOME = "meeting_outcome"
    ESCALATION_RESULT = "escalation_result"


class FeedbackTarget(StrEnum):
    """What a person rates."""

    MESSAGE = "message"
    DECISION = "decision"
    CONVERSATION = "conversation"


class FeedbackSource(StrEnum):
    """Where a person rates it; the rating's scale follows."""

    INLINE = "inline"
    DASHBOARD = "dashboard"


class OutcomeRecord(BaseModel):
    """What is known of one outcome of one action: a row of `outcome_records`.

    Only one with `is_settled` counts. What an action does not say is at its default, so that the
    fields from `id` to `created_at` alone make the record of an action that was just seen.
    """

    model_config = _SHAPE

    id: UUID
    tenant_id: UUID
    conversation_state_id: UUID
    action_type: _Text50
    action_id: _Text100 | None = None
    predicted_confidence: _Confidence | None
    outcome_type: _Text50
    outcome_status: OutcomeStatus = OutcomeStatus.PENDING
    outcome_score: float | None = None
    signal_source: SignalSource | None = None
    window_expires_at: datetime | None = None
    resolved_at: datetime | None = None
    metadata_json: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime
    conversation_id: Annotated[str, Field(max_length=200)] | None = None
    confidence_source: ConfidenceSource = "unknown"
    confidence_label: _Text50 | None = None
    decided_by: _Text100 | None = None
    settled_at: datetime | None = None
    known_at: datetime | None = None
    revision: int = 0
    is_settled: bool = False
    calibrates: bool = True
    is_lead: bool | None = None
    expired_counts: bool = True
    policy_version: Annotated[str, Field(max_length=64)] | None = None
    rep_id: _Text100 | None = None
    agent_id: _Text100 | None = None
    agent_version: _Text100 | None = None
    model: _Text100 | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    lineage: int = 0
    output_partition: int | None = None
    output_offset: int | None = None


class FeedbackEntry(BaseModel):
    """A person's rating of a message, a decision or a conversation: a row of `feedback_entries`."""

    model_config = _SHAPE

    id: UUID
    tenant_id: UUID
    outcome_record_id: UUID | None = None
    conversation_state_id: UUID
    target_type: FeedbackTarget
    target_id: _Text100
    source: FeedbackSource
    rating: int
    comment: Annotated[str, Field(max_length=1000)] | None = None
    reviewer_id: UUID
    reviewer_role: ReviewerRole
    metadata_json: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime

    @model_validator(mode="after")
    def _has_a_rating_of_its_source(self) -> Self:
        check_rating(self.source, self.rating)
        return self


def check_rating(source: str, rating: int) -> None:
    """A rating is on the scale of its source: -1, 0 or 1 inline, 1 to 5 on a dashboard.

    >>> check_rating("inline", -1)
    >>> check_rating("inline", 5)
    Traceback (most recent call last):
    ValueError: an inline rating is from -1 to 1

    Raises:
        ValueError: it is not.
    """
    allowed = RATINGS[source]
    if rating not in allowed:
        article = "an" if source == FeedbackSource.INLINE else "a"
        raise ValueError(f"{article} {source} rating is from {allowed[0]} to {allowed[-1]}")


class CalibrationBin(BaseModel):
    """One bin of an action type, for display: a row of `calibration_bins`.

    `brier_contribution` is a sum, Σ(p-y)² over the bin's records.
    """

    model_config = _SHAPE

    id: UUID
    tenant_id: UUID
    action_type: _Text50
    bin_index: Annotated[int, Field(ge=0, le=9)]
    bin_lower: _Confidence
    bin_upper: _Confidence
    sample_count: Annotated[int, Field(ge=0)] = 0
    outcome_sum: float = 0.0
    actual_rate: float | None = None
    brier_contribution: float | None = None
    last_updated: datetime | None = None
    created_at: datetime


class OutcomeWindow(BaseModel):
    """For how long after an action its outcome is looked for.

    The three tiers are those of the built-in policy; another policy may say otherwise.
    """

    model_config = _SHAPE

    action_type: _Text50
    outcome_type: _Text50
    window_hours: Annotated[int, Field(ge=1)]

    @classmethod
    def immediate(
        cls, action_type: str = "send_email", outcome_type: str = OutcomeType.EMAIL_ENGAGEMENT
    ) -> Self:
        """24 hours.

        >>> OutcomeWindow.immediate().window_hours
        24
        """
        return cls(action_type=action_type, outcome_type=outcome_type, window_hours=IMMEDIATE_HOURS)

    @classmethod
    def engagement(
        cls, action_type: str = "recommend_action", outcome_type: str = OutcomeType.MEETING_OUTCOME
    ) -> Self:
        """168 hours, a week."""
        return cls(
            action_type=action_type, outcome_type=outcome_type, window_hours=ENGAGEMENT_HOURS
        )

    @classmethod
    def deal_progression(
        cls, action_type: str = "qualify", outcome_type: str = OutcomeType.DEAL_PROGRESSION
    ) -> Self:
        """720 hours, thirty days."""
        return cls(
            action_type=action_type,
            outcome_type=outcome_type,
            window_hours=DEAL_PROGRESSION_HOURS,
        )


class CalibrationCurve(BaseModel):
    """What was stated against what came of it, ten bins of an action type.

    A bin without records is unobserved: its rate is None and its count 0. Without any record at all
    there is no Brier score.
    """

    model_config = _SHAPE

    action_type: _Text50
    midpoints: list[float]
    actual_rates: list[float | None]
    counts: list[int]
    brier_score: float | None

    @classmethod
    def of_bins(cls, action_type: str, bins: Iterable[CalibrationBin]) -> Self:
        """The curve of an action type's rows in `calibration_bins`; an absent bin is unobserved."""
        held = {one.bin_index: one for one in bins}
        counts = [held[k].sample_count if k in held else 0 for k in range(10)]
        squares = sum(one.brier_contribution or 0.0 for one in held.values())
        return cls(
            action_type=action_type,
            midpoints=[(2 * k + 1) / 20 for k in range(10)],
            actual_rates=[held[k].actual_rate if counts[k] else None for k in range(10)],
            counts=counts,
            brier_score=squares / sum(counts) if any(counts) else None,
        )


class CalibrationAdjustment(BaseModel):
    """A threshold of an action type moves, or should."""

    model_config = _SHAPE

    action_type: _Text50
    direction: Literal["increase", "decrease"]
    magnitude: float
    old_threshold: float
    new_threshold: float
    reason: str

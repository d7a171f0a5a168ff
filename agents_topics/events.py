"""The events that cross Kafka: frozen values with their limits, validated where bytes come in.

An input event names what happened and when; its limits are those of the Postgres columns it may
reach, so that a bad one is a dead letter at the edge and never a failed insert. Output events carry
integer milliseconds (`*_at_ms`) and exact integers, so that a replay repeats them bit for bit.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue

METADATA_BYTES_MAX = 4096
CONVERSATION_ID_LENGTH_MAX = 200

_INPUT = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)
_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"(Z|[+-][0-9]{2}:[0-5][0-9])$"
)

Uuid = Annotated[str, Field(pattern=_UUID, description="UUID in lower case with hyphens")]
TenantId = Uuid
ConversationId = Annotated[
    str,
    Field(min_length=1, max_length=CONVERSATION_ID_LENGTH_MAX, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"),
]
Identifier = Annotated[str, Field(min_length=1, max_length=100)]
Name50 = Annotated[str, Field(min_length=1, max_length=50)]
Text200 = Annotated[str, Field(min_length=1, max_length=200)]
Timestamp = Annotated[
    str,
    Field(pattern=_TIME, json_schema_extra={"format": "date-time"}, description="RFC 3339, zoned"),
]
Confidence = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2_147_483_647)]
Amount = Annotated[float, Field(ge=0, le=1e12)]
Channel = Annotated[str, Field(max_length=20)]
Metadata = dict[str, JsonValue]


class DealStage(StrEnum):
    """Where a deal stands. The open stages are ranked; a lost or stalled deal has no rank."""

    PROSPECTING = "prospecting"
    DISCOVERY = "discovery"
    QUALIFICATION = "qualification"
    EVALUATION = "evaluation"
    NEGOTIATION = "negotiation"
    CLOSED_WON = "closed_won"
    CLOSED_LOST = "closed_lost"
    STALLED = "stalled"


STAGE_RANKS: dict[str, int] = {
    stage.value: rank
    for rank, stage in enumerate(
        (
            DealStage.PROSPECTING,
            DealStage.DISCOVERY,
            DealStage.QUALIFICATION,
            DealStage.EVALUATION,
            DealStage.NEGOTIATION,
            DealStage.CLOSED_WON,
        )
    )
}

Stage = Literal[
    "prospecting",
    "discovery",
    "qualification",
    "evaluation",
    "negotiation",
    "closed_won",
    "closed_lost",
    "stalled",
]
ConfidenceSource = Literal[
    "self_report",
    "logprob",
    "classifier",
    "agreement",
    "judge",
    "heuristic",
    "human",
    "unknown",
]


class OutcomeStatus(StrEnum):
    """What became of an action."""

    PENDING = "pending"
    POSITIVE = "positive"
    NEGATIVE = "negative"
    AMBIGUOUS = "ambiguous"
    EXPIRED = "expired"


Status = Annotated[str, Field(json_schema_extra={"enum": [s.value for s in OutcomeStatus]})]
SignalSource = Annotated[str, Field(json_schema_extra={"enum": ["automatic", "human_label"]})]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An agent did something and said how sure it was. Topic `agent-actions`."""

    __pydantic_config__ = _INPUT

    event_id: Identifier
    """The event's own id; an equal copy under the same id counts once."""
    tenant_id: TenantId
    """Whose it is; `trueup id NAME` gives a name's UUID. Also the first part of the key."""
    conversation_id: ConversationId
    """What actions and interactions are joined by. Also the second part of the key."""
    action_type: Name50
    """What was done; a type that the policy knows, such as `send_email`."""
    predicted_confidence: Confidence | None = None
    """The probability of success that the agent stated; absent only where `confidence_label` is."""
    occurred_at: Timestamp
    """When it happened; counted in whole milliseconds."""
    action_id: Identifier | None = None
    """The action's id within its conversation; the event's where absent."""
    outcome_type: Name50 | None = None
    """One outcome alone; every one that the policy has for the type where absent."""
    confidence_source: ConfidenceSource = "unknown"
    """Where the confidence comes from; sources never share a curve."""
    deal_stage: Stage | None = None
    """The deal's stage at that moment; later stages are compared with it."""
    interaction_count: Count | None = None
    """How many interactions the conversation had by then; later counts are compared with it."""
    rep_id: Identifier | None = None
    """The salesperson for whom the agent acts."""
    agent_id: Identifier | None = None
    """The acting agent."""
    agent_version: Identifier | None = None
    """Its version."""
    model: Identifier | None = None
    """The model that it asked."""
    cost_usd: Amount | None = None
    """What the action cost, in US dollars."""
    latency_ms: Amount | None = None
    """How long it took, in milliseconds."""
    metadata: Metadata | None = None
    """Anything else; carried along, never logged."""
    confidence_label: Name50 | None = None
    """How sure in a word: `high`, `medium`, `low`, or the policy's. Beside a number it is kept."""
    channel: Channel | None = None
    """Where it was done: mail, chat, phone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """Something then happened in the conversation. Topic `agent-interactions`.

    A `human_label` is a person's verdict on one action: it names `action_id` and `label`, and may
    give `metadata.score` (from 0 to 1, in the place of the label's own 1 or 0) and
    `metadata.reviewer` (1 to 100 characters).
    """

    __pydantic_config__ = _INPUT

    event_id: Identifier
    """The event's own id; an equal copy under the same id counts once."""
    tenant_id: TenantId
    """Whose it is; the same as the action's. Also the first part of the key."""
    conversation_id: ConversationId
    """The conversation in which it happened. Also the second part of the key."""
    kind: Name50
    """What happened, such as `reply_received`; kinds that no policy listens to are ignored."""
    occurred_at: Timestamp
    """When it happened; counted in whole milliseconds."""
    action_id: Identifier | None = None
    """The one action that it concerns; every one of the conversation where absent."""
    deal_stage: Stage | None = None
    """The deal's stage from then on."""
    interaction_count: Count | None = None
    """How many interactions the conversation has by then."""
    channel: Channel | None = None
    """Where it happened: mail, chat, phone."""
    label: Literal["positive", "negative", "ambiguous"] | None = None
    """A person's verdict; only a `human_label` has one that counts."""
    account_id: Identifier | None = None
    """The account."""
    contact_id: Identifier | None = None
    """The contact."""
    contact_email: Annotated[str, Field(max_length=255)] | None = None
    """The contact's address; not needed."""
    contact_name: Annotated[str, Field(max_length=200)] | None = None
    """The contact's name; not needed."""
    persona_type: Annotated[str, Field(max_length=20)] | None = None
    """The contact's part in buying."""
    metadata: Metadata | None = None
    """Anything else; of a `human_label` also `score` and `reviewer`. Never logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A person rated a message, a decision or a conversation. Topic `agent-feedback`."""

    __pydantic_config__ = _INPUT

    event_id: Identifier
    """The feedback's own id; an equal copy under the same id counts once."""
    tenant_id: TenantId
    """Whose it is. Also the first part of the key."""
    conversation_id: ConversationId
    """The conversation that was rated, or part of it. Also the second part of the key."""
    target_type: Literal["message", "decision", "conversation"]
    """What was rated."""
    target_id: Identifier
    """Its id: of the message, of the decision, or the conversation's UUID."""
    source: Literal["inline", "dashboard"]
    """Where it was rated; the rating's scale follows."""
    rating: Annotated[int, Field(ge=-1, le=5)]
    """`inline`: -1, 0 or 1. `dashboard`: 1 to 5."""
    reviewer_id: Uuid
    """The person."""
    reviewer_role: Literal["rep", "manager", "executive"]
    """The person's part."""
    occurred_at: Timestamp
    """When it was rated; counted in whole milliseconds."""
    outcome_record_id: Uuid | None = None
    """The outcome that it concerns: the `id` of a record of `outcomes`."""
    action_id: Identifier | None = None
    """The action that it concerns, within the conversation."""
    comment: Annotated[str, Field(max_length=1000)] | None = None
    """In the person's words; never logged."""
    metadata: Metadata | None = None
    """Anything else; never logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A topic's time may jump to `until`. Topic `control`, one record in every partition."""

    __pydantic_config__ = _INPUT

    kind: Literal["clock"]
    """What the record is."""
    event_id: Identifier
    """The record's own id."""
    until: Timestamp
    """Event time is at least this, once everything that came before is applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """What is known of a conversation, or of a whole tenant, goes. Topic `control`.

    One record in the conversation's partition; of a tenant one in every partition.
    """

    __pydantic_config__ = _INPUT

    kind: Literal["forget"]
    """What the record is."""
    event_id: Identifier
    """The record's own id."""
    tenant_id: TenantId
    """Whose it is."""
    conversation_id: ConversationId | None = None
    """The conversation; absent: all of the tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdOverride:
    """A person sets a threshold, takes back its last change or lets it go. Topic `control`.

    One record in every partition. It concerns the streams that have outcomes by then. A threshold
    that was set or taken back is held until it is released.
    """

    __pydantic_config__ = _INPUT

    kind: Literal["threshold"]
    """What the record is."""
    event_id: Identifier
    """The record's own id; a copy under the same id counts once."""
    tenant_id: TenantId
    """Whose streams."""
    action_type: Name50
    """Of which action."""
    outcome_type: Name50 | None = None
    """Of which outcome; of any where absent."""
    confidence_source: ConfidenceSource | None = None
    """With confidences from where; from anywhere where absent."""
    reviewer: Identifier
    """Who decided it."""
    occurred_at: Timestamp
    """When it was decided; it holds from what has settled when it is read."""
    action: Literal["set", "roll_back", "release"]
    """What is asked."""
    value: Confidence | None = None
    """The threshold to set; only where one is set."""
    because: Text200 | None = None
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAlarm:
    """A person closes an open alarm: a new test begins. Topic `control`.

    One record in every partition. It concerns the streams whose alarm is open by then.
    """

    __pydantic_config__ = _INPUT

    kind: Literal["close_alarm"]
    """What the record is."""
    event_id: Identifier
    """The record's own id; a copy under the same id counts once."""
    tenant_id: TenantId
    """Whose streams."""
    action_type: Name50
    """Of which action."""
    outcome_type: Name50 | None = None
    """Of which outcome; of any where absent."""
    confidence_source: ConfidenceSource | None = None
    """With confidences from where; from anywhere where absent."""
    reviewer: Identifier
    """Who decided it."""
    occurred_at: Timestamp
    """When it was decided; it holds from what has settled when it is read."""
    because: Text200 | None = None
    """Why."""


ControlOverride = ThresholdOverride | CloseAlarm
InputEvent = Action | Interaction | Feedback


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What is known of one outcome of one action; readers upsert by `id`. Topic `outcomes`.

    Only a record with `is_settled` counts; it comes once per id and never changes. The settled
    fields are a function of the admitted events; `known_at_ms` and `revision` are not.
    """

    id: str
    """uuid5 of tenant over conversation, action and outcome type: the record's key."""
    tenant_id: str
    """Whose it is."""
    conversation_id: str
    """The action's conversation."""
    action_id: str
    """The action, within its conversation."""
    action_type: str
    """What was done."""
    outcome_type: str
    """Which of the action's outcomes this is."""
    predicted_confidence: float | None
    """The probability of success that the agent stated; null where it said a word alone."""
    confidence_label: str | None = None
    """The word that the agent said; null where it said none."""
    confidence_source: str
    """Where the confidence came from."""
    status: Status
    """What became of it; before it is settled, what is known so far."""
    score: float | None
    """From 0 to 1; null where pending, ambiguous or expired."""
    signal_source: SignalSource | None
    """`automatic` or `human_label`; null while pending."""
    decided_by: str | None
    """The event_id of the interaction that decided; null where none did."""
    created_at_ms: int
    """The action's time."""
    window_expires_at_ms: int
    """The end of its window."""
    settled_at_ms: int
    """Its settle time: the later end of window and label window."""
    resolved_at_ms: int | None
    """The deciding event's time, or the window's end if expired; null while pending."""
    known_at_ms: int | None
    """When the broker took the deciding record; null where none did."""
    revision: int
    """0 and up; their number and path are not part of the result."""
    is_settled: bool
    """Whether this is the result: it comes once per id and never changes."""
    calibrates: bool
    """Whether this outcome enters the bins."""
    is_lead: bool | None
    """Whether it leads its conversation and window; null until settled."""
    expired_counts: bool
    """Whether an expired one counts as 0."""
    policy_version: str
    """The version of the rules that was in force at the action's time."""
    deal_stage: str | None = None
    """The action's."""
    interaction_count: int | None = None
    """The action's."""
    rep_id: str | None = None
    """The action's."""
    agent_id: str | None = None
    """The action's."""
    agent_version: str | None = None
    """The action's."""
    model: str | None = None
    """The action's."""
    cost_usd: float | None = None
    """The action's."""
    latency_ms: float | None = None
    """The action's."""
    metadata: dict[str, Any] | None = None
    """The action's."""
    channel: str | None = None
    """The action's."""


@dataclass(slots=True, kw_only=True)
class Promise:
    """Resolver task `source` has written every outcome with settle time <= `until_ms`."""

    source: int
    """The resolver's task."""
    until_ms: int
    """The settle time up to which everything is written."""


@dataclass(slots=True, kw_only=True)
class BinSums:
    """Exact sums over records of one bin; confidences are integers in millionths.

    `n, sp, spp, sy, spy` are over calibrating records (y = 0 or 1); `excluded_*` over those that
    say nothing (ambiguous; expired where the policy says so). Big ones travel as decimal strings.
    """

    n: int = 0
    """How many records."""
    sp: int = 0
    """The sum of confidences, in millionths."""
    spp: str = "0"
    """The sum of their squares, in millionths of millionths."""
    sy: int = 0
    """How many came true."""
    spy: int = 0
    """The sum of the confidences of those, in millionths."""
    excluded_n: int = 0
    """How many say nothing."""
    excluded_sp: int = 0
    """The sum of their confidences."""
    excluded_spp: str = "0"
    """The sum of the squares of these."""


@dataclass(slots=True, kw_only=True)
class CalibrationUpdate:
    """The absolute sums of one bin of one stream. Topic `calibration-updates`, compacted by key.

    A stream is (tenant, action type, outcome type, window length, confidence source).
    `counts` are the settled outcomes of this bin by status; without any the bin is gone, because
    its tenant was forgotten.
    """

    tenant_id: str
    """Whose it is."""
    action_type: str
    """What was done."""
    outcome_type: str
    """Which outcome."""
    window_ms: int
    """How long its window is."""
    confidence_source: str
    """Where the confidences come from."""
    bin_index: int
    """0 for [0, 0.1) to 9 for [0.9, 1]."""
    all: BinSums
    """Over all settled outcomes."""
    lead: BinSums
    """Over the one that leads each conversation and window."""
    counts: dict[str, int]
    """The settled outcomes of this bin by status."""
    last_settled_at_ms: int
    """The latest settle time among them."""
    residuals: list[str] = field(default_factory=list)
    """Of 20 cells of the bin, each .005 wide, the sums of p - y over all records that fall to its
    left end and to its right end, in units of 1 / (5000 · 10⁶), in whole numbers; empty where they
    were not kept from the first record on.
    """


@dataclass(slots=True, kw_only=True)
class LateEvent:
    """A record that came too late, with the time it was compared with. Topic `late-events`."""

    topic: str
    """Where the record stands."""
    partition: int
    """Its partition."""
    offset: int
    """Its offset."""
    tenant_id: str
    """The event's."""
    conversation_id: str
    """The event's."""
    event_id: str
    """The event's."""
    occurred_at_ms: int
    """The event's time."""
    reason: Literal["behind", "after_silence"]
    """Behind its topic's own log, or behind the time that silence or a clock record gave it."""
    compared_ms: int
    """The time it was compared with."""
    grace_ms: int
    """The grace in force: occurred_at_ms + grace_ms is not later than compared_ms."""


@dataclass(slots=True, kw_only=True)
class Forgotten:
    """A task has forgotten a conversation, or a tenant. Topics `forgotten`, `outcomes`,
    `settled-outcomes`.

    In `outcomes` it says: drop all that came before it in this partition with its tenant and
    conversation. What comes after it is new. No other record there begins with `forget_id`.
    """

    forget_id: str
    """The event_id of the forget record."""
    tenant_id: str
    """Whose it is."""
    conversation_id: str | None
    """The conversation; null: all of the tenant."""
    partition: int
    """The partition that has forgotten: a tenant is forgotten once in each."""
    offsets: dict[str, int]
    """By input topic the offset below which the records are forgotten; later ones are new."""
    settled_until_ms: int
    """A conversation's outcomes with a settle time up to here had settled: the bins count them."""
    open_outcomes: int
    """How many had not settled."""


FORGOTTEN_MARK = b'{"forget_id":'
"""What it begins with in `outcomes`, where an outcome begins with its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRecord:
    """A version of the policy, recorded when a worker first has it. Topic `policies`, by digest.

    `content` is the version as JSON text with sorted names, without what is at its default; the
    digest is the first 16 hex digits of its SHA-256.
    """

    digest: str
    """What names the version in states and outcomes."""
    effective_from: str | None
    """RFC 3339: from when on actions are judged by it; null for the first version."""
    content: str
    """The version."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(occurred_at: str) -> int:
    """Whole milliseconds since 1970, rounded down.

    >>> to_ms("2026-01-05T00:00:00.001999Z")
    1767571200001

    Raises:
        ValueError: no such day or time.
    """
    if occurred_at[11:13] == "24":  # some Pythons take it for the next midnight, others do not
        raise ValueError("hour must be in 0..23")
    return (datetime.fromisoformat(occurred_at) - _EPOCH) // _MILLISECOND


def to_timestamp(at_ms: int) -> str:
    """The RFC 3339 text of a time in milliseconds.

    >>> to_timestamp(1767571200001)
    '2026-01-05T00:00:00.001Z'
    """
    at = _EPOCH + at_ms * _MILLISECOND
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"

"""Records of `outcomes` as rows.

The columns' names are the schema's, held to it by a test: a worker, which only writes rows, need
not load SQLAlchemy, which was a third of its start. Times stay integer milliseconds and UUIDs text
until the driver encodes them: this runs once for every outcome, and the values' classes would cost
more than the rows.
"""

from collections.abc import Iterable
from dataclasses import MISSING, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from agents_topics.events import Outcome
from agents_topics.identifiers import conversation_state_id_of
from sinks.postgres.row_types import Record, Row

COLUMN_OF = {
    "id": "id",
    "tenant_id": "tenant_id",
    "conversation_id": "conversation_id",
    "action_type": "action_type",
    "action_id": "action_id",
    "predicted_confidence": "predicted_confidence",
    "confidence_label": "confidence_label",
    "confidence_source": "confidence_source",
    "outcome_type": "outcome_type",
    "status": "outcome_status",
    "score": "outcome_score",
    "signal_source": "signal_source",
    "decided_by": "decided_by",
    "created_at_ms": "created_at",
    "window_expires_at_ms": "window_expires_at",
    "settled_at_ms": "settled_at",
    "resolved_at_ms": "resolved_at",
    "known_at_ms": "known_at",
    "revision": "revision",
    "is_settled": "is_settled",
    "calibrates": "calibrates",
    "is_lead": "is_lead",
    "expired_counts": "expired_counts",
    "policy_version": "policy_version",
    "rep_id": "rep_id",
    "agent_id": "agent_id",
    "agent_version": "agent_version",
    "model": "model",
    "cost_usd": "cost_usd",
    "latency_ms": "latency_ms",
}
"""The column of each field of the event `Outcome` that has one."""

_ADDED = (
    "conversation_state_id",
    "metadata_json",
    "lineage",
    "output_partition",
    "output_offset",
)
OUTCOME_COLUMNS = (*COLUMN_OF.values(), *_ADDED)
"""The columns of an outcome's row: the event's fields in this order, then what follows from it."""


def _outcome_struct() -> Any:
    """The contract's `Outcome` as a struct, its fields in the columns' order.

    A struct is decoded three times as fast as a dataclass and becomes a tuple in one call. The
    fields that are no columns stand last.
    """
    types = {
        field.name: (field.type,) if field.default is MISSING else (field.type, field.default)
        for field in fields(Outcome)
    }
    names = [*COLUMN_OF, *(name for name in types if name not in COLUMN_OF)]
    listed = [(name, *types[name]) for name in names]
    return msgspec.defstruct("StoredOutcome", listed, kw_only=True, gc=False)


_outcome = msgspec.json.Decoder(_outcome_struct()).decode
_json = msgspec.json.Encoder().encode
# Several outcomes of a conversation come close together, each in several revisions.
_state_id = lru_cache(maxsize=1 << 16)(conversation_state_id_of)


def last_outcomes(records: Iterable[Record]) -> tuple[list[tuple[int, Any]], int]:
    """The last record of each id, and how many were refused: a settled one is the last."""
    last: dict[str, tuple[int, Any]] = {}
    refused = 0
    for offset, value in records:
        outcome = _outcome(value)
        held = last.get(outcome.id)
        if held is not None and held[1].is_settled:
            refused += outcome != held[1]
        else:
            last[outcome.id] = (offset, outcome)
    return list(last.values()), refused


def outcome_row(outcome: Any, lineage: int, partition: int, offset: int) -> Row:
    """The row of `outcome_records`."""
    own = msgspec.structs.astuple(outcome)[: len(COLUMN_OF)]
    return (*own, *_added(outcome), lineage, partition, offset)


def replayed_row(outcome: Outcome, lineage: int, partition: int, offset: int) -> Row:
    """The same of an outcome that comes from the core itself, its fields in the event's order."""
    return (*_in_columns_order(outcome), *_added(outcome), lineage, partition, offset)


_in_columns_order = attrgetter(*COLUMN_OF)


def _added(outcome: Any) -> tuple[str, str]:
    return _state_id(outcome.tenant_id, outcome.conversation_id), _metadata(outcome)


def _metadata(outcome: Any) -> str:
    """What came with the action, where its deal stood then, and where it was done."""
    at_creation = (
        ("deal_stage_at_creation", outcome.deal_stage),
        ("interaction_count_at_creation", outcome.interaction_count),
        ("channel_at_creation", outcome.channel),
    )
    told = {name: value for name, value in at_creation if value is not None}
    if not told and not outcome.metadata:
        return "{}"
    return _json({**(outcome.metadata or {}), **told}).decode()

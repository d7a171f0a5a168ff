"""Where an action's outcomes stand: rows as the event they were, and their place in `outcomes`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from agents_topics.events import Outcome
from agents_topics.identifiers import conversation_state_id_of, is_uuid
from sinks.postgres.outcome_rows import COLUMN_OF
from sinks.postgres.queries import run_bound

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LISTED = ", ".join(COLUMN_OF.values())
OF_ACTION = f"""\
SELECT {_LISTED}, metadata_json, output_partition, output_offset FROM tenant.outcome_records
WHERE action_id = $1 AND ($2::uuid IS NULL OR tenant_id = $2)
  AND ($3::uuid IS NULL OR conversation_state_id = $3)
  AND ($4::text IS NULL OR conversation_id = $4)
ORDER BY tenant_id, conversation_id, calibrates DESC, outcome_type LIMIT $5"""
_DECIDED_BY = """\
SELECT DISTINCT action_id FROM tenant.outcome_records
WHERE decided_by = $1 AND ($2::uuid IS NULL OR tenant_id = $2) ORDER BY 1 LIMIT 20"""
_RECENT = """\
SELECT DISTINCT action_id FROM (
  SELECT action_id FROM tenant.outcome_records WHERE $1::uuid IS NULL OR tenant_id = $1
  ORDER BY created_at DESC LIMIT $2) AS recent"""
OUTCOMES_MAX = 500


@dataclass(frozen=True, slots=True)
class Located:
    """An outcome as Postgres has it, and where its record stands in `outcomes`."""

    outcome: Outcome
    partition: int
    offset: int


async def outcomes_of_action(
    url: str, action_id: str, tenant_id: str | None = None, conversation: str | None = None
) -> list[Located]:
    """The outcomes of an action id in every conversation that has it, at most 500."""
    state_id = plain = None
    if conversation is not None and is_uuid(conversation):
        state_id = conversation
    elif conversation is not None and tenant_id is not None:
        state_id = conversation_state_id_of(tenant_id, conversation)
    else:
        plain = conversation
    answer = await run_bound(url, OF_ACTION, action_id, tenant_id, state_id, plain, OUTCOMES_MAX)
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    return [Located(_outcome_of(r), r["output_partition"], r["output_offset"]) for r in rows]


async def actions_decided_by(url: str, event_id: str, tenant_id: str | None) -> list[str]:
    """The actions that an interaction has decided."""
    answer = await run_bound(url, _DECIDED_BY, event_id, tenant_id)
    return [row[0] for row in answer.rows]


async def recent_action_ids(url: str, tenant_id: str | None, limit: int) -> list[str]:
    """Action ids of the newest outcomes."""
    answer = await run_bound(url, _RECENT, tenant_id, limit)
    return [row[0] for row in answer.rows]


def _outcome_of(row: Mapping[str, Any]) -> Outcome:
    about = msgspec.json.decode(row["metadata_json"] or "{}")
    values = {name: _plain(row[column]) for name, column in COLUMN_OF.items()}
    values["deal_stage"] = about.get("deal_stage_at_creation")
    values["channel"] = about.get("channel_at_creation")
    known = {field.name for field in fields(Outcome)}
    return Outcome(**{name: value for name, value in values.items() if name in known})


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(milliseconds=1)
    return str(value) if isinstance(value, UUID) else value

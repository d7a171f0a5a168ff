"""What the publisher deletes when a task has forgotten a conversation or a tenant.

The law: a record `forgotten` in `outcomes` takes away what came before it in its partition, and
what replays have written (their offsets are below zero); never what came after it. It is obeyed in
the transaction of its offset, so a database that is restored from an old dump forgets again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from agents_topics.events import FORGOTTEN_MARK, Forgotten
from agents_topics.identifiers import conversation_state_id_of
from sinks.postgres.row_types import Record
from sinks.postgres.statements import OF_A_REPLAY
from sinks.postgres.tenant_tables import CORRECTIONS, COUNTED

_decode = msgspec.json.Decoder(Forgotten).decode
_Entry = tuple[int, Forgotten]


class _About(msgspec.Struct):
    """Whose an outcome is."""

    tenant_id: str
    conversation_id: str


_about = msgspec.json.Decoder(_About).decode

_OF_CONVERSATION = (
    "DELETE FROM tenant.outcome_records"
    " WHERE tenant_id = $1 AND conversation_state_id = $2 AND conversation_id = $3"
    " AND (output_offset < 0 OR (output_partition = $4 AND output_offset < $5))"
)
_SHADOWS_OF_CONVERSATION = (
    "DELETE FROM tenant.shadow_outcome_records WHERE tenant_id = $1 AND conversation_id = $2"
)
_RATINGS_OF_CONVERSATION = (
    "DELETE FROM tenant.feedback_entries WHERE tenant_id = $1 AND conversation_state_id = $2"
)
_OF_TENANT = (
    "DELETE FROM tenant.outcome_records"
    " WHERE tenant_id = $1 AND output_partition = $2 AND output_offset < $3"
)
_SHADOWS_OF_TENANT = (
    "DELETE FROM tenant.shadow_outcome_records WHERE tenant_id = $1 AND output_partition = $2"
)
_ALL_OF_TENANT = (
    "DELETE FROM tenant.feedback_entries WHERE tenant_id = $1",
    "DELETE FROM tenant.conversation_states WHERE tenant_id = $1",
    # What a calibrator has counted it takes back itself, in `calibration-updates`.
    *(f"DELETE FROM tenant.{table} WHERE tenant_id = $1 AND {OF_A_REPLAY}" for table in COUNTED),
)
_CORRECTED = tuple(
    f"DELETE FROM tenant.{table} WHERE tenant_id = ANY($1::uuid[])" for table in CORRECTIONS
)
_STREAMS_OF_SHADOWS = (
    "UPDATE tenant.shadows SET about = (about::jsonb || jsonb_build_object('streams', ("
    "SELECT coalesce(jsonb_agg(told ORDER BY place), '[]')"
    " FROM jsonb_array_elements(about::jsonb->'streams') WITH ORDINALITY AS listed (told, place)"
    " WHERE told->>'tenant_id' <> $1)))::json"
    " WHERE about::jsonb->'streams' @> jsonb_build_array(jsonb_build_object('tenant_id', $1::text))"
)
_EMPTIED = tuple(
    f"DELETE FROM tenant.{table}"
    " WHERE tenant_id = $1 AND output_partition = $2 AND output_offset <= $3"
    for table in COUNTED
)
_EMPTY_DISPLAY = (
    "DELETE FROM tenant.calibration_bins AS shown WHERE tenant_id = ANY($1::uuid[])"
    " AND NOT EXISTS (SELECT FROM tenant.calibration_stream_bins AS held"
    " WHERE held.tenant_id = shown.tenant_id AND held.action_type = shown.action_type"
    " AND held.bin_index = shown.bin_index)"
)


def forgotten_among(records: Iterable[Record]) -> list[_Entry]:
    """What the records of `outcomes` say is forgotten, each with its offset."""
    return [
        (offset, _decode(value)) for offset, value in records if value.startswith(FORGOTTEN_MARK)
    ]


def left_of(records: Sequence[Record], forgotten: Sequence[_Entry]) -> list[Record]:
    """The outcomes among the records that nothing after them has forgotten."""
    return [
        (offset, value)
        for offset, value in records
        if not value.startswith(FORGOTTEN_MARK)
        and not any(offset < at and _is_meant(value, entry) for at, entry in forgotten)
    ]


def _is_meant(value: bytes, entry: Forgotten) -> bool:
    about = _about(value)
    return about.tenant_id == entry.tenant_id and entry.conversation_id in (
        None,
        about.conversation_id,
    )


async def forget_rows(connection: Any, forgotten: Sequence[_Entry], partition: int) -> None:
    """No row is left of what is forgotten, but for bins that a calibrator still counts."""
    for offset, entry in forgotten:
        if entry.conversation_id is None:
            await _forget_tenant(connection, entry.tenant_id, partition, offset)
        else:
            tenant, conversation = entry.tenant_id, entry.conversation_id
            state_id = conversation_state_id_of(tenant, conversation)
            execute = connection.execute
            await execute(_OF_CONVERSATION, tenant, state_id, conversation, partition, offset)
            await execute(_SHADOWS_OF_CONVERSATION, tenant, conversation)
            await execute(_RATINGS_OF_CONVERSATION, tenant, state_id)


async def _forget_tenant(connection: Any, tenant: str, partition: int, offset: int) -> None:
    await connection.execute(_OF_TENANT, tenant, partition, offset)
    await connection.execute(_SHADOWS_OF_TENANT, tenant, partition)
    for statement in _ALL_OF_TENANT:
        await connection.execute(statement, tenant)
    await delete_corrections(connection, [tenant])
    await connection.execute(_STREAMS_OF_SHADOWS, tenant)
    await connection.execute(_EMPTY_DISPLAY, [tenant])


async def delete_corrections(connection: Any, tenants: Collection[str]) -> None:
    """Nothing is left of what promotions have added to sums of tenants. Of the two topics that tell
    of a forgotten tenant either may come first, and what is counted anew must not be corrected.
    """
    for statement in _CORRECTED if tenants else ():
        await connection.execute(statement, list(tenants))


async def delete_emptied(connection: Any, emptied: Mapping[str, int], partition: int) -> None:
    """Nothing is left of what a calibrator has counted of tenants and has taken back, but for what
    it has counted since.
    """
    for tenant, offset in emptied.items():
        for statement in _EMPTIED:
            await connection.execute(statement, tenant, partition, offset)
    if emptied:
        await connection.execute(_EMPTY_DISPLAY, list(emptied))

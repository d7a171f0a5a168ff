"""Settled outcomes out of Postgres, stream by stream, in the order in which they enter calibration.

The order within a stream is (settle time, action time, action_id, conversation_id), texts by their
code points, whatever the database's language.
"""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

from agents_topics.events import to_timestamp
from sinks.postgres.connect import connect
from sinks.postgres.outcome_rows import COLUMN_OF, OUTCOME_COLUMNS
from sinks.postgres.row_types import Row
from sinks.postgres.writer import count_times_from_1970

ROWS_MAX = 5_000
COMMAND_TIMEOUT_S = 600.0


class SettledRow(NamedTuple):
    """What calibration needs to know of a settled outcome, by the names of the event `Outcome`."""

    tenant_id: str
    action_type: str
    outcome_type: str
    window_ms: int
    confidence_source: str
    settled_at_ms: int
    created_at_ms: int
    predicted_confidence: float | None
    confidence_label: str | None
    status: str
    expired_counts: bool
    is_lead: bool
    policy_version: str
    decided_by: str | None
    resolved_at_ms: int
    agent_id: str | None
    agent_version: str | None
    model: str | None
    rep_id: str | None
    deal_stage: str | None
    channel: str | None


_STREAM = (
    "tenant_id, action_type, outcome_type,"
    " (extract(epoch FROM window_expires_at - created_at) * 1000)::bigint, confidence_source"
)


def entering_sql(rows: str) -> str:
    """The statement; `rows` is a table or a subquery with the columns of `outcome_records`."""
    return f"""\
SELECT {_STREAM.replace("tenant_id", "tenant_id::text", 1)}, settled_at, created_at,
  predicted_confidence, confidence_label, outcome_status, expired_counts, coalesce(is_lead, false),
  policy_version, decided_by, resolved_at, agent_id, agent_version, model, rep_id,
  metadata_json->>'deal_stage_at_creation', metadata_json->>'channel_at_creation'
FROM {rows} AS outcomes WHERE is_settled AND calibrates
ORDER BY {_STREAM}, settled_at, created_at, action_id COLLATE "C", conversation_id COLLATE "C\""""


LIVE = """\
(SELECT * FROM (
  SELECT * FROM tenant.outcome_records UNION ALL
  SELECT * FROM json_populate_recordset(NULL::tenant.outcome_records, $2::json)
) AS counted WHERE settled_at <= $1)"""
"""Beside the rows those of outcomes that are counted and forgotten, which stand nowhere."""
SHADOW = "(SELECT * FROM tenant.shadow_outcome_records WHERE settled_at <= $1 AND shadow = $2)"


_TIMES = frozenset(column for field, column in COLUMN_OF.items() if field.endswith("_at_ms"))


def as_json(rows: Iterable[Row]) -> str:
    """Rows of `outcome_records`, in the order of `OUTCOME_COLUMNS`, as a value for `LIVE`."""
    return json.dumps([_document(row) for row in rows])


def _document(row: Row) -> dict[str, Any]:
    named = dict(zip(OUTCOME_COLUMNS, row, strict=True))
    times = {name: to_timestamp(named[name]) for name in _TIMES if named[name] is not None}
    return named | times | {"metadata_json": json.loads(named["metadata_json"])}


async def entering(url: str, rows: str, *values: Any) -> AsyncIterator[list[SettledRow]]:
    """Pieces of what had settled by a time (the first of the values), of one moment.

    Raises:
        asyncpg's errors: Postgres is not there or refuses.
    """
    connection = await connect(url, command_timeout=COMMAND_TIMEOUT_S)
    try:
        await connection.execute("SET ROLE trueup_operator; SET jit = off; SET work_mem = '64MB'")
        await count_times_from_1970(connection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            async for piece in pieces(connection, rows, *values):
                yield piece
    finally:
        await connection.close()


async def pieces(connection: Any, rows: str, *values: Any) -> AsyncIterator[list[SettledRow]]:
    """The same within a transaction; times are milliseconds there."""
    cursor = await connection.cursor(entering_sql(rows), *values)
    while found := await cursor.fetch(ROWS_MAX):
        yield [SettledRow(*row) for row in found]

"""What people ask of the tables; values are always bound, never written into the SQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sinks.postgres.connect import connect, problems_told

ROLES = ("trueup_owner", "trueup_writer", "trueup_api", "trueup_operator", "trueup_reader")

# An empty filter is null; the planner sees the values, so that each case uses its index.
COUNTS_BY_STATUS = """\
SELECT outcome_status, is_settled, count(*) AS count FROM tenant.outcome_records
WHERE $1::uuid IS NULL OR tenant_id = $1 GROUP BY 1, 2 ORDER BY 1, 2"""
_SHARED_ACTION_IDS = """\
SELECT tenant_id, action_id, count(DISTINCT conversation_id) AS conversations
FROM tenant.outcome_records GROUP BY 1, 2 HAVING count(DISTINCT conversation_id) > 1
ORDER BY 1, 2"""

_SINK_OFFSETS = "SELECT topic, partition, next_offset FROM tenant.sink_offsets ORDER BY 1, 2"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave: its rows, or its tag where it has none (`UPDATE 1`)."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    tag: str


async def run_sql(
    url: str, sql: str, as_role: str | None = None, tenant_id: str | None = None
) -> Answer:
    """Runs one statement in a transaction, as a role and for a tenant where they are given.

    Raises:
        PostgresProblem: Postgres is not there or refuses the statement.
    """
    async with _as(url, as_role, tenant_id) as connection:
        return await _asked(connection, sql)


async def counts_by_status(url: str, tenant_id: str | None = None) -> Answer:
    """Outcomes by status and whether they are settled."""
    return await run_bound(url, COUNTS_BY_STATUS, tenant_id)


async def shared_action_ids(url: str) -> Answer:
    """Action ids in more than one conversation of a tenant: allowed, but seldom meant so.

    Reads the whole table: for a check now and then, not for a dashboard.
    """
    return await run_bound(url, _SHARED_ACTION_IDS)


async def run_bound(url: str, sql: str, *values: Any) -> Answer:
    """Runs one statement with its values bound, as the operator, who reads all tenants."""
    return await ask(url, "trueup_operator", None, sql, *values)


async def ask(url: str, role: str, tenant_id: str | None, sql: str, *values: Any) -> Answer:
    """What a role is answered, for a tenant where one is given; values are bound.

    Raises:
        PostgresProblem: Postgres is not there or refuses the statement.
    """
    async with _as(url, role, tenant_id) as connection:
        return await _asked(connection, sql, *values)


@asynccontextmanager
async def _as(url: str, role: str | None, tenant_id: str | None) -> AsyncIterator[Any]:
    with problems_told():
        connection = await connect(url)
        try:
            async with connection.transaction():
                if tenant_id is not None:
                    # In this transaction only: behind a pooler a session's setting would leak.
                    await connection.execute(
                        "SELECT set_config('app.current_tenant_id', $1, true)", tenant_id
                    )
                if role is not None:
                    quoted = role.replace('"', '""')
                    await connection.execute(f'SET LOCAL ROLE "{quoted}"')
                yield connection
        finally:
            await connection.close()


async def _asked(connection: Any, sql: str, *values: Any) -> Answer:
    statement = await connection.prepare(sql)
    rows = [tuple(row) for row in await statement.fetch(*values)]
    columns = tuple(attribute.name for attribute in statement.get_attributes())
    return Answer(columns, rows, statement.get_statusmsg())


async def sink_offsets(url: str) -> dict[tuple[str, int], int]:
    """Where the publisher stands in Postgres: the next offset by topic and partition."""
    answer = await run_bound(url, _SINK_OFFSETS)
    return {(topic, partition): offset for topic, partition, offset in answer.rows}

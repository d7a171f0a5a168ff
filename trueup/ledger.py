"""The audit over this installation's Kafka and Postgres: what `trueup audit` and the demo call."""

from typing import Any

from agents_topics.connection import Connection
from agents_topics.policy import Policy
from sinks.postgres.queries import run_sql
from trueup.audit import AuditReport, audit


async def audit_database(
    connection: Connection, policy: Policy, url: str, grace_ms: dict[str, int]
) -> AuditReport:
    """Recomputes everything from the topics and compares it with changelogs and Postgres."""

    async def fetch_rows(sql: str) -> list[dict[str, Any]]:
        answer = await run_sql(url, sql, as_role="trueup_operator")
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]

    return await audit(connection, policy, fetch_rows, grace_ms)

"""The audit over this installation's Kafka and Postgres: what `trueup audit` and the demo call."""

import asyncio
from typing import Any

from agents_topics.connection import Connection
from agents_topics.policy import Policy
from agents_topics.policy_file import parse_policy
from sinks.postgres.queries import run_sql
from trueup.audit import IDLE_AFTER_MS, AuditReport, audit

READINGS_MAX, PAUSE_S = 3, 1.0


async def audit_database(
    connection: Connection,
    policy: Policy,
    url: str,
    grace_ms: dict[str, int],
    idle_after_ms: int = IDLE_AFTER_MS,
) -> AuditReport:
    """Recomputes everything from the topics and compares it with changelogs and Postgres.

    Topics and rows are read one after the other while workers go on, so what has moved in between
    differs; a true difference is still there when all is read again.
    """

    async def fetch_rows(sql: str) -> list[dict[str, Any]]:
        answer = await run_sql(url, sql, as_role="trueup_operator")
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]

    for _ in range(READINGS_MAX - 1):
        report = await audit(connection, policy, fetch_rows, parse_policy, grace_ms, idle_after_ms)
        if report.is_exact:
            return report
        await asyncio.sleep(PAUSE_S)
    return await audit(connection, policy, fetch_rows, parse_policy, grace_ms, idle_after_ms)

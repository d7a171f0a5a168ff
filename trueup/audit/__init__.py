"""The audit: every outcome and bin recomputed from the raw topics, by code of its own.

It shares nothing with the product's core: it reads whole logs into lists and applies the rules of
docs/semantics.md the slow way. `audit_logs` below is the flow: put each record into one class,
holding the late ledger and the dead letters to what they claim; settle what was admitted; compare
outcomes, bins and labels with the topic `outcomes`, the changelogs and Postgres. Every difference
is named.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agents_topics.connection import Connection
from agents_topics.policy import Policy
from trueup.audit.admission import classify
from trueup.audit.bins import BIN_SQL, bins_of, bins_of_changelog, bins_of_rows, compare_bins
from trueup.audit.comparing import OUTCOME_SQL, compare_changelog, compare_rows, compare_topic
from trueup.audit.label_rates import (
    RATE_SQL,
    compare_rates,
    rates_of,
    rates_of_changelog,
    rates_of_rows,
)
from trueup.audit.progress import NEVER_MS, notes_of
from trueup.audit.reading import (
    ACTIONS,
    CALIBRATOR_CHANGELOG,
    OUTCOMES,
    RESOLVER_CHANGELOG,
    Logs,
    read_logs,
)
from trueup.audit.report import AuditReport, Difference
from trueup.audit.rules import Rules
from trueup.audit.settling import settle

__all__ = ["IDLE_AFTER_MS", "AuditReport", "Difference", "audit", "audit_logs"]

FetchRows = Callable[[str], Awaitable[list[dict[str, Any]]]]
IDLE_AFTER_MS = 10_000


async def audit(
    connection: Connection,
    policy: Policy,
    fetch_rows: FetchRows,
    grace_ms: Mapping[str, int],
    idle_after_ms: int = IDLE_AFTER_MS,
) -> AuditReport:
    """Recomputes from the topics and compares with `outcomes`, the changelogs and Postgres."""
    logs = await read_logs(connection)
    return await audit_logs(logs, policy, fetch_rows, grace_ms, idle_after_ms)


async def audit_logs(
    logs: Mapping[str, Logs],
    policy: Policy,
    fetch_rows: FetchRows,
    grace_ms: Mapping[str, int],
    idle_after_ms: int,
) -> AuditReport:
    """As `audit`, from logs that are read."""
    report = AuditReport()
    rules = Rules(policy, grace_ms, idle_after_ms, partition_count=len(logs[ACTIONS]))

    notes = notes_of(logs[RESOLVER_CHANGELOG])
    admitted = classify(logs, notes, rules, report)

    as_of = {task: own[-1].settled_ms(grace_ms) for task, own in notes.items() if own}
    settled, open_names = settle(admitted, policy, as_of)
    report.outcomes = dict(Counter(outcome["status"] for outcome in settled.values()))
    report.open = len(open_names)
    compare_topic(logs[OUTCOMES], settled, report)
    compare_changelog(logs[RESOLVER_CHANGELOG], open_names, report)
    compare_rows(await fetch_rows(OUTCOME_SQL), settled, report)

    promised = [
        min(own[-1].promises.values())
        for own in notes_of(logs[CALIBRATOR_CHANGELOG]).values()
        if own
    ]
    entered_ms = min(promised, default=NEVER_MS)
    entered = [o for o in settled.values() if o["settled_at"] <= entered_ms]
    bins, rates = bins_of(entered), rates_of(entered)
    compare_bins(bins_of_rows(await fetch_rows(BIN_SQL)), bins, "Postgres", report)
    compare_bins(bins_of_changelog(logs[CALIBRATOR_CHANGELOG]), bins, "changelog", report)
    compare_rates(rates_of_rows(await fetch_rows(RATE_SQL)), rates, "Postgres", report)
    compare_rates(rates_of_changelog(logs[CALIBRATOR_CHANGELOG]), rates, "changelog", report)
    return report

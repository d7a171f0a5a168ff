"""The audit: every outcome, bin and day recomputed from the raw topics, by code of its own.

It shares nothing with the product's core: it reads whole logs into lists and applies the rules of
docs/semantics.md the slow way. `audit_logs` below is the flow: put each record into one class,
holding the late ledger and the dead letters to what they claim; settle what was admitted; compare
outcomes, bins, days and labels with the topic `outcomes`, the changelogs and Postgres. Every
difference is named.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from agents_topics.connection import Connection
from agents_topics.policy import Policy
from trueup.audit.admission import classify
from trueup.audit.bins import BIN_SQL, bins_of, bins_of_changelog, bins_of_rows, compare_bins
from trueup.audit.comparing import (
    OUTCOME_SQL,
    compare_changelog,
    compare_rows,
    compare_topic,
    outcomes_of_rows,
)
from trueup.audit.days import BEGUN_SQL, DAY_SQL, compare_days
from trueup.audit.forgetting import living, read_lives
from trueup.audit.label_rates import (
    RATE_SQL,
    compare_rates,
    rates_of,
    rates_of_changelog,
    rates_of_rows,
)
from trueup.audit.progress import NEVER_MS, notes_of
from trueup.audit.promotions import (
    CORRECTION_SQL,
    PROMOTED_SQL,
    Outcomes,
    after_promotions,
    promotions_of,
)
from trueup.audit.reading import (
    ACTIONS,
    CALIBRATOR_CHANGELOG,
    FORGOTTEN,
    OUTCOMES,
    RESOLVER_CHANGELOG,
    Logs,
    read_logs,
)
from trueup.audit.report import AuditReport, Difference
from trueup.audit.rules import Rules
from trueup.audit.settling import Name, settle
from trueup.audit.telling import Told, told_in

__all__ = ["IDLE_AFTER_MS", "AuditReport", "Difference", "audit", "audit_logs"]

FetchRows = Callable[[str], Awaitable[list[dict[str, Any]]]]
ReadPolicy = Callable[[str], Policy]
"""Of a policy file's text, as a shadow keeps it."""
IDLE_AFTER_MS = 10_000
_EVERY_SQL = (
    OUTCOME_SQL,
    PROMOTED_SQL,
    CORRECTION_SQL,
    BIN_SQL,
    BEGUN_SQL,
    DAY_SQL,
    RATE_SQL,
)


async def audit(
    connection: Connection,
    policy: Policy,
    fetch_rows: FetchRows,
    read_policy: ReadPolicy,
    grace_ms: Mapping[str, int],
    idle_after_ms: int = IDLE_AFTER_MS,
) -> AuditReport:
    """Recomputes from the topics and compares with `outcomes`, the changelogs and Postgres."""
    logs = await read_logs(connection)
    # Before anything is judged, which may take minutes: workers go on meanwhile.
    rows = {sql: await fetch_rows(sql) for sql in _EVERY_SQL}
    return audit_logs(logs, policy, rows, read_policy, grace_ms, idle_after_ms)


def audit_logs(
    logs: Mapping[str, Logs],
    policy: Policy,
    rows: Mapping[str, list[dict[str, Any]]],
    read_policy: ReadPolicy,
    grace_ms: Mapping[str, int],
    idle_after_ms: int,
) -> AuditReport:
    """As `audit`, from logs that are read and rows by the SQL that fetches them."""
    report = AuditReport()
    rules = Rules(policy, grace_ms, idle_after_ms, partition_count=len(logs[ACTIONS]))

    notes = notes_of(logs[RESOLVER_CHANGELOG])
    lives = read_lives(logs[FORGOTTEN], report)
    admitted = classify(logs, notes, lives, rules, report)

    as_of = {task: own[-1].settled_ms(grace_ms) for task, own in notes.items() if own}
    every, names = settle(admitted, policy, as_of)
    settled, open_names = living(every, names)
    report.outcomes = dict(Counter(outcome["status"] for outcome in settled.values()))
    report.open = len(open_names)
    compare_topic(logs[OUTCOMES], settled, lives, report)
    compare_changelog(logs[RESOLVER_CHANGELOG], open_names, report)

    def settle_again(other: Policy, until_ms: int) -> tuple[Outcomes, set[Name]]:
        replayed = replace(rules, policy=other, is_replayed=True)
        again = classify(logs, notes, lives, replayed, AuditReport())
        return settle(again, other, dict.fromkeys(again, until_ms))

    found = outcomes_of_rows(rows[OUTCOME_SQL])
    lineages = {name: row["lineage"] for name, row in found.items()}
    promotions = promotions_of(rows[PROMOTED_SQL], read_policy)
    told = told_in(logs[OUTCOMES], lives) if promotions else Told()
    expected = after_promotions((every, names), promotions, lineages, told, settle_again)
    compare_rows(found, expected, report)
    if not expected.unheld:
        corrections = bins_of_rows(rows[CORRECTION_SQL])
        compare_bins(corrections, expected.corrections(), "Postgres' promotions", report)

    promised = [
        min(own[-1].promises.values())
        for own in notes_of(logs[CALIBRATOR_CHANGELOG]).values()
        if own
    ]
    entered_ms = min(promised, default=NEVER_MS)
    counted = [*settled.values(), *lives.counted(every)]
    entered = [o for o in counted if o["settled_at"] <= entered_ms]
    bins, rates = bins_of(entered), rates_of(entered)
    compare_bins(bins_of_rows(rows[BIN_SQL]), bins, "Postgres", report)
    compare_bins(bins_of_changelog(logs[CALIBRATOR_CHANGELOG]), bins, "changelog", report)
    compare_days(rows[DAY_SQL], rows[BEGUN_SQL], entered, report)
    compare_rates(rates_of_rows(rows[RATE_SQL]), rates, "Postgres", report)
    compare_rates(rates_of_changelog(logs[CALIBRATOR_CHANGELOG]), rates, "changelog", report)
    return report

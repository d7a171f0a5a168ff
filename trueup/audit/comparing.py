"""Recomputed outcomes against the topic `outcomes`, the open ones of the changelog, and Postgres.

Of the resolver's changelog the rows `a/` are read: key, action_id and, of each outcome, its type
and whether it is settled.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from trueup.audit.forgetting import Entry, Lives
from trueup.audit.promotions import Expected
from trueup.audit.reading import OUTCOMES, Log, Logs, last_rows
from trueup.audit.report import AuditReport
from trueup.audit.settling import Name

OUTCOME_SQL = """
    SELECT id::text, tenant_id::text, conversation_id, action_id, outcome_type, outcome_status,
           outcome_score, signal_source, decided_by, is_lead, policy_version, confidence_label,
           created_at, window_expires_at, settled_at, resolved_at, lineage
    FROM tenant.outcome_records WHERE is_settled
"""
_FIELDS = ("status", "score", "signal_source", "decided_by", "is_lead", "policy_version",
           "confidence_label", "created_at", "window_expires_at", "settled_at",
           "resolved_at")  # fmt: skip


def _compare(
    found: Mapping[Name, Mapping[str, Any]],
    settled: Mapping[Name, Mapping[str, Any]],
    where: str,
    report: AuditReport,
) -> None:
    for name, expected in settled.items():
        what = f"action {name[1]} ({name[2]}) of {name[0]}"
        row = found.get(name)
        if row is None:
            report.differ(what, where, f"settled as {expected['status']}", "nothing")
            continue
        for fact in _FIELDS:
            if row[fact] != expected[fact]:
                report.differ(f"{what}, {fact}", where, expected[fact], row[fact])
    for name in found.keys() - settled.keys():
        report.differ(f"action {name[1]} ({name[2]}) of {name[0]}", where, "open", "settled")


def compare_topic(
    log: Logs, settled: Mapping[Name, Any], lives: Lives, report: AuditReport
) -> None:
    """The topic has each settled outcome once, and no other, but before what tells readers that it
    is forgotten; and that is told each time.
    """
    found: dict[Name, dict[str, Any]] = {}
    for partition, own in log.items():
        found |= _shown(own, lives.of_partition(partition), report)
    _compare(found, settled, "the topic outcomes", report)


def _shown(log: Log, entries: Sequence[Entry], report: AuditReport) -> dict[Name, dict[str, Any]]:
    """The settled outcomes of a partition that nothing after them has forgotten."""
    found: dict[Name, dict[str, Any]] = {}
    left = list(entries)
    for record in log.records:
        event = json.loads(record.value)
        if "forget_id" in event:
            entry = left.pop(0) if left else None
            if entry is None or entry.forget.id != event["forget_id"]:
                report.differ(f"forgetting {event['forget_id']}", OUTCOMES, entry, "it")
            else:
                found = {name: row for name, row in found.items() if not entry.means(name[0])}
            continue
        if not event["is_settled"]:
            continue
        key = f"{event['tenant_id']}/{event['conversation_id']}"
        name = (key, event["action_id"], event["outcome_type"])
        if name in found:
            report.differ(f"action {name[1]} of {key}", "outcomes", "settled once", "twice")
        found[name] = {fact: event.get(fact, event.get(f"{fact}_ms")) for fact in _FIELDS}
    for entry in left:
        report.differ(f"forgetting {entry.forget.id}", OUTCOMES, "told to readers", "nothing")
    return found


def outcomes_of_rows(rows: list[dict[str, Any]]) -> dict[Name, dict[str, Any]]:
    """The settled outcomes in Postgres."""
    found = {}
    for row in rows:
        name = (
            f"{row['tenant_id']}/{row['conversation_id']}",
            row["action_id"],
            row["outcome_type"],
        )
        row["status"], row["score"] = row["outcome_status"], row["outcome_score"]
        for fact in _FIELDS[-4:]:
            row[fact] = _ms(row[fact])
        found[name] = row
    return found


def compare_rows(
    found: Mapping[Name, Mapping[str, Any]], expected: Expected, report: AuditReport
) -> None:
    """Postgres has each settled outcome, promoted or not, and no other."""
    report.unheld = dict(Counter(expected.unheld.values()))
    held = {name: row for name, row in found.items() if name not in expected.unheld}
    settled = {n: one for n, one in expected.settled.items() if n not in expected.unheld}
    _compare(held, settled, "Postgres", report)


def _ms(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


def compare_changelog(log: Logs, open_names: set[Name], report: AuditReport) -> None:
    """The state holds open what is open, and nothing else."""
    held = {
        (row[0], row[1], outcome_type)
        for row in last_rows(log, b"a/")
        for outcome_type, _, is_settled, _ in row[-1]
        if not is_settled
    }
    for name in held ^ open_names:
        expected, found = ("open", "nothing") if name in open_names else ("settled", "open")
        report.differ(f"action {name[1]} ({name[2]}) of {name[0]}", "changelog", expected, found)

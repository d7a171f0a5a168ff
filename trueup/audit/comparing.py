"""Recomputed outcomes against the topic `outcomes`, the open ones of the changelog, and Postgres.

Of the resolver's changelog the rows `a/` are read: key, action_id and, of each outcome, its type
and whether it is settled.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from trueup.audit.reading import Logs, all_records, last_rows
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


def compare_topic(log: Logs, settled: Mapping[Name, Any], report: AuditReport) -> None:
    """The topic has each settled outcome once, and no other."""
    found: dict[Name, dict[str, Any]] = {}
    for record in all_records(log):
        event = json.loads(record.value)
        if not event["is_settled"]:
            continue
        key = f"{event['tenant_id']}/{event['conversation_id']}"
        name = (key, event["action_id"], event["outcome_type"])
        if name in found:
            report.differ(f"action {name[1]} of {key}", "outcomes", "settled once", "twice")
        found[name] = {fact: event.get(fact, event.get(f"{fact}_ms")) for fact in _FIELDS}
    _compare(found, settled, "the topic outcomes", report)


def compare_rows(
    rows: list[dict[str, Any]], settled: Mapping[Name, Any], report: AuditReport
) -> None:
    """Postgres has each settled outcome, and no other; what was promoted is another policy's."""
    found = {}
    promoted = set()
    for row in rows:
        name = (
            f"{row['tenant_id']}/{row['conversation_id']}",
            row["action_id"],
            row["outcome_type"],
        )
        row["status"], row["score"] = row["outcome_status"], row["outcome_score"]
        for fact in _FIELDS[-4:]:
            row[fact] = _ms(row[fact])
        if row["lineage"]:
            promoted.add(name)
        else:
            found[name] = row
    expected = {name: outcome for name, outcome in settled.items() if name not in promoted}
    _compare(found, expected, "Postgres", report)


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

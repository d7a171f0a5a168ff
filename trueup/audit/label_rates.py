"""Labels: how often each came true, recomputed, and read from where the counts are kept."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from trueup.audit.reading import Logs, last_rows
from trueup.audit.report import AuditReport

_COLUMNS = ("n", "positive_count", "negative_count", "ambiguous_count", "expired_count")
RATE_SQL = f"""
    SELECT *, CASE WHEN is_corrected THEN positive_count::float8 / nullif(n, 0)
                   ELSE stored_rate END AS actual_rate
    FROM (
        SELECT tenant_id::text, action_type, outcome_type, window_ms, confidence_source,
               confidence_label, record_set, r.actual_rate AS stored_rate,
               c.n IS NOT NULL AS is_corrected,
               {", ".join(f"r.{name} - coalesce(c.{name}, 0) AS {name}" for name in _COLUMNS)}
        FROM tenant.calibration_label_rates AS r
        LEFT JOIN tenant.calibration_label_corrections AS c
        USING (tenant_id, action_type, outcome_type, window_ms, confidence_source,
               confidence_label, record_set)) AS counted
"""
"""Without what promotions have added: the topics know nothing of it."""
_STREAM = ("tenant_id", "action_type", "outcome_type", "window_ms", "confidence_source")
_COUNTED = ("n", "positive", "negative", "ambiguous", "expired")

Rates = Mapping[Any, Mapping[str, int]]
"""Counts by (stream, label, set)."""


def rates_of(outcomes: Iterable[dict[str, Any]]) -> Rates:
    """Those of calibrating outcomes whose actions stated a label alone."""
    rates: dict[Any, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        if not outcome["calibrates"] or outcome["confidence"] is not None:
            continue
        status = outcome["status"]
        says = status in ("positive", "negative")
        says |= status == "expired" and outcome["expired_counts"]
        for record_set in ("all", "lead") if outcome["is_lead"] else ("all",):
            counts = rates[outcome["stream"], outcome["confidence_label"], record_set]
            counts.update({status: 1, "n": int(says)})
    return rates


def rates_of_rows(rows: list[dict[str, Any]]) -> Rates:
    """The counts in Postgres; a rate that is not that of its counts is `wrong_rate`."""
    rates = {}
    for row in rows:
        counts = {"n": row["n"], **{name: row[f"{name}_count"] for name in _COUNTED[1:]}}
        rate = counts["positive"] / counts["n"] if counts["n"] else None
        if row["actual_rate"] != rate:
            counts["wrong_rate"] = row["actual_rate"]
        stream = tuple(row[name] for name in _STREAM)
        rates[stream, row["confidence_label"], row["record_set"]] = counts
    return rates


def rates_of_changelog(log: Logs) -> Rates:
    """The counts in the calibrator's changelog."""
    return {
        (tuple(row[name] for name in _STREAM), row["confidence_label"], record_set): row[record_set]
        for row in last_rows(log, b"r/")
        for record_set in ("all", "lead")
    }


def compare_rates(found: Rates, expected: Rates, where: str, report: AuditReport) -> None:
    """Each count of each label is the recomputed one."""
    for key in found.keys() | expected.keys():
        left, right = (_without_zeros(rates.get(key, {})) for rates in (expected, found))
        if left != right:
            stream, label, record_set = key
            what = f"label {label} ({record_set}) of {'/'.join(map(str, stream))}"
            report.differ(what, where, left, right)


def _without_zeros(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}

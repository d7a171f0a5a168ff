"""Calibration bins: sums over settled outcomes, recomputed, and read from where they are kept."""

from collections.abc import Iterable, Mapping
from typing import Any

from trueup.audit.reading import Logs, last_rows
from trueup.audit.report import AuditReport

SUMS = ("n", "sp", "spp", "sy", "spy", "excluded_n", "excluded_sp", "excluded_spp")
BIN_SQL = f"""
    SELECT tenant_id::text, action_type, outcome_type, window_ms, confidence_source, bin_index,
           record_set, {", ".join(f"(b.{s} - coalesce(c.{s}, 0))::text AS {s}" for s in SUMS)}
    FROM tenant.calibration_stream_bins AS b LEFT JOIN tenant.calibration_corrections AS c
    USING (tenant_id, action_type, outcome_type, window_ms, confidence_source, bin_index,
           record_set, curve)
"""
"""Without what promotions have added: the topics know nothing of it."""


def bins_of(outcomes: Iterable[dict[str, Any]]) -> dict[Any, list[int]]:
    """Sums by (stream, bin, set) in millionths."""
    bins: dict[Any, list[int]] = {}
    for outcome in outcomes:
        if not outcome["calibrates"] or outcome["confidence"] is None:
            continue
        p = int(outcome["confidence"] * 1_000_000 + 0.5)
        y = {"positive": 1, "negative": 0}.get(outcome["status"])
        if outcome["status"] == "expired" and outcome["expired_counts"]:
            y = 0
        row = [0, 0, 0, 0, 0, 1, p, p * p] if y is None else [1, p, p * p, y, p * y, 0, 0, 0]
        for record_set in ("all", "lead") if outcome["is_lead"] else ("all",):
            key = (outcome["stream"], min(p // 100_000, 9), record_set)
            bins[key] = [a + b for a, b in zip(bins.get(key, [0] * 8), row, strict=True)]
    return bins


def bins_of_rows(rows: list[dict[str, Any]]) -> dict[Any, list[int]]:
    """The sums in Postgres."""
    return {
        (
            (row["tenant_id"], row["action_type"], row["outcome_type"], row["window_ms"],
             row["confidence_source"]),
            row["bin_index"],
            row["record_set"],
        ): [int(row[name]) for name in SUMS]
        for row in rows
    }  # fmt: skip


def bins_of_changelog(log: Logs) -> dict[Any, list[int]]:
    """The sums in the calibrator's changelog."""
    return {
        (tuple(row[0]), row[1], record_set): list(map(int, sums))
        for row in last_rows(log, b"b/")
        for record_set, sums in (("all", row[2]), ("lead", row[3]))
    }


def compare_bins(
    found: Mapping[Any, list[int]],
    expected: Mapping[Any, list[int]],
    where: str,
    report: AuditReport,
) -> None:
    """Each sum of each bin is the recomputed one."""
    for key in found.keys() | expected.keys():
        left, right = expected.get(key, [0] * 8), found.get(key, [0] * 8)
        if left != right:
            stream, index, record_set = key
            what = f"bin {index} ({record_set}) of {'/'.join(map(str, stream))}"
            report.differ(
                what,
                where,
                dict(zip(SUMS, left, strict=True)),
                dict(zip(SUMS, right, strict=True)),
            )

"""Day rows in Postgres: of the days that are kept each, and of those before their sums.

Streams whose bins an earlier release has begun have days of what came since alone: they are left
out.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from trueup.audit.bins import SUMS, bins_of
from trueup.audit.report import AuditReport

_STREAM = ("tenant_id", "action_type", "outcome_type", "window_ms", "confidence_source")
_KEY = f"""
    tenant_id::text, {", ".join(_STREAM[1:])}, bin_index, record_set,
    action_day - date '1970-01-01' AS action_day, known_day - date '1970-01-01' AS known_day"""
DAY_SQL = f"""
    SELECT {_KEY}, holds_earlier, {", ".join(f"{s}::text" for s in SUMS)}
    FROM tenant.calibration_days
    UNION ALL SELECT {_KEY}, false, {", ".join(f"(-{s})::text" for s in SUMS)}
    FROM tenant.calibration_day_corrections
"""
"""With what promotions have added, to be taken off: the topics know nothing of it."""
BEGUN_SQL = f"""
    SELECT DISTINCT tenant_id::text, {", ".join(_STREAM[1:])} FROM tenant.calibration_stream_bins
    WHERE record_set = 'all' AND residuals = '{{}}'
"""

_DAY_MS = 86_400_000
Key = tuple[Any, int, str, int | None, int | None]
"""Stream, bin, set, day of the actions and of the settle times; a sum of earlier days has none."""


def compare_days(
    rows: Iterable[Mapping[str, Any]],
    begun: Iterable[Mapping[str, Any]],
    outcomes: Iterable[Mapping[str, Any]],
    report: AuditReport,
) -> None:
    """Each sum of each day is the recomputed one, and so is that of the days that are not kept."""
    told = list(rows)
    left_out = {_stream_of(row) for row in begun}
    summed_up_to: dict[Any, int] = {}
    for row in told:
        if row["holds_earlier"]:
            stream = _stream_of(row)
            summed_up_to[stream] = max(row["known_day"], summed_up_to.get(stream, row["known_day"]))

    def key_of(stream: Any, index: int, record_set: str, done: int, known: int) -> Key:
        if known <= summed_up_to.get(stream, known - 1):
            return (stream, index, record_set, None, None)
        return (stream, index, record_set, done, known)

    expected, found = defaultdict[Key, list[int]](_none), defaultdict[Key, list[int]](_none)
    for (done, known), some in _by_days(outcomes).items():
        for (stream, index, record_set), sums in bins_of(some).items():
            _add(expected[key_of(stream, index, record_set, done, known)], sums)
    for row in told:
        days = (row["action_day"], row["known_day"])
        key = key_of(_stream_of(row), row["bin_index"], row["record_set"], *days)
        _add(found[key], [int(row[name]) for name in SUMS])
    for key in expected.keys() | found.keys():
        stream, index, record_set, acted, settled = key
        left, right = expected[key], found[key]
        if left != right and stream not in left_out:
            day = "days that are not kept" if acted is None else f"days {acted} and {settled}"
            what = f"bin {index} ({record_set}), {day}, of {'/'.join(map(str, stream))}"
            told_as = (dict(zip(SUMS, sums, strict=True)) for sums in (left, right))
            report.differ(what, "Postgres", *told_as)


def _by_days(outcomes: Iterable[Mapping[str, Any]]) -> dict[tuple[int, int], list[Any]]:
    found = defaultdict[tuple[int, int], list[Any]](list)
    for outcome in outcomes:
        days = outcome["created_at"] // _DAY_MS, outcome["settled_at"] // _DAY_MS
        found[days].append(outcome)
    return found


def _stream_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _STREAM)


def _none() -> list[int]:
    return [0] * len(SUMS)


def _add(held: list[int], sums: list[int]) -> None:
    held[:] = [a + b for a, b in zip(held, sums, strict=True)]

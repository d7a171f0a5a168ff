"""How a shadow differs from the live rows, outcome by outcome and bin by bin, and why.

Compared is what both have settled by the shadow's `as_of`, among what it covers. The server groups
the outcomes that differ by all that bears on why; `shadow_reasons` tells it.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from sinks.postgres.queries import run_bound
from sinks.postgres.recounting import MILLIONTHS, bin_index_sql, sums_sql
from sinks.postgres.shadow_reasons import Decided, Pair, Side, rules_of, told_of
from sinks.postgres.shadow_streams import ComparedStream, compared_streams
from sinks.postgres.shadows import PROMOTED, READY, Shadow, shadow_named
from sinks.postgres.sum_rows import STREAM_BIN_KEYS, SUM_COLUMNS

EXAMPLES_MAX = 3

COVERED = """\
($2::uuid[] IS NULL OR tenant_id = ANY($2)) AND ($3::timestamptz IS NULL OR created_at >= $3)
  AND ($4::timestamptz IS NULL OR created_at < $4)"""
"""Which live rows a shadow speaks of. $1: its name; its tenants, since, until; $5: its as-of."""
LIVE = f"(SELECT * FROM tenant.outcome_records WHERE {COVERED} AND is_settled AND settled_at <= $5)"
SHADOW = (
    "(SELECT * FROM tenant.shadow_outcome_records"
    " WHERE shadow = $1 AND is_settled AND settled_at <= $5)"
)
_RESULT = "outcome_status, outcome_score, signal_source, decided_by, resolved_at"
_EVERY = (
    f"{_RESULT}, settled_at, window_expires_at, calibrates, expired_counts, confidence_source,"
    " is_lead"
)
# What a row says of why it is as it is, in the order of a `Side`.
_FACTS = (
    "{own}.policy_version",
    "{own}_in",
    "{own}.outcome_status",
    "{own}.signal_source",
    "coalesce({own}.decided_by IS NOT NULL AND {own}.resolved_at < {other}.window_expires_at AND"
    " ({other}.decided_by IS NULL OR {own}.resolved_at < {other}.resolved_at"
    " OR ({own}.resolved_at = {other}.resolved_at"
    " AND {own}.outcome_status <> {other}.outcome_status)), false)",
    "(extract(epoch FROM {own}.window_expires_at - {own}.created_at) * 1000)::bigint",
    "(extract(epoch FROM {own}.settled_at - {own}.created_at) * 1000)::bigint",
    "{own}.confidence_source",
    "{own}.calibrates",
    "{own}.expired_counts",
    "{own}.is_lead",
    bin_index_sql(MILLIONTHS.replace("predicted_confidence", "{own}.predicted_confidence")),
)


def _of(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{name.strip()}" for name in columns.split(","))


def _facts(own: str, other: str) -> str:
    return ", ".join(fact.format(own=own, other=other) for fact in _FACTS)


def _said(own: str) -> str:
    """Status and deciding event, `-` where it has none or its row is not compared."""
    columns = (f"{own}.outcome_status", f"{own}.decided_by")
    return ", ".join(f"coalesce(CASE WHEN {own}_in THEN {one} END, '-')" for one in columns)


_NAMES = ("id", "tenant_id", "action_id", "action_type", "outcome_type")
_KEY_COUNT = 4 + 2 * len(_FACTS)
_GROUPS = f"""\
SELECT pair.tenant_id::text, pair.action_type, pair.outcome_type,
  NOT (live_in AND shadow_in)
    OR ({_of("live", _RESULT)}) IS DISTINCT FROM ({_of("shadow", _RESULT)}),
  {_facts("live", "shadow")}, {_facts("shadow", "live")}, count(*),
  (array_agg(ARRAY[pair.action_id, pair.outcome_type, {_said("live")}, {_said("shadow")}]
    ORDER BY pair.action_id, pair.id))[1:{EXAMPLES_MAX}]
FROM (SELECT id FROM {LIVE} AS live UNION SELECT id FROM {SHADOW} AS shadow) AS either
LEFT JOIN tenant.outcome_records AS live ON live.id = either.id
LEFT JOIN tenant.shadow_outcome_records AS shadow
  ON shadow.shadow = $1 AND shadow.id = either.id
CROSS JOIN LATERAL (SELECT
  {", ".join(f"coalesce(live.{name}, shadow.{name}) AS {name}" for name in _NAMES)},
  coalesce(live.is_settled AND live.settled_at <= $5, false) AS live_in,
  coalesce(shadow.is_settled AND shadow.settled_at <= $5, false) AS shadow_in) AS pair
WHERE NOT (live_in AND shadow_in)
  OR ({_of("live", _EVERY)}) IS DISTINCT FROM ({_of("shadow", _EVERY)})
GROUP BY {", ".join(str(number) for number in range(1, _KEY_COUNT + 1))}"""
_COUNTS = f"""\
SELECT (SELECT count(*) FROM {LIVE} AS live), (SELECT count(*) FROM {SHADOW} AS shadow)"""
_BIN_KEYS = ", ".join(STREAM_BIN_KEYS)
_SHOWN = ("n", "sy", "sp", "excluded_n")
_BINS = f"""\
SELECT tenant_id::text, action_type, outcome_type, window_ms, confidence_source, bin_index,
  {", ".join(f"coalesce(live.{c}, 0)::text, coalesce(shadow.{c}, 0)::text" for c in _SHOWN)}
FROM ({sums_sql(LIVE)}) AS live FULL JOIN ({sums_sql(SHADOW)}) AS shadow USING ({_BIN_KEYS})
WHERE record_set = 'all' AND ({_of("live", ",".join(SUM_COLUMNS))})
  IS DISTINCT FROM ({_of("shadow", ",".join(SUM_COLUMNS))})
ORDER BY 1, 2, 3, 4, 5, 6"""


@dataclass(frozen=True, slots=True)
class Example:
    """An outcome that differs: status and deciding event in live and in the shadow."""

    action_id: str
    outcome_type: str
    live_status: str
    live_decided_by: str
    shadow_status: str
    shadow_decided_by: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why outcomes of a rule differ, and what decided them in live and in the shadow; how many they
    are, how many of these differ in their result, and some of them.
    """

    reason: str
    action_type: str
    outcome_type: str
    live: Decided
    shadow: Decided
    count: int
    other_results: int
    examples: list[Example]


@dataclass(frozen=True, slots=True)
class DifferentBin:
    """A bin of all settled outcomes whose sums differ; `sums` are by name (live, shadow), `reasons`
    how many outcomes enter it in one of the two alone, or with another status.
    """

    stream: tuple[str, str, str, int, str]
    bin_index: int
    sums: dict[str, tuple[int, int]]
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A shadow against the live rows."""

    shadow: Shadow
    live_count: int
    shadow_count: int
    reasons: list[Reason]
    bins: list[DifferentBin]
    streams: list[ComparedStream]


def coverage(shadow: Shadow) -> tuple[Any, ...]:
    """The values that `COVERED`, `LIVE` and `SHADOW` ask for; times are milliseconds."""
    about = shadow.about
    return shadow.name, about["tenants"], about["since_ms"], about["until_ms"], shadow.as_of_ms


def _at(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


async def compare_shadow(url: str, name: str) -> Comparison:
    """What differs between a shadow and the live rows, and why.

    Raises:
        ShadowProblem: there is no such shadow, or it is not ready.
        PostgresProblem: Postgres is not there or refuses.
    """
    shadow = await shadow_named(url, name, READY, PROMOTED)
    name, tenants, *times = coverage(shadow)
    values = (name, tenants, *map(_at, times))
    rules = rules_of(shadow.about)
    groups = [
        _Group(pair, *told_of(pair, rules), count, [Example(*one) for one in some])
        for pair, count, some in map(_pair_of, (await run_bound(url, _GROUPS, *values)).rows)
    ]
    live_count, shadow_count = (await run_bound(url, _COUNTS, *values)).rows[0]
    moved = _reasons_by_bin(groups)
    return Comparison(
        shadow,
        live_count,
        shadow_count,
        _reasons(groups),
        [_bin_of(row, moved) for row in (await run_bound(url, _BINS, *values)).rows],
        await compared_streams(url, shadow),
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Outcomes that differ for one reason and enter the same bins, with some of them."""

    pair: Pair
    reason: str
    live: Decided
    shadow: Decided
    count: int
    examples: list[Example]


def _pair_of(row: Sequence[Any]) -> tuple[Pair, int, list[list[str]]]:
    *key, count, examples = row
    live, shadow = key[4 : 4 + len(_FACTS)], key[4 + len(_FACTS) :]
    sides = [None if facts[0] is None else Side(*facts) for facts in (live, shadow)]
    return Pair(*key[:4], *sides), count, examples


def _reasons(groups: Iterable[_Group]) -> list[Reason]:
    """The groups that are told alike as one, the most frequent first."""
    alike: dict[tuple[str, str, str, Decided, Decided], list[_Group]] = defaultdict(list)
    for one in groups:
        of = one.reason, one.pair.action_type, one.pair.outcome_type, one.live, one.shadow
        alike[of].append(one)
    found = [
        Reason(
            *of,
            sum(one.count for one in held),
            sum(one.count for one in held if one.pair.is_other_result),
            heapq.nsmallest(
                EXAMPLES_MAX,
                chain.from_iterable(one.examples for one in held),
                key=lambda example: example.action_id,
            ),
        )
        for of, held in alike.items()
    ]
    return sorted(found, key=lambda one: (-one.count, one.reason, one.live.said, one.shadow.said))


_Bin = tuple[tuple[str, str, str, int, str], int]


def _reasons_by_bin(groups: Iterable[_Group]) -> dict[_Bin, Counter[str]]:
    """By bin why outcomes enter it in one of the two alone, or with another status."""
    found: dict[_Bin, Counter[str]] = defaultdict(Counter)
    for one in groups:
        live, shadow = (_entry(one.pair, side) for side in (one.pair.live, one.pair.shadow))
        if live != shadow:
            for place in {entry[0] for entry in (live, shadow) if entry}:
                found[place][one.reason] += one.count
    return found


def _entry(pair: Pair, side: Side | None) -> tuple[_Bin, str, bool] | None:
    """The bin that an outcome enters, and as what; None where it enters none."""
    if side is None or side.bin_index is None or not (side.is_settled and side.calibrates):
        return None
    of = pair.tenant_id, pair.action_type, pair.outcome_type
    place = (*of, side.window_ms, side.confidence_source), side.bin_index
    return place, side.status, side.expired_counts and side.status == "expired"


def _bin_of(row: Sequence[Any], moved: Mapping[_Bin, Counter[str]]) -> DifferentBin:
    *stream, index = row[:6]
    pairs = [(int(a), int(b)) for a, b in zip(row[6::2], row[7::2], strict=True)]
    tenant_id, action_type, outcome_type, window_ms, source = stream
    place = (tenant_id, action_type, outcome_type, window_ms, source), index
    reasons = dict(moved.get(place, Counter()).most_common())
    return DifferentBin(*place, dict(zip(_SHOWN, pairs, strict=True)), reasons)

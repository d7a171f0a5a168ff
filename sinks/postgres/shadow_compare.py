"""How a shadow differs from the live rows, outcome by outcome and bin by bin, and why.

Compared is what both have settled by the shadow's `as_of`, among what it covers. The reason is told
from the two rows alone, the most telling first: an action that only one has; another end of the
window or of the label window; another rule of another policy version; or, under the same rules,
another set of admitted interactions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sinks.postgres.queries import run_bound
from sinks.postgres.recounting import sums_sql
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
_ALSO = "settled_at, window_expires_at, calibrates, expired_counts, confidence_source, is_lead"
_PAIRED = f"""\
SELECT coalesce(live.id, shadow.id) AS id, coalesce(live.action_id, shadow.action_id) AS action_id,
  coalesce(live.outcome_type, shadow.outcome_type) AS outcome_type,
  live.outcome_status AS live_status, shadow.outcome_status AS shadow_status,
  live.decided_by AS live_by, shadow.decided_by AS shadow_by,
  CASE
    WHEN live.id IS NULL AND other_live.id IS NOT NULL THEN 'window: still open in live'
    WHEN live.id IS NULL THEN 'admission: the action is not among the live ones'
    WHEN shadow.id IS NULL AND other.id IS NOT NULL THEN 'window: still open in the shadow'
    WHEN shadow.id IS NULL THEN 'admission: the action is not in the shadow'
    WHEN live.window_expires_at <> shadow.window_expires_at
      THEN 'window: ' || {{live_window}} || ' h in live, '
        || {{shadow_window}} || ' h in the shadow'
    WHEN live.settled_at <> shadow.settled_at THEN 'label window: another settle time'
    WHEN ({{live}}) IS DISTINCT FROM ({{shadow}}) AND live.policy_version <> shadow.policy_version
      THEN 'signals: another rule of the policy'
    WHEN ({{live}}) IS DISTINCT FROM ({{shadow}}) THEN 'admission: other interactions were admitted'
    WHEN live.confidence_source <> shadow.confidence_source THEN 'confidence source: another rule'
    WHEN (live.calibrates, live.expired_counts) <> (shadow.calibrates, shadow.expired_counts)
      THEN 'calibration: another rule of what calibrates, or what expired means'
    ELSE 'lead: another outcome leads the conversation'
  END AS reason,
  ({{live}}) IS DISTINCT FROM ({{shadow}}) AS is_other_result
FROM {LIVE} AS live FULL JOIN {SHADOW} AS shadow USING (id)
LEFT JOIN tenant.shadow_outcome_records AS other ON other.shadow = $1 AND other.id = live.id
LEFT JOIN tenant.outcome_records AS other_live ON other_live.id = shadow.id
WHERE ({{live_all}}) IS DISTINCT FROM ({{shadow_all}})"""


def _of(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{name.strip()}" for name in columns.split(","))


def _hours(table: str) -> str:
    span = f"extract(epoch FROM {table}.window_expires_at - {table}.created_at) / 3600"
    return f"trim_scale(({span})::numeric)::text"


_DIFFERENT = _PAIRED.format(
    live=_of("live", _RESULT),
    shadow=_of("shadow", _RESULT),
    live_all=_of("live", f"id, {_RESULT}, {_ALSO}"),
    shadow_all=_of("shadow", f"id, {_RESULT}, {_ALSO}"),
    live_window=_hours("live"),
    shadow_window=_hours("shadow"),
)
_REASONS = f"""\
SELECT reason, count(*), count(*) FILTER (WHERE is_other_result),
  (array_agg(ARRAY[action_id, outcome_type, coalesce(live_status, '-'), coalesce(live_by, '-'),
    coalesce(shadow_status, '-'), coalesce(shadow_by, '-')]
    ORDER BY action_id, id))[1:{EXAMPLES_MAX}]
FROM ({_DIFFERENT}) AS different GROUP BY 1 ORDER BY 2 DESC, 1"""
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
    """Why outcomes differ, how many do, how many of these in their result, and some of them."""

    reason: str
    count: int
    other_results: int
    examples: list[Example]


@dataclass(frozen=True, slots=True)
class DifferentBin:
    """A bin of all settled outcomes whose sums differ; `sums` are by name (live, shadow)."""

    stream: tuple[str, str, str, int, str]
    bin_index: int
    sums: dict[str, tuple[int, int]]


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
    live_count, shadow_count = (await run_bound(url, _COUNTS, *values)).rows[0]
    reasons = (await run_bound(url, _REASONS, *values)).rows
    bins = (await run_bound(url, _BINS, *values)).rows
    return Comparison(
        shadow,
        live_count,
        shadow_count,
        [Reason(why, n, other, [Example(*one) for one in some]) for why, n, other, some in reasons],
        [_bin_of(row) for row in bins],
        await compared_streams(url, shadow),
    )


def _bin_of(row: Sequence[Any]) -> DifferentBin:
    *stream, index = row[:6]
    pairs = [(int(a), int(b)) for a, b in zip(row[6::2], row[7::2], strict=True)]
    tenant_id, action_type, outcome_type, window_ms, source = stream
    return DifferentBin(
        (tenant_id, action_type, outcome_type, window_ms, source),
        index,
        dict(zip(_SHOWN, pairs, strict=True)),
    )

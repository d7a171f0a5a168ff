"""The writer's SQL: staging tables, versioned upserts, counts. A test holds it to the schema.

The law of versions: a row gives way only to a greater (lineage, output_offset), so that what is
written again, late or by a stranger changes nothing; and a settled outcome gives way only to a
greater lineage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sinks.postgres.rows import LABEL_RATE_COLUMNS, OUTCOME_COLUMNS, STREAM_BIN_COLUMNS

_NEWER = "(excluded.lineage, excluded.output_offset) > (held.lineage, held.output_offset)"
_NOT_SETTLED = "NOT (held.is_settled AND held.lineage = excluded.lineage)"


@dataclass(frozen=True, slots=True)
class Staged:
    """A table that is written through a temporary one: `COPY` cannot write under row security."""

    table: str
    staging: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    create: str
    upsert: str


def _staged(
    table: str,
    columns: tuple[str, ...],
    keys: tuple[str, ...],
    guards: Sequence[str],
    selected: str = "",
) -> Staged:
    """`selected`: what is read of the staged rows, where it is not they themselves."""
    staging = f"staged_{table}"
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
    listed = ", ".join(columns)
    return Staged(
        table,
        staging,
        columns,
        keys,
        f"CREATE TEMP TABLE {staging} (LIKE tenant.{table}) ON COMMIT DELETE ROWS",
        f"INSERT INTO tenant.{table} AS held ({listed}) {selected or f'SELECT {listed}'}"
        f" FROM {staging}{_CORRECTED if selected else ''}"
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed} WHERE {' AND '.join(guards)}",
    )


STREAM_BIN_KEYS = STREAM_BIN_COLUMNS[: STREAM_BIN_COLUMNS.index("curve") + 1]

_LABEL_RATE_KEYS = LABEL_RATE_COLUMNS[: LABEL_RATE_COLUMNS.index("record_set") + 1]
SUM_COLUMNS = STREAM_BIN_COLUMNS[len(STREAM_BIN_KEYS) : STREAM_BIN_COLUMNS.index("last_settled_at")]
"""A bin's sums and counts by status: what two bins may be added in."""
_CORRECTED = (
    f" LEFT JOIN tenant.calibration_corrections AS correction USING ({', '.join(STREAM_BIN_KEYS)})"
)
# A calibrator's sums know nothing of the outcomes that a promotion has exchanged.
_SELECTED = "SELECT " + ", ".join(
    f"staged_calibration_stream_bins.{c} + coalesce(correction.{c}, 0)" if c in SUM_COLUMNS else c
    for c in STREAM_BIN_COLUMNS
)

OUTCOMES = _staged("outcome_records", OUTCOME_COLUMNS, ("id",), (_NEWER, _NOT_SETTLED))
SHADOW_OUTCOMES = _staged(
    "shadow_outcome_records", ("shadow", *OUTCOME_COLUMNS), ("shadow", "id"), (_NEWER, _NOT_SETTLED)
)
STREAM_BINS = _staged(
    "calibration_stream_bins", STREAM_BIN_COLUMNS, STREAM_BIN_KEYS, (_NEWER,), _SELECTED
)
LABEL_RATES = _staged("calibration_label_rates", LABEL_RATE_COLUMNS, _LABEL_RATE_KEYS, (_NEWER,))

_LAW = (
    "is_settled, outcome_status, outcome_score, signal_source, decided_by,"
    " resolved_at, settled_at, policy_version"
)
"""The settled fields: a repeated record that agrees in them is no second resolution."""


def _of(alias: str) -> str:
    return ", ".join(f"{alias}.{name.strip()}" for name in _LAW.split(","))


COUNT_REFUSED = (
    f"SELECT count(*) FROM {OUTCOMES.staging} AS late"
    " JOIN tenant.outcome_records AS held USING (id)"
    " WHERE held.is_settled AND held.lineage = late.lineage"
    " AND late.output_offset > held.output_offset"
    f" AND ({_of('late')}) IS DISTINCT FROM ({_of('held')})"
)

UPSERT_BINS = """\
INSERT INTO tenant.calibration_bins AS held (
  id, tenant_id, action_type, bin_index, bin_lower, bin_upper, sample_count, outcome_sum,
  actual_rate, brier_contribution, last_updated, created_at)
SELECT touched.id, tenant_id, action_type, bin_index, bin_index / 10.0, (bin_index + 1) / 10.0,
  sum(n), sum(sy), sum(sy) / nullif(sum(n), 0),
  sum(spp) / 1e12 - 2 * sum(spy) / 1e6 + sum(sy), max(last_settled_at), max(last_settled_at)
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[])
  AS touched (id, tenant_id, action_type, bin_index)
JOIN tenant.calibration_stream_bins USING (tenant_id, action_type, bin_index)
WHERE record_set = 'all' AND curve = 'settled'
GROUP BY touched.id, tenant_id, action_type, bin_index
ON CONFLICT (tenant_id, action_type, bin_index) DO UPDATE SET
  sample_count = excluded.sample_count, outcome_sum = excluded.outcome_sum,
  actual_rate = excluded.actual_rate, brier_contribution = excluded.brier_contribution,
  last_updated = excluded.last_updated"""

NEXT_OFFSETS = (
    "SELECT topic, next_offset FROM tenant.sink_offsets"
    " WHERE partition = $1 AND topic = ANY($2::text[])"
)
LOCK_OFFSET = (
    "SELECT next_offset FROM tenant.sink_offsets WHERE topic = $1 AND partition = $2 FOR UPDATE"
)
FIRST_OFFSET = (
    "INSERT INTO tenant.sink_offsets (topic, partition, next_offset, lineage)"
    " VALUES ($1, $2, 0, $3) ON CONFLICT DO NOTHING"
)
STORE_OFFSET = (
    "UPDATE tenant.sink_offsets SET next_offset = $3, lineage = $4"
    " WHERE topic = $1 AND partition = $2"
)

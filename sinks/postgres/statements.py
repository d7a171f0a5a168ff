"""The writer's SQL: staging tables, versioned upserts, counts. A test holds it to the schema.

The law of versions: a row gives way only to a greater (lineage, output_offset), so that what is
written again, late or by a stranger changes nothing; and a settled outcome gives way only to a
greater lineage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sinks.postgres.outcome_rows import OUTCOME_COLUMNS
from sinks.postgres.row_types import STREAM_COLUMNS, VERSION_COLUMNS
from sinks.postgres.stream_rows import (
    ADJUSTMENT_COLUMNS,
    ALARM_COLUMNS,
    FORECAST_COLUMNS,
    FORECAST_KEYS,
    MAP_COLUMNS,
    NUMBERED_KEYS,
    STREAM_STATE_COLUMNS,
    TREND_COLUMNS,
    TREND_KEYS,
)
from sinks.postgres.sum_rows import (
    DAY_COLUMNS,
    DAY_KEYS,
    DELAY_COLUMNS,
    DELAY_COUNTS,
    EARLIER,
    LABEL_COUNTS,
    LABEL_RATE_COLUMNS,
    LABEL_RATE_KEYS,
    SEGMENT_COLUMNS,
    SEGMENT_KEYS,
    STREAM_BIN_COLUMNS,
    STREAM_BIN_KEYS,
    SUM_COLUMNS,
)

_NEWER = "(excluded.lineage, excluded.output_offset) > (held.lineage, held.output_offset)"
_NOT_SETTLED = "NOT (held.is_settled AND held.lineage = excluded.lineage)"
OF_A_REPLAY = "output_offset < 0"


@dataclass(frozen=True, slots=True)
class Corrections:
    """What promotions have added to a table, kept apart, for its writer knows nothing of it.

    Args:
        table: Where it is kept, by the key of the corrected table.
        sums: The columns that are added.
        lists: Those that are added element by element; an empty one stays empty.
        following: What follows from sums, by column; `{n}` stands for a corrected `n`.
    """

    table: str
    sums: tuple[str, ...]
    lists: tuple[str, ...] = ()
    following: Mapping[str, str] = field(default_factory=dict)

    def corrected(self, column: str, rows: str) -> str:
        """The expression for a column of `rows`, with what was added."""
        if column in self.sums:
            return f"{rows}.{column} + coalesce(correction.{column}, 0)"
        if column in self.lists:
            own, more = f"{rows}.{column}", f"correction.{column}"
            is_kept = f"{more} IS NULL OR {own} = '{{}}'"
            return f"CASE WHEN {is_kept} THEN {own} ELSE {summed(own, more)} END"
        if column in self.following:
            sums = {name: f"({self.corrected(name, rows)})" for name in self.sums}
            return self.following[column].format(**sums)
        return column

    def added(self, column: str) -> str:
        """The expression for a column of the table itself, `excluded` being what is added."""
        if column in self.lists:
            return f"CASE WHEN held.{column} = '{{}}' THEN held.{column} ELSE {_both(column)} END"
        if column in self.following:
            return self.following[column].format(**{name: f"({_plus(name)})" for name in self.sums})
        if column == "last_settled_at":
            return "greatest(held.last_settled_at, excluded.last_settled_at)"
        return _plus(column)


def _plus(column: str) -> str:
    return f"held.{column} + excluded.{column}"


def _both(column: str) -> str:
    return summed(f"held.{column}", f"excluded.{column}")


def summed(one: str, other: str) -> str:
    """The expression that adds two lists; a shorter one counts as 0 where it ends."""
    return (
        "(SELECT coalesce(array_agg(coalesce(a, 0) + coalesce(b, 0) ORDER BY place), '{}')"
        f" FROM unnest({one}, {other}) WITH ORDINALITY AS pair (a, b, place))"
    )


@dataclass(frozen=True, slots=True)
class Staged:
    """A table that is written through a temporary one: `COPY` cannot write under row security.

    `upsert` is the publisher's; `refill` a replay's, to which only rows of replays give way.
    """

    table: str
    staging: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    create: str
    upsert: str
    refill: str
    corrections: Corrections | None


def _staged(
    table: str,
    columns: tuple[str, ...],
    keys: tuple[str, ...],
    guards: Sequence[str] = (_NEWER,),
    corrections: Corrections | None = None,
    only: str = "true",
) -> Staged:
    staging = f"staged_{table}"
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
    listed = ", ".join(columns)
    into = f"INSERT INTO tenant.{table} AS held ({listed})"
    instead = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed} WHERE"
    plain = f"SELECT {listed} FROM {staging}"
    return Staged(
        table,
        staging,
        columns,
        keys,
        f"CREATE TEMP TABLE {staging} (LIKE tenant.{table})",
        f"{into} {_selected(staging, columns, keys, corrections) if corrections else plain}"
        f" WHERE {only} {instead} {' AND '.join(guards)}",
        f"{into} {plain} {instead} held.{OF_A_REPLAY}",
        corrections,
    )


def _selected(
    staging: str, columns: tuple[str, ...], keys: tuple[str, ...], corrections: Corrections
) -> str:
    """A calibrator's sums know nothing of the outcomes that a promotion has exchanged."""
    listed = ", ".join(corrections.corrected(column, staging) for column in columns)
    join = f"LEFT JOIN tenant.{corrections.table} AS correction USING ({', '.join(keys)})"
    return f"SELECT {listed} FROM {staging} {join}"


OUTCOMES = _staged("outcome_records", OUTCOME_COLUMNS, ("id",), (_NEWER, _NOT_SETTLED))
SHADOW_OUTCOMES = _staged(
    "shadow_outcome_records", ("shadow", *OUTCOME_COLUMNS), ("shadow", "id"), (_NEWER, _NOT_SETTLED)
)
STREAM_BINS = _staged(
    "calibration_stream_bins",
    STREAM_BIN_COLUMNS,
    STREAM_BIN_KEYS,
    corrections=Corrections("calibration_corrections", SUM_COLUMNS, ("residuals",)),
)
_of_its_stream = " AND ".join(
    f"own.{name} = staged_calibration_days.{name}" for name in STREAM_COLUMNS
)
_IS_KEPT = (
    f"NOT EXISTS (SELECT FROM tenant.calibration_days AS own WHERE {_of_its_stream}"
    f" AND own.{EARLIER} AND own.known_day >= staged_calibration_days.known_day)"
)
"""A day that is told again after it was added up is in its sums already."""
DAYS = _staged(
    "calibration_days",
    DAY_COLUMNS,
    DAY_KEYS,
    corrections=Corrections("calibration_day_corrections", SUM_COLUMNS),
    only=_IS_KEPT,
)
SEGMENTS = _staged(
    "calibration_segments",
    SEGMENT_COLUMNS,
    SEGMENT_KEYS,
    corrections=Corrections("calibration_segment_corrections", SUM_COLUMNS),
)
DELAYS = _staged(
    "calibration_delays",
    DELAY_COLUMNS,
    STREAM_COLUMNS,
    corrections=Corrections("calibration_delay_corrections", ("sum_ms",), DELAY_COUNTS),
)
LABEL_RATES = _staged(
    "calibration_label_rates",
    LABEL_RATE_COLUMNS,
    LABEL_RATE_KEYS,
    corrections=Corrections(
        "calibration_label_corrections",
        LABEL_COUNTS,
        following={"actual_rate": "{positive_count}::float8 / nullif({n}, 0)"},
    ),
)
STREAMS = _staged("calibration_streams", STREAM_STATE_COLUMNS, STREAM_COLUMNS)
ALARMS = _staged("calibration_alarms", ALARM_COLUMNS, NUMBERED_KEYS)
ADJUSTMENTS = _staged("threshold_adjustments", ADJUSTMENT_COLUMNS, NUMBERED_KEYS)
MAPS = _staged("calibration_maps", MAP_COLUMNS, NUMBERED_KEYS)
TRENDS = _staged("calibration_trends", TREND_COLUMNS, TREND_KEYS)
FORECASTS = _staged(
    "calibration_forecasts", FORECAST_COLUMNS, FORECAST_KEYS, (_NEWER, "held.came IS NULL")
)

CALIBRATION = (
    STREAM_BINS,
    LABEL_RATES,
    DAYS,
    SEGMENTS,
    DELAYS,
    STREAMS,
    ALARMS,
    ADJUSTMENTS,
    MAPS,
    TRENDS,
)
"""What `calibration-updates` is written to."""
OF_STREAMS = (*CALIBRATION, FORECASTS)
"""And what the publisher makes of it and of the outcomes."""
SUMMED = tuple(staged for staged in CALIBRATION if staged.corrections)
"""What of it is sums, and may be corrected."""


def correcting(staged: Staged) -> tuple[str, str]:
    """The statements that add staged differences to what is kept beside a table, and to it."""
    corrections = staged.corrections
    assert corrections is not None
    own = (*corrections.sums, *corrections.lists)
    kept = ", ".join((*staged.keys, *own))
    adds = [f"{name} = {_both(name) if name in corrections.lists else _plus(name)}" for name in own]
    changed = [
        f"{name} = {corrections.added(name)}"
        for name in staged.columns
        if name not in (*staged.keys, *VERSION_COLUMNS, EARLIER)
    ]
    conflict = f"ON CONFLICT ({', '.join(staged.keys)}) DO UPDATE SET"
    listed = ", ".join(staged.columns)
    return (
        f"INSERT INTO tenant.{corrections.table} AS held ({kept}) SELECT {kept}"
        f" FROM {staged.staging} {conflict} {', '.join(adds)}",
        f"INSERT INTO tenant.{staged.table} AS held ({listed}) SELECT {listed}"
        f" FROM {staged.staging} {conflict} {', '.join(changed)}",
    )


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

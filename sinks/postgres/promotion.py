"""A shadow becomes the truth: one transaction, with the live publisher waiting outside.

The law: after it each covered outcome that the shadow has settled by its as-of is the shadow's, in
a lineage above every other, which the publisher's records cannot replace; what the shadow has not
admitted is gone; what either holds open stays as live has it. The same difference is added to the
bins and kept in `calibration_corrections`, because the calibrator goes on counting what it counts.
"""

from dataclasses import dataclass
from typing import Any

from sinks.postgres.connect import connect, problems_told
from sinks.postgres.recounting import show_bins, sums_sql
from sinks.postgres.rows import OUTCOME_COLUMNS
from sinks.postgres.shadow_compare import COVERED, SHADOW, coverage
from sinks.postgres.shadows import READY, Shadow, ShadowProblem, shadow_named
from sinks.postgres.statements import STREAM_BIN_KEYS, SUM_COLUMNS

_LISTED = ", ".join(OUTCOME_COLUMNS)
_KEYS = ", ".join(STREAM_BIN_KEYS)
_SUMS = ", ".join(SUM_COLUMNS)

_LOCK = "SELECT topic FROM tenant.sink_offsets ORDER BY topic, partition FOR UPDATE"
_LINEAGE = "SELECT coalesce(max(lineage), 0) + 1 FROM tenant.outcome_records"
_NEXT_OFFSETS = "SELECT topic, partition, next_offset FROM tenant.sink_offsets"
# What gives way: what the shadow has settled too, and what it does not have at all. What live holds
# open stays live's: its calibrator will count it.
_GIVES_WAY = f"""\
(SELECT live.* FROM (SELECT * FROM tenant.outcome_records WHERE {COVERED} AND is_settled) AS live
  LEFT JOIN tenant.shadow_outcome_records AS held ON held.shadow = $1 AND held.id = live.id
  WHERE CASE WHEN held.id IS NULL THEN live.settled_at <= $5
    ELSE held.is_settled AND held.settled_at <= $5 END)"""
_COMES = f"""\
(SELECT * FROM {SHADOW} AS shadow WHERE NOT EXISTS (
  SELECT FROM tenant.outcome_records AS live WHERE live.id = shadow.id AND NOT live.is_settled))"""
_ADDED_UP = ", ".join(f"{column} = held.{column} + excluded.{column}" for column in SUM_COLUMNS)
_differences = ", ".join(
    f"coalesce(came.{column} - coalesce(went.{column}, 0), -went.{column}) AS {column}"
    for column in SUM_COLUMNS
)
_CORRECT = f"""\
WITH went AS ({sums_sql(_GIVES_WAY)}), came AS ({sums_sql(_COMES)}),
added AS (
  SELECT {_KEYS}, {_differences},
    coalesce(came.last_settled_at, went.last_settled_at) AS last_settled_at
  FROM went FULL JOIN came USING ({_KEYS})),
corrected AS (
  INSERT INTO tenant.calibration_corrections AS held ({_KEYS}, {_SUMS})
  SELECT {_KEYS}, {_SUMS} FROM added
  ON CONFLICT ({_KEYS}) DO UPDATE SET {_ADDED_UP})
INSERT INTO tenant.calibration_stream_bins AS held
  ({_KEYS}, {_SUMS}, last_settled_at, lineage, output_partition, output_offset)
SELECT {_KEYS}, {_SUMS}, last_settled_at, 0, 0, -1 FROM added
ON CONFLICT ({_KEYS}) DO UPDATE SET {_ADDED_UP},
  last_settled_at = greatest(held.last_settled_at, excluded.last_settled_at)
RETURNING tenant_id::text, action_type, bin_index"""
_REMOVE = (
    f"DELETE FROM tenant.outcome_records USING {_GIVES_WAY} AS gone"
    " WHERE outcome_records.id = gone.id"
)
_taken = ", ".join(
    {"lineage": "$3::int", "output_offset": "-1"}.get(column, column) for column in OUTCOME_COLUMNS
)
_TAKE = f"""\
INSERT INTO tenant.outcome_records ({_LISTED}) SELECT {_taken}
FROM tenant.shadow_outcome_records AS shadow
WHERE shadow.shadow = $1 AND is_settled AND settled_at <= $2
  AND NOT EXISTS (SELECT FROM tenant.outcome_records AS live WHERE live.id = shadow.id)"""
_PROMOTED = "UPDATE tenant.shadows SET state = 'promoted', lineage = $2 WHERE name = $1"


@dataclass(frozen=True, slots=True)
class Promoted:
    """What a promotion did: its lineage, outcomes taken from live, outcomes put in their place."""

    lineage: int
    removed: int
    taken: int


async def promote_shadow(url: str, name: str) -> Promoted:
    """Readers see the shadow's outcomes and bins from one moment on.

    Raises:
        ShadowProblem: there is no such shadow, it is not ready, or the publisher is behind it.
        PostgresProblem: Postgres is not there or refuses; nothing has changed.
    """
    shadow = await shadow_named(url, name, READY)
    with problems_told():
        connection = await connect(url)
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL ROLE trueup_writer")
                await connection.fetch(_LOCK)
                await _check_publisher(connection, shadow)
                return await _exchange(connection, shadow)
        finally:
            await connection.close()


async def _check_publisher(connection: Any, shadow: Shadow) -> None:
    """All that live had said when the shadow was planned is written: it could not come later."""
    rows = await connection.fetch(_NEXT_OFFSETS)
    stands = {f"{row['topic']}/{row['partition']}": row["next_offset"] for row in rows}
    for place, end in shadow.about["output_ends"].items():
        if stands.get(place, 0) < end:
            raise ShadowProblem(
                f"The publisher stands at {stands.get(place, 0)} of {place}, and the shadow"
                f" {shadow.name!r} knows what comes up to {end}: promote it when that is written."
            )


async def _exchange(connection: Any, shadow: Shadow) -> Promoted:
    values = coverage(shadow)
    lineage = await connection.fetchval(_LINEAGE)
    touched = await connection.fetch(_CORRECT, *values)
    removed = _count(await connection.execute(_REMOVE, *values))
    taken = _count(await connection.execute(_TAKE, shadow.name, values[-1], lineage))
    await show_bins(connection, touched)
    await connection.execute(_PROMOTED, shadow.name, lineage)
    return Promoted(lineage, removed, taken)


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])

"""A shadow becomes the truth: one transaction, with the live publisher waiting outside.

The law: after it each covered outcome that the shadow has settled by its as-of is the shadow's, in
a lineage above every other, which the publisher's records cannot replace; what the shadow has not
admitted is gone; what either holds open stays as live has it. The same difference is added to
what of streams is sums and kept beside it, because the calibrator goes on counting what it counts;
days that are no longer kept stay added up.
Tests, alarms, maps, thresholds and trends stay what was decided, seen and followed at the time.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sinks.postgres.calibration_records import Told
from sinks.postgres.connect import connect, problems_told
from sinks.postgres.differences import differences
from sinks.postgres.earlier_days import add_up_again
from sinks.postgres.outcome_rows import OUTCOME_COLUMNS
from sinks.postgres.row_types import STREAM_COLUMNS, Row
from sinks.postgres.settled_rows import SettledRow, pieces
from sinks.postgres.shadow_compare import COVERED, SHADOW, coverage
from sinks.postgres.shadows import READY, Shadow, ShadowProblem, shadow_named
from sinks.postgres.statements import DAYS, STREAM_BINS, SUMMED, correcting
from sinks.postgres.writer import count_times_from_1970, show_bins

_LISTED = ", ".join(OUTCOME_COLUMNS)

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
(SELECT * FROM {SHADOW.replace("$5", "$2")} AS shadow WHERE NOT EXISTS (
  SELECT FROM tenant.outcome_records AS live WHERE live.id = shadow.id AND NOT live.is_settled))"""
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
_PROMOTED = (
    "UPDATE tenant.shadows SET state = 'promoted', lineage = $2,"
    " about = (about::jsonb || jsonb_build_object('stood_at', $3::jsonb))::json WHERE name = $1"
)


@dataclass(frozen=True, slots=True)
class Promoted:
    """What a promotion did: its lineage, outcomes taken from live, outcomes put in their place."""

    lineage: int
    removed: int
    taken: int


Segments = Mapping[str, Sequence[str]]
Count = Callable[[AsyncIterator[list[SettledRow]], Segments], Awaitable[Sequence[Told]]]
"""Counts what of streams is sums, over some outcomes; segments are by digest of the policy."""


async def promote_shadow(url: str, name: str, count: Count) -> Promoted:
    """Readers see the shadow's outcomes and sums from one moment on.

    Raises:
        ShadowProblem: there is no such shadow, it is not ready, or the publisher is behind it.
        PostgresProblem: Postgres is not there or refuses; nothing has changed.
    """
    shadow = await shadow_named(url, name, READY)
    with problems_told():
        connection = await connect(url)
        try:
            await count_times_from_1970(connection)
            async with connection.transaction():
                await connection.execute("SET LOCAL ROLE trueup_writer")
                await connection.fetch(_LOCK)
                stands = await _publisher(connection, shadow)
                return await _exchange(connection, shadow, count, stands)
        finally:
            await connection.close()


async def _publisher(connection: Any, shadow: Shadow) -> dict[str, int]:
    """Where the publisher stands. All that live had said when the shadow was planned is written: it
    could not come later.
    """
    rows = await connection.fetch(_NEXT_OFFSETS)
    stands = {f"{row['topic']}/{row['partition']}": row["next_offset"] for row in rows}
    for place, end in shadow.about["output_ends"].items():
        if stands.get(place, 0) < end:
            raise ShadowProblem(
                f"The publisher stands at {stands.get(place, 0)} of {place}, and the shadow"
                f" {shadow.name!r} knows what comes up to {end}: promote it when that is written."
            )
    return stands


async def _exchange(
    connection: Any, shadow: Shadow, count: Count, stands: Mapping[str, int]
) -> Promoted:
    values = coverage(shadow)
    name, *_, as_of_ms = values
    lineage = await connection.fetchval(_LINEAGE)
    segments = shadow.about.get("segments", {})
    went = await count(pieces(connection, _GIVES_WAY, *values), segments)
    came = await count(pieces(connection, _COMES, name, as_of_ms), segments)
    await _correct(connection, differences(went, came))
    removed = _count(await connection.execute(_REMOVE, *values))
    taken = _count(await connection.execute(_TAKE, name, as_of_ms, lineage))
    await connection.execute(_PROMOTED, name, lineage, json.dumps(stands))
    return Promoted(lineage, removed, taken)


async def _correct(connection: Any, rows: Mapping[str, Sequence[Row]]) -> None:
    """The differences are added to the tables and to what is kept beside them."""
    for staged in SUMMED:
        await connection.execute(staged.create)
        await connection.copy_records_to_table(
            staged.staging, records=rows[staged.table], columns=staged.columns
        )
        for statement in correcting(staged):
            await connection.execute(statement)
    for stream in sorted({tuple(row[: len(STREAM_COLUMNS)]) for row in rows[DAYS.table]}):
        await add_up_again(connection, stream)
    place = STREAM_BINS.columns.index("bin_index")
    touched = ((row[0], row[1], row[place]) for row in rows[STREAM_BINS.table])
    await show_bins(connection, touched)


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])

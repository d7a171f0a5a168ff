"""Shadows: which there are, how one begins, ends and is dropped. `promotion` makes one the truth.

A shadow is a name, what it covers, and its outcomes in `shadow_outcome_records`; its sums are
counted from these where somebody asks. What its rows say of streams is kept with the name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sinks.postgres.connect import PostgresProblem, connect, problems_told
from sinks.postgres.queries import run_bound
from sinks.postgres.recounting import FIRST_TIME_MS

FILLING, READY, PROMOTED = "filling", "ready", "promoted"
_LISTED = """\
SELECT name, state, (extract(epoch FROM as_of) * 1000)::bigint, lineage, about,
  (SELECT count(*) FROM tenant.shadow_outcome_records AS held WHERE held.shadow = shadows.name)
FROM tenant.shadows WHERE $1::text IS NULL OR name = $1 ORDER BY name"""
_BEGIN = (
    "INSERT INTO tenant.shadows (name, state, as_of, lineage, about)"
    " VALUES ($1, 'filling', 'epoch', NULL, $2) ON CONFLICT DO NOTHING"
)
_FORGET = "DELETE FROM tenant.shadows WHERE name = $1 AND state <> 'promoted'"
_READY = (
    "UPDATE tenant.shadows SET state = 'ready', about = (about::jsonb || $3::jsonb)::json,"
    " as_of = 'epoch'::timestamptz + $2 * interval '1 millisecond' WHERE name = $1"
)


@dataclass(frozen=True, slots=True)
class Shadow:
    """A replay beside the live rows: `about` says how it was judged and what it covers."""

    name: str
    state: str
    as_of_ms: int
    lineage: int | None
    about: dict[str, Any]
    rows: int


class ShadowProblem(PostgresProblem):
    """There is no such shadow, or it is not in the state that is needed."""


async def shadows(url: str, name: str | None = None) -> list[Shadow]:
    """All of them, or the one of a name."""
    answer = await run_bound(url, _LISTED, name)
    return [
        Shadow(name, state, as_of_ms, lineage, json.loads(about), rows)
        for name, state, as_of_ms, lineage, about, rows in answer.rows
    ]


async def shadow_named(url: str, name: str, *states: str) -> Shadow:
    """The shadow of a name, in one of these states.

    Raises:
        ShadowProblem: there is none, or it is not so far.
    """
    found = await shadows(url, name)
    if not found:
        raise ShadowProblem(f"There is no shadow {name!r}; `trueup shadow list` shows all.")
    if states and found[0].state not in states:
        raise ShadowProblem(f"The shadow {name!r} is {found[0].state}, not {' or '.join(states)}.")
    return found[0]


async def begin_shadow(url: str, name: str, about: dict[str, Any]) -> None:
    """The name is taken, and its rows may come.

    Raises:
        ShadowProblem: another shadow has the name.
    """
    if await execute(url, _BEGIN, name, json.dumps(about)) == 0:
        raise ShadowProblem(
            f"There is a shadow {name!r} already: `trueup shadow drop {name}`, or another name."
        )


async def end_shadow(
    url: str, name: str, as_of_ms: int, streams: Sequence[Mapping[str, Any]] = ()
) -> None:
    """All rows are there: it may be compared and promoted.

    `streams` is what its rows say of each stream: verdict, evidence, alarms, threshold.
    """
    told = json.dumps({"streams": list(streams)})
    await execute(url, _READY, name, max(as_of_ms, FIRST_TIME_MS), told)


async def drop_shadow(url: str, name: str) -> int:
    """The shadow's rows are gone; how many. What was promoted of it stays, and so does its name,
    for the audit holds what was promoted to the rules by which it was judged.
    """
    await shadow_named(url, name)
    rows = await execute(url, "DELETE FROM tenant.shadow_outcome_records WHERE shadow = $1", name)
    await execute(url, _FORGET, name)
    return rows


async def execute(url: str, sql: str, *values: Any) -> int:
    """How many rows a statement has changed, as the writer.

    Raises:
        PostgresProblem: Postgres is not there or refuses.
    """
    with problems_told():
        connection = await connect(url)
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL ROLE trueup_writer")
                status: str = await connection.execute(sql, *values)
        finally:
            await connection.close()
    return int(status.rpartition(" ")[2])

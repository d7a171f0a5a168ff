"""`trueup reset`."""

import asyncio
from collections.abc import Iterator
from typing import Annotated

import typer

from agents_topics.roster import GROUP
from trueup.connecting import connection_here
from trueup.printing import print_line
from trueup.reset import Found, found, reset
from trueup.surroundings import database_here


def command(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; otherwise it is only told.")] = False,
) -> None:
    """Offsets, changelogs and rows go together; the inputs stay and are read from the start.

    What was late or silent is judged afresh. Without --yes nothing is changed.
    """
    connection, url = connection_here(), database_here()
    told = asyncio.run(found(connection, url))
    print_line("\n".join(_plan(told, connection.topic(GROUP))))
    if not yes:
        print_line("Nothing was changed. `trueup reset --yes` does it.")
        return
    asyncio.run(reset(connection, url))
    print_line("It is done: start the workers.")


def _plan(told: Found, group: str) -> Iterator[str]:
    for topic, count in told.derived.items():
        yield f"goes   topic {topic}: {count:,} offsets"
    for table, count in told.rows.items():
        yield f"goes   table {table}: {count:,} rows"
    yield f"goes   group {group}: {told.offsets} offsets"
    for topic, spans in told.inputs.items():
        kept = sum(end - first for first, end in spans.values())
        yield f"stays  topic {topic}: {kept:,} offsets, to be read again"
    for topic, count in told.lost.items():
        yield f"LOST   topic {topic}: {count:,} offsets are gone; what they said is not said again"

"""`trueup checksum`."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from agents_topics.events import to_ms
from sinks.postgres.checksums import END_OF_TIME_MS, checksums
from trueup.commands.options import AsJson
from trueup.exits import USAGE
from trueup.plain_text import counted
from trueup.printing import fail, print_json, print_line
from trueup.surroundings import database_here


def command(
    database: Annotated[str | None, typer.Option(help="Otherwise DATABASE_URL.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Of what settled up to this time.")] = None,
    as_json: AsJson = False,
) -> None:
    """Of outcomes and bins; revisions, broker times and log offsets are left out."""
    try:
        as_of_ms = END_OF_TIME_MS if as_of is None else to_ms(as_of)
    except ValueError:
        fail(f"--as-of {as_of}: no RFC 3339 time with a zone, like 2026-01-05T09:30:00Z", USAGE)
    found = asdict(asyncio.run(checksums(database or database_here(), as_of_ms)))
    if as_json:
        print_json(found)
        return
    for name, checksum in found.items():
        print_line(f"{name}: {counted(checksum['rows'], 'row')}, checksum {checksum['digest']}")

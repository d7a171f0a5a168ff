"""`trueup migrate`."""

import asyncio
from typing import Annotated

import typer

from sinks.postgres.migrate import migrate, print_sql, revision_of
from trueup.printing import print_line
from trueup.surroundings import database_here


def command(
    show: Annotated[bool, typer.Option("--print", help="Print the SQL for a DBA.")] = False,
) -> None:
    """All or nothing."""
    if show:
        print_line(print_sql())
        return
    url = database_here()
    migrate(url)
    print_line(f"The schema is at {asyncio.run(revision_of(url))}.")

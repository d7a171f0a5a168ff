"""`trueup clock`."""

import asyncio
from typing import Annotated

import typer

from streams.settings import read_settings
from trueup.connecting import connection_here
from trueup.emit import send_clock
from trueup.exits import USAGE
from trueup.printing import fail, print_line


def command(
    until: Annotated[str, typer.Option(help="RFC 3339, zoned: 2026-03-01T00:00:00Z.")],
) -> None:
    """A clock record goes to every partition of `control`."""
    connection = connection_here()
    try:
        asyncio.run(send_clock(connection, until, read_settings().partitions))
    except ValueError as problem:
        fail(f"--until {until}: {problem}", USAGE)
    print_line(f"Event time goes to {until}.")

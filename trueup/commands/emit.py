"""`trueup emit`."""

import asyncio
import os
import sys
from functools import partial
from typing import Annotated

import typer

from agents_topics.policy_file import load_policy
from streams.settings import read_settings
from trueup.check import Problem
from trueup.commands.options import AsJson
from trueup.emit import CHUNK_BYTES, emit_file, emit_stream
from trueup.exits import BAD_INPUT
from trueup.printing import fail, print_json, print_line
from trueup.surroundings import connection_here, readable


def command(
    file: Annotated[str, typer.Argument(help="NDJSON, or - for standard input.")],
    topic: Annotated[str | None, typer.Option(help="Guessed from the fields if absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Of a file all or none; of a stream the good lines as they come."""
    connection, policy = connection_here(), load_policy(read_settings().policy)

    def report(problem: Problem) -> None:
        print_line(str(problem), sys.stderr)

    if file == "-":
        read = partial(os.read, 0, CHUNK_BYTES)
        emitted = asyncio.run(emit_stream(connection, read, report, topic=topic, policy=policy))
    else:
        path = readable(file)
        emitted = asyncio.run(emit_file(connection, path, report, topic=topic, policy=policy))
    if as_json:
        print_json({"sent": dict(emitted.sent), "bad_lines": emitted.bad_lines})
    else:
        for name, count in emitted.sent.items():
            print_line(f"{count:,} to {name}")
    if emitted.bad_lines:
        were = "1 bad line" if emitted.bad_lines == 1 else f"{emitted.bad_lines:,} bad lines"
        fail(were if emitted.sent else f"{were}: nothing was sent", BAD_INPUT)

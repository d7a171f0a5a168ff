"""`trueup emit`."""

import asyncio
import os
import sys
import time
from functools import partial
from typing import Annotated

import typer

from agents_topics.events import to_ms, to_timestamp
from agents_topics.policy_file import load_policy
from streams.settings import read_settings
from trueup.check import Problem
from trueup.commands.options import AsJson
from trueup.connecting import connection_here
from trueup.emit import CHUNK_BYTES, emit_file, emit_stream, send_clock, settle_time
from trueup.exits import BAD_INPUT
from trueup.printing import fail, print_json, print_line
from trueup.surroundings import readable


def command(
    file: Annotated[str, typer.Argument(help="NDJSON, or - for standard input.")],
    topic: Annotated[str | None, typer.Option(help="Guessed from the fields if absent.")] = None,
    settle: Annotated[
        bool, typer.Option("--settle", help="Then event time goes on until all has settled.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Of a file all or none; of a stream the good lines as they come."""
    connection, settings = connection_here(), read_settings()
    policy = load_policy(settings.policy)

    def report(problem: Problem) -> None:
        print_line(str(problem), sys.stderr)

    if file == "-":
        read = partial(os.read, 0, CHUNK_BYTES)
        emitted = asyncio.run(emit_stream(connection, read, report, topic=topic, policy=policy))
    else:
        path = readable(file)
        emitted = asyncio.run(emit_file(connection, path, report, topic=topic, policy=policy))
    settled_at = settle_time(emitted, policy, settings.grace_ms_max) if settle else None
    until = settled_at and to_timestamp(min(settled_at, time.time_ns() // 1_000_000))
    if until:
        asyncio.run(send_clock(connection, until, settings.partitions))
    if as_json:
        print_json({"sent": dict(emitted.sent), "bad_lines": emitted.bad_lines, "clock": until})
    else:
        for name, count in emitted.sent.items():
            print_line(f"{count:,} to {name}")
        if settled_at and until:
            print_line(f"Event time goes to {until}.")
            if to_ms(until) < settled_at:
                rest = to_timestamp(settled_at)
                print_line(f"Windows that are open then settle as time goes on, by {rest}.")
    if emitted.bad_lines:
        were = "1 bad line" if emitted.bad_lines == 1 else f"{emitted.bad_lines:,} bad lines"
        fail(were if emitted.sent else f"{were}: nothing was sent", BAD_INPUT)

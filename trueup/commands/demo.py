"""`trueup demo`."""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, TextIO

import typer

from trueup.commands.options import AsJson, KafkaPort, PostgresPort
from trueup.demo import Demo, summary_as_json
from trueup.exits import NOT_EXACT
from trueup.printing import print_json, print_line
from trueup.signals import end_in_order


def command(
    once: Annotated[bool, typer.Option(help="End when everything has settled.")] = False,
    as_json: AsJson = False,
    seed: Annotated[int, typer.Option(help="Another seed, another world.")] = 7,
    actions: Annotated[int, typer.Option(min=200, help="How many actions.")] = 6000,
    kafka_port: KafkaPort = None,
    postgres_port: PostgresPort = None,
) -> None:
    """Steps and pictures; exit 5 if the ledger is not exact."""
    end_in_order()
    words = sys.stderr if as_json else sys.stdout
    say = partial(print_line, stream=words)
    show = _overwriting(words) if words.isatty() else _every(5.0, say)
    summary = Demo(seed, actions, once, say, show, words, kafka_port, postgres_port).run()
    if as_json:
        print_json(summary_as_json(summary))
    if not summary.ledger_exact:
        sys.exit(NOT_EXACT)


def _overwriting(stream: TextIO) -> Callable[[str], None]:
    def show(text: str) -> None:
        stream.write(f"\r\033[K{text}")
        stream.flush()

    return show


def _every(seconds: float, say: Callable[[str], None]) -> Callable[[str], None]:
    said_s = 0.0

    def show(text: str) -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= seconds:
            said_s = time.monotonic()
            say(text)

    return show

"""The command line: which commands there are. `trueup.exits` says how they end.

`trueup NAME` loads the module `trueup.commands.NAME` and nothing of the others: what a command
needs is imported at the top of its module. There its `command` is a function or, where the command
has commands of its own, a `typer.Typer`. To add one: its module, and its line here.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from typing import Any

import typer

from trueup.exits import ENVIRONMENT, INTERRUPTED, ending_of
from trueup.printing import fail

COMMANDS = {
    "demo": "Simulated agents with a known truth, through real Kafka and Postgres.",
    "up": "Kafka, Postgres and a worker, with their data kept under .trueup; until Ctrl-C.",
    "emit": "Checks events and produces them: of a file all or none; exit 4 names what is bad.",
    "check": "Tells a producer line, field and reason before anything is sent; exit 4 if bad.",
    "clock": "Lets event time jump to a moment, so that windows before it close.",
    "label": "A person's verdict on an action; it decides over every signal.",
    "pending": "Outcomes without a signal yet; across tenants, for operators.",
    "explain": "Why an action's outcomes are what they are: a short story with times.",
    "dead-letters": "Refused records: listed, shown, sent again once they are mended.",
    "curve": "Are an agent's confidences right? The picture, a sentence, and what is still open.",
    "alarms": "Streams found to be miscalibrated, and which stand out among all; closed by hand.",
    "thresholds": "From which confidence on agents should act, why, and what came of moving it.",
    "forecast": "How many of the open actions will still come true, and what past forecasts did.",
    "status": "Tasks, times, lags, counts and what is written, on one screen; changes nothing.",
    "sql": "Runs one statement in Postgres; no psql is needed.",
    "replay": "Recorded topics through the same core into a fresh database, or into a shadow.",
    "shadow": "Replays beside the live rows: listed, compared with them, promoted, dropped.",
    "checksum": "A checksum of what is settled: equal where two databases hold the same results.",
    "audit": "Recomputes outcomes and bins from the topics; exit 5 if anything differs.",
    "doctor": "Whether this machine, Kafka and Postgres are as a worker needs them; exit 3 if not.",
    "env": "Which settings are in force and where each comes from; what this machine offers.",
    "config": "`config show --effective`: the settings in force, as `env` has them.",
    "worker": "One worker, until it is told to stop; `faust -A streams.app worker` is the same.",
    "rebuild": "Lost changelogs are made again from the topics. Tells; --yes does it.",
    "reset": "Begins anew from the inputs: offsets, changelogs and rows go. Tells; --yes does it.",
    "repartition": "A copy under another prefix, in other partitions. Tells; --yes does it.",
    "forget": "A tenant or a conversation goes, while workers run. Tells; --yes does it.",
    "migrate": "Brings the database's schema up to date.",
    "topics": "The topics on the broker.",
    "acls": "The least rights on the broker that each command needs, to give to its user.",
    "try": "Are the confidences in a file right? No server is needed; exit 4 if no row is usable.",
    "policy": "Which rules settle what: checked, shown, compared with what was recorded.",
    "id": "A tenant's UUID for its name.",
    "fetch": "Fetches what the embedded default needs, so that later runs need no network.",
}
"""Each command's name and what it does, in the order of `trueup --help`."""


def main() -> None:
    """Runs a command; what the environment lacks is one sentence and exit 3, never a traceback."""
    try:
        command_line(sys.argv[1:])()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as problem:
        ending = ending_of(problem)
        if ending is None:
            raise
        sentence, code = ending
        fail(_lacking_rights(sys.argv[1:]) or sentence if code == ENVIRONMENT else sentence, code)


def _lacking_rights(words: Sequence[str]) -> str | None:
    """The rights for want of which a command may have failed; a broker hides what may not be seen.

    Asked where somebody is known by name, and not of a broker that did not answer anyway.
    """
    if os.environ.get("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT") == "PLAINTEXT":
        return None
    found: str | None = import_module("trueup.own_rights").lacking_here(words)
    return found


def command_line(words: Sequence[str]) -> typer.Typer:
    """Every command by its name and sentence; the one that is called is loaded too."""
    app = typer.Typer(
        help="Can your agents' confidence be trusted?",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # no boxes: they need rich, and a terminal that has such characters
    )
    called = next((word for word in words if not word.startswith("-")), None)
    for name, sentence in COMMANDS.items():
        command = _loaded(name) if name == called else _unloaded
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, help=sentence, short_help=sentence)
        else:
            app.command(name, help=sentence, short_help=sentence)(command)
    return app


def _loaded(name: str) -> Any:
    module = f"{name}_" if iskeyword(name) else name.replace("-", "_")
    return import_module(f"trueup.commands.{module}").command


def _unloaded() -> None:
    """Stands for a command in the list of all."""

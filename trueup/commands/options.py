"""Options that several commands have."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from trueup.exits import USAGE
from trueup.printing import fail


class ListsFirst(TyperGroup):
    """Commands among which `list` is meant where none is named: `alarms acme`, `alarms --all`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts `list` before words that name no command and do not ask for help."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


class Form(StrEnum):
    """What operators feed to their tools."""

    SHELL = "shell"
    TERRAFORM = "terraform"
    STRIMZI = "strimzi"
    JSON = "json"


Printed = Annotated[Form, typer.Option("--as", help="For which tool.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Tenant = Annotated[str, typer.Argument(help="A tenant's name or UUID.")]
ActionType = Annotated[str, typer.Argument(help="What was done: send_email.")]
Of = Annotated[str | None, typer.Option("--outcome-type", help="Streams of one outcome.")]
Source = Annotated[str | None, typer.Option(help="Streams of one confidence source.")]
Because = Annotated[str, typer.Option(help="Why; it is kept with the decision.")]
By = Annotated[str | None, typer.Option(help="Who decides; otherwise who is logged in.")]
KafkaPort = Annotated[
    int | None, typer.Option(min=1, max=65_535, help="Kafka's port; otherwise a free one.")
]
PostgresPort = Annotated[
    int | None, typer.Option(min=1, max=65_535, help="Postgres's port; otherwise a free one.")
]


def day_at(option: str, text: str | None) -> int | None:
    """The day that an option names, in days since 1970-01-01; ends the command if it is none.

    >>> day_at("--until", "2026-01-05")
    20458
    """
    if text is None:
        return None
    try:
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError as problem:
        fail(f"{option} {text}: {problem}", USAGE)

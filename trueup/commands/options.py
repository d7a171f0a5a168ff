"""Options that several commands have."""

from enum import StrEnum
from typing import Annotated

import typer


class Form(StrEnum):
    """What operators feed to their tools."""

    SHELL = "shell"
    TERRAFORM = "terraform"
    STRIMZI = "strimzi"
    JSON = "json"


Printed = Annotated[Form, typer.Option("--as", help="For which tool.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
KafkaPort = Annotated[
    int | None, typer.Option(min=1, max=65_535, help="Kafka's port; otherwise a free one.")
]
PostgresPort = Annotated[
    int | None, typer.Option(min=1, max=65_535, help="Postgres's port; otherwise a free one.")
]

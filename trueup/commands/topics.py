"""`trueup topics`."""

import asyncio
import sys
from typing import Annotated

import typer

from agents_topics.topics import TOPICS
from streams.settings import read_settings
from streams.topic_admin import check_topics, create_topics
from trueup.exits import ENVIRONMENT
from trueup.printing import print_json, print_line
from trueup.surroundings import connection_here

command = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@command.command()
def create(replication: Annotated[int, typer.Option(min=1)] = 1) -> None:
    """Creates the topics that are missing."""
    created = asyncio.run(create_topics(connection_here(), read_settings().partitions, replication))
    print_line("\n".join(created) if created else "Every topic is there.")


@command.command()
def check() -> None:
    """What a worker would stumble over; exit 3 if anything."""
    problems = asyncio.run(check_topics(connection_here(), read_settings().partitions))
    for problem in problems:
        print_line(f"{problem.topic} {problem.reason}")
    if problems:
        sys.exit(ENVIRONMENT)
    print_line("Every topic is as it must be.")


@command.command("print")
def print_topics() -> None:
    """The topics as data."""
    partitions = read_settings().partitions
    print_json(
        [
            {"name": t.name, "key": t.key, "partitions": partitions, "config": t.broker_config()}
            for t in TOPICS
        ]
    )

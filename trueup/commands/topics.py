"""`trueup topics`."""

import asyncio
import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from agents_topics.policy_file import load_policy
from agents_topics.topics import TOPICS
from streams.settings import read_settings
from streams.topic_admin import check_topics, create_topics
from trueup.commands.options import Form, Printed
from trueup.connecting import connection_here
from trueup.exits import ENVIRONMENT
from trueup.half_copies import refuse_half_copy
from trueup.printing import print_json, print_line
from trueup.running import adopt_running
from trueup.topics_text import Row, shell, strimzi, terraform

command = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


Replication = Annotated[
    int | None,
    typer.Option(min=1, help="Replicas of each; as recommended where there are brokers enough."),
]


@command.command()
def create(replication: Replication = None) -> None:
    """Creates the topics that are missing; not of a copy that was cut short."""
    connection = connection_here()
    asyncio.run(refuse_half_copy(connection))
    created = asyncio.run(create_topics(connection, read_settings().partitions, replication))
    print_line("\n".join(created) if created else "Every topic is there.")


@command.command()
def check() -> None:
    """What a worker would stumble over, producers that place keys elsewhere among it; exit 3 if
    anything. Warnings stop nobody.
    """
    settings, connection = read_settings(), connection_here()
    longest_ms = load_policy(settings.policy).settle_after_ms_max + settings.grace_ms_max
    problems = asyncio.run(check_topics(connection, settings.partitions, longest_ms))
    for problem in problems:
        warning = " (warning)" if problem.is_warning else ""
        print_line(f"{problem.topic} {problem.reason}{warning}")
    if any(not problem.is_warning for problem in problems):
        sys.exit(ENVIRONMENT)
    # It needs numpy, and nothing else here does.
    looked = import_module("trueup.doctor_kafka").partitioners(connection, settings.partitions)
    placed = asyncio.run(looked)
    if astray := [finding for finding in placed if finding.word == "FAIL"]:
        print_line("\n".join(map(str, astray)))
        sys.exit(ENVIRONMENT)
    print_line("Every topic is as it must be.")


@command.command("print")
def print_topics(
    form: Printed = Form.JSON,
    replication: Annotated[int, typer.Option(min=1, help="Replicas of each.")] = 3,
    cluster: Annotated[str, typer.Option(help="Strimzi's name of the cluster.")] = "kafka",
) -> None:
    """The topics as data, or for the tool that makes them; with the prefix, asking no broker."""
    adopt_running(os.environ)
    prefix, partitions = os.environ.get("TRUEUP_PREFIX", ""), read_settings().partitions
    rows = [Row(prefix + topic.name, topic, partitions, replication) for topic in TOPICS]
    match form:
        case Form.JSON:
            print_json([row.as_data() for row in rows])
        case Form.SHELL:
            print_line("\n".join(map(shell, rows)))
        case Form.TERRAFORM:
            print_line("\n".join(map(terraform, rows)))
        case Form.STRIMZI:
            print_line("---\n".join(strimzi(row, cluster) for row in rows).rstrip())

"""`trueup status`."""

import asyncio
import os
import sys
from typing import Annotated

import typer

from agents_topics.connection import Connection, ConnectionProblem, secret_of
from streams.settings import read_settings
from trueup.commands.options import AsJson
from trueup.connecting import connection_here
from trueup.embedded.problems import EnvironmentProblem
from trueup.exits import ENVIRONMENT
from trueup.printing import print_json, print_line
from trueup.running import adopt_running, names_servers
from trueup.status import read_status
from trueup.status_text import lines_of

Pages = Annotated[
    list[str] | None,
    typer.Option("--worker", metavar="URL", help="A worker's page; once for each worker."),
]


def command(worker: Pages = None, as_json: AsJson = False) -> None:
    """Of what runs in this folder, else of the servers that the environment names."""
    adopt_running(os.environ)
    settings = read_settings()
    own = os.environ.get("TRUEUP_METRICS", "").removesuffix("/metrics")
    pages = [page.rstrip("/") for page in worker or ()] or [
        own or f"http://{settings.web_host}:{settings.web_port}"
    ]
    if not worker and not own and not names_servers(os.environ):
        raise EnvironmentProblem(
            "Nothing runs in this folder, and the environment names no servers.",
            "Start `trueup demo` or `trueup up` here, or set KAFKA_BOOTSTRAP and DATABASE_URL.",
        )
    connection: Connection | str
    try:
        connection = connection_here()
    except (EnvironmentProblem, ConnectionProblem) as problem:
        connection = str(problem)
    url = secret_of(os.environ, "DATABASE_URL")
    status = asyncio.run(read_status(connection, url, pages, settings))
    if as_json:
        print_json(status.to_json())
    else:
        for line in lines_of(status):
            print_line(line)
    if status.is_empty:
        sys.exit(ENVIRONMENT)

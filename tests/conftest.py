"""The servers of the tests: real ones, embedded, started when the first test asks for them.

`KAFKA_BOOTSTRAP` and `DATABASE_URL` win, as everywhere.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest

from tests import hunt
from trueup.embedded.folders import temporary_home
from trueup.embedded.kafka import EmbeddedKafka
from trueup.embedded.postgres import EmbeddedPostgres
from trueup.embedded.servers import (
    Servers,
    kafka_in,
    postgres_in,
)
from trueup.embedded.servers import servers as run_servers

hunt.choose_profile()
# The tests start hundreds of processes: where this is set each would compile every module anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """One Kafka and one Postgres for the whole run; nobody kills these."""
    with run_servers() as running:
        yield running


@pytest.fixture(scope="session")
def kafka_bootstrap(servers: Servers) -> str:
    """The shared Kafka; tests keep apart by topic names or prefixes of their own."""
    return servers.kafka_bootstrap


@pytest.fixture(scope="module")
def database_url(servers: Servers) -> Iterator[str]:
    """A fresh, empty database for each module, as its owner; dropped afterwards."""
    yield from _fresh_database(servers)


@pytest.fixture
def own_database_url(servers: Servers) -> Iterator[str]:
    """A fresh, empty database for one test."""
    yield from _fresh_database(servers)


def _fresh_database(servers: Servers) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    asyncio.run(_execute(servers.database_url, f'CREATE DATABASE "{name}"'))
    address, slash, rest = servers.database_url.rpartition("/")
    _, question_mark, options = rest.partition("?")
    yield address + slash + name + question_mark + options
    asyncio.run(_execute(servers.database_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def own_kafka() -> Iterator[Callable[..., EmbeddedKafka]]:
    """Starts a Kafka that the test may kill, stop and start again; with settings of its own."""
    with ExitStack() as undo:

        def start(settings: str = "", home: Path | None = None) -> EmbeddedKafka:
            kafka = kafka_in(home or _home(undo), throwaway=True, settings=settings)
            undo.callback(kafka.stop)
            kafka.start()
            return kafka

        yield start


@pytest.fixture
def own_postgres() -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Starts a Postgres, with nothing in it, that the test may kill, stop and start again."""
    with ExitStack() as undo:

        def start(home: Path | None = None) -> EmbeddedPostgres:
            postgres = postgres_in(home or _home(undo), throwaway=True)
            undo.callback(shutil.rmtree, postgres.folder, ignore_errors=True)
            undo.callback(postgres.stop)
            postgres.start()
            return postgres

        yield start


def _home(undo: ExitStack) -> Path:
    home = temporary_home()
    undo.callback(shutil.rmtree, home, ignore_errors=True)
    return home


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()

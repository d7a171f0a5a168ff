"""The embedded servers, really started."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from trueup.embedded.accounts import postgres_account
from trueup.embedded.cache import cache_folder
from trueup.embedded.folders import temporary_home
from trueup.embedded.kafka import EmbeddedKafka
from trueup.embedded.kafka_jars import jars_folder
from trueup.embedded.ports import free_port
from trueup.embedded.postgres import EmbeddedPostgres
from trueup.embedded.servers import kafka_in, postgres_in


async def make_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{topic}-1")
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"{topic}-readers",
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_kafka_takes_a_transaction_and_gives_it_to_a_group(kafka_bootstrap: str) -> None:
    await make_topic(kafka_bootstrap, "greetings")
    await produce(kafka_bootstrap, "greetings", b"hello")

    assert await read(kafka_bootstrap, "greetings", 1) == [b"hello"]


async def test_a_module_has_an_empty_database_of_its_own(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    tables = await connection.fetch("SELECT FROM pg_tables WHERE schemaname = 'public'")
    encoding = await connection.fetchval("SHOW server_encoding")
    await connection.close()

    assert tables == []
    assert encoding == "UTF8"


async def test_a_killed_kafka_starts_again_with_its_records_on_the_same_port(
    own_kafka: Callable[[], EmbeddedKafka],
) -> None:
    kafka = own_kafka()
    address = kafka.bootstrap
    await make_topic(address, "kept")
    await produce(address, "kept", b"before")

    kafka.kill()
    assert not kafka.is_running
    kafka.start()
    await produce(address, "kept", b"after")

    assert kafka.bootstrap == address
    assert sorted(await read(address, "kept", 2)) == [b"after", b"before"]


async def test_a_killed_postgres_starts_again_with_its_rows_on_the_same_port(
    own_postgres: Callable[[], EmbeddedPostgres],
) -> None:
    postgres = own_postgres()
    url = postgres.url
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")

    postgres.kill()
    assert not postgres.is_running
    postgres.start()
    connection = await asyncpg.connect(url)
    rows = await connection.fetchval("SELECT count(*) FROM kept")
    await connection.close()

    assert rows == 1
    assert postgres.url == url


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """A port that somebody took after it was chosen, and then a free one."""
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        yield [somebody.getsockname()[1], free_port()]


def test_postgres_chooses_anew_when_its_port_was_taken_meanwhile(ports: list[int]) -> None:
    home = temporary_home()
    found = postgres_in(home, throwaway=True)
    choices = iter(ports)
    postgres = EmbeddedPostgres(
        found.folder,
        found.binaries,
        postgres_account(),
        throwaway=True,
        choose_port=lambda: next(choices),
    )

    postgres.start()
    postgres.stop()
    shutil.rmtree(home)

    assert postgres.port == ports[1]


def test_kafka_chooses_anew_when_its_port_was_taken_meanwhile(ports: list[int]) -> None:
    home = temporary_home()
    found = kafka_in(home, throwaway=True)
    choices = iter(ports)
    kafka = EmbeddedKafka(
        found.folder,
        found.java,
        jars_folder(cache_folder()),
        throwaway=True,
        choose_port=lambda: next(choices),
    )

    kafka.start()
    kafka.stop()
    shutil.rmtree(home)

    assert kafka.port == ports[1]


def test_a_server_frozen_by_a_signal_can_still_be_stopped(
    own_postgres: Callable[[], EmbeddedPostgres],
) -> None:
    postgres = own_postgres()
    os.kill(postgres.pid, signal.SIGSTOP)

    postgres.kill()

    assert not postgres.is_running

"""The topic `policies`: every version that a worker had, and the refusal of another past.

A worker that resolves outcomes reads what was recorded, refuses to start where its file would have
judged differently, and records what is new. All records stand in one partition: of two workers that
begin at once with files that contradict each other, the later one sees the other's.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from agents_topics.connection import Connection
from agents_topics.events import PolicyRecord
from agents_topics.policy import Policy
from agents_topics.policy_history import changes_of_history, record_of
from agents_topics.topics import POLICIES
from streams.broker import last_values
from streams.clients import KafkaClients
from streams.stopping import stop_reading

PARTITION = 0
CLOCK_KEY = b"clock"
"""A tombstone under this key tells the broker's time, and leaves no trace."""

_decode = msgspec.json.Decoder(PolicyRecord).decode
_encode = msgspec.json.Encoder().encode


async def compared(connection: Connection, policy: Policy) -> tuple[list[PolicyRecord], list[str]]:
    """What is recorded, and why a worker with this policy would not start; records nothing."""
    topic = connection.topic(POLICIES.name)
    async with _reading(connection) as reader, _writing(connection) as producer:
        clock = await producer.send_and_wait(topic, None, key=CLOCK_KEY, partition=PARTITION)
        recorded = await _recorded(reader, topic)
    return recorded, changes_of_history(recorded, policy, clock.timestamp)


async def enter_policy(connection: Connection, policy: Policy) -> list[str]:
    """Records the policy's versions; or says why they contradict what is recorded."""
    topic = connection.topic(POLICIES.name)
    async with _reading(connection) as reader, _writing(connection) as producer:
        clock = await producer.send_and_wait(topic, None, key=CLOCK_KEY, partition=PARTITION)
        recorded = await _recorded(reader, topic)
        problems = changes_of_history(recorded, policy, clock.timestamp)
        if problems:
            return problems
        known = {record.digest for record in recorded}
        for version in policy.versions:
            if version.digest not in known:
                key, value = version.digest.encode(), _encode(record_of(version))
                await producer.send_and_wait(topic, value, key=key, partition=PARTITION)
        # What was never in force and is in the file no more was a plan that was given up.
        for digest in known - policy.by_digest.keys():
            await producer.send_and_wait(topic, None, key=digest.encode(), partition=PARTITION)
        return changes_of_history(await _recorded(reader, topic), policy, clock.timestamp)


async def recorded_policies(connection: Connection) -> list[PolicyRecord]:
    """What is recorded."""
    async with _reading(connection) as reader:
        return await _recorded(reader, connection.topic(POLICIES.name))


async def _recorded(reader: AIOKafkaConsumer, topic: str) -> list[PolicyRecord]:
    rows, _ = await last_values(reader, topic, PARTITION)
    return [_decode(value) for value in rows.values()]


@asynccontextmanager
async def _reading(connection: Connection) -> AsyncIterator[AIOKafkaConsumer]:
    reader = KafkaClients(connection).reader()
    try:
        await reader.start()
        yield reader
    finally:
        await stop_reading(reader)


@asynccontextmanager
async def _writing(connection: Connection) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**connection.client_options(), enable_idempotence=True)
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()

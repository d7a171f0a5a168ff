"""A task's producer that loses its transaction while it writes one."""

import asyncio
import uuid
from dataclasses import dataclass

import pytest
from aiokafka.errors import KafkaError

from agents_topics.connection import Connection
from streams.clients import KafkaClients
from streams.topic_admin import create_topics
from streams.transactions import Out, TaskProducer

OUTPUTS = {("outcomes", 0): [Out(b"key", b"one")], ("late-events", 0): [Out(b"key", b"two")]}


@dataclass
class SlowProducer:
    """Stands still after each batch until what was sent is answered."""

    producer: object

    def __getattr__(self, name):
        return getattr(self.producer, name)

    async def send_batch(self, batch, topic, *, partition):
        result = await self.producer.send_batch(batch, topic, partition=partition)
        await asyncio.wait([result])
        return result


@dataclass
class SlowClients:
    """Of tasks that stand still while they write."""

    clients: KafkaClients

    def producer(self, transactional_id):
        return SlowProducer(self.clients.producer(transactional_id))


async def test_a_producer_that_is_fenced_between_two_batches_has_no_bug(kafka_bootstrap):
    """It has stood still: its successor is at work when its next batch is to be sent."""
    connection = Connection(bootstrap=kafka_bootstrap, prefix=f"t{uuid.uuid4().hex[:8]}-")
    await create_topics(connection, 1)
    outputs = {(connection.topic(topic), at): outs for (topic, at), outs in OUTPUTS.items()}
    zombie = TaskProducer(SlowClients(KafkaClients(connection)), "task", "group")
    successor = TaskProducer(KafkaClients(connection), "task", "group")
    await zombie.open()
    await successor.open()

    with pytest.raises(KafkaError, match="fenced"):
        await zombie.commit(outputs, {})
    await successor.commit(outputs, {})

    await zombie.close()
    await successor.close()

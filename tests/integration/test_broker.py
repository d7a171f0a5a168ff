"""What a worker asks the broker of what lies between two offsets, of real transactions."""

import asyncio
import uuid

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents_topics.connection import Connection
from streams.broker import Broker
from streams.clients import KafkaClients


async def test_markers_and_what_was_aborted_are_nothing_and_what_is_open_may_be_something(
    kafka_bootstrap,
):
    connection, topic = Connection(bootstrap=kafka_bootstrap), f"broker-{uuid.uuid4()}"
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    broker = Broker(KafkaClients(connection))
    await broker.start()
    producer = AIOKafkaProducer(**connection.client_options(), transactional_id=topic)

    async def reached(ends, end):
        """Markers and the last stable offset come a little after the transaction's end."""
        while (await ends([topic], 0))[topic] < end:
            await asyncio.sleep(0.05)
        return end

    async with producer:
        async with producer.transaction():
            await producer.send_and_wait(topic, b"told")
        end = await reached(broker.ends, 2)
        told = [await broker.is_empty(topic, 0, begin, end) for begin in (0, 1, 2)]
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"open")
        end = await reached(broker.high_watermarks, 3)
        while_open = await broker.is_empty(topic, 0, 1, end)
        await producer.abort_transaction()
        aborted = await broker.is_empty(topic, 0, 1, await reached(broker.ends, 4))
        async with producer.transaction():
            await producer.send_and_wait(topic, b"more")
        end = await reached(broker.ends, 6)
        later = [await broker.is_empty(topic, 0, 1, until) for until in (4, end)]
    await broker.stop()

    assert told == [False, True, True]
    assert (while_open, aborted) == (False, True)
    assert later == [True, False]

"""A consumer whose assignment has just changed stops all the same."""

import asyncio
import uuid

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents_topics.connection import Connection
from streams.stopping import stop_reading


async def test_a_consumer_that_was_just_given_other_partitions_stops(kafka_bootstrap: str) -> None:
    connection = Connection(bootstrap=kafka_bootstrap)
    topic = f"stopping-{uuid.uuid4()}"
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()
    consumer = AIOKafkaConsumer(**connection.client_options(), fetch_max_wait_ms=500)
    await consumer.start()
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await consumer.end_offsets([first, second])
    consumer.assign([first])
    consumer.seek(first, 0)
    await asyncio.sleep(0.05)  # until it waits for a record of the first
    consumer.assign([second])
    consumer.seek(second, 0)

    stopping = asyncio.ensure_future(stop_reading(consumer))
    await asyncio.wait([stopping], timeout=10)

    assert stopping.done()

"""Fills the input topics of a benchmark as fast as a plain producer can."""

import json
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition

from agents_topics.connection import Connection
from agents_topics.events import to_timestamp
from benchmarks.peers_workload import Workload


def load(connection: Connection, workload: Workload) -> None:
    """Produces every record of the workload, keyed and partitioned by murmur2."""
    producer = Producer(
        {
            "bootstrap.servers": connection.bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 50,
            "batch.size": 262_144,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 500_000,
            "enable.idempotence": True,
        }
    )
    for topic, records in (
        ("agent-actions", workload.actions),
        ("agent-interactions", workload.interactions),
    ):
        name = connection.topic(topic)
        for key, value in records:
            while True:
                try:
                    producer.produce(name, value, key)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
    producer.flush()


def close_windows(connection: Connection, until_ms: int, partitions: int) -> None:
    """Sends a clock record to every partition of `control`."""
    producer = Producer({"bootstrap.servers": connection.bootstrap, "enable.idempotence": True})
    for partition in range(partitions):
        body = f'{{"kind":"clock","event_id":"{uuid.uuid4()}","until":"{to_timestamp(until_ms)}"}}'
        producer.produce(connection.topic("control"), body.encode(), partition=partition)
    producer.flush()


def read_settled(connection: Connection, partitions: int) -> tuple[dict[str, tuple[str, int]], int]:
    """Settled outcomes of the topic, read committed: action_id -> (status, ms); how many twice."""
    consumer = Consumer(
        {
            "bootstrap.servers": connection.bootstrap,
            "group.id": "benchmark",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    name = connection.topic("outcomes")
    consumer.assign([TopicPartition(name, partition, 0) for partition in range(partitions)])
    found: dict[str, tuple[str, int]] = {}
    ended: set[int] = set()
    twice = 0
    while len(ended) < partitions:
        for message in consumer.consume(10_000, 1.0):
            if message.error():
                ended.add(message.partition())
                continue
            outcome = json.loads(message.value())
            if outcome["is_settled"]:
                twice += outcome["action_id"] in found
                found[outcome["action_id"]] = (outcome["status"], outcome["resolved_at_ms"])
    consumer.close()
    return found, twice

"""What a benchmark's installation is set to, and its input topics, filled as fast as a plain
producer can.
"""

import json
import uuid
from collections.abc import Iterable
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from agents_topics.connection import Connection
from agents_topics.events import to_timestamp
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from benchmarks.peers_workload import Workload
from trueup.embedded.servers import Servers


def installation(embedded: Servers, folder: Path | str, **more: str) -> dict[str, str]:
    """The settings of an installation on these servers, its data in a folder; `more` wins."""
    return {
        "KAFKA_BOOTSTRAP": embedded.kafka_bootstrap,
        "DATABASE_URL": embedded.database_url,
        "TRUEUP_PREFIX": "",
        "TRUEUP_DATA_FOLDER": str(folder),
        **more,
    }


def load(connection: Connection, workload: Workload) -> None:
    """Produces every record of the workload."""
    parts = ((AGENT_ACTIONS, workload.actions), (AGENT_INTERACTIONS, workload.interactions))
    produce(connection, ((topic.name, *one) for topic, records in parts for one in records))


def produce(connection: Connection, records: Iterable[tuple[str, bytes, bytes]]) -> None:
    """Produces records (topic, key, value) in their order, keyed and partitioned by murmur2."""
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
    for topic, key, value in records:
        name = connection.topic(topic)
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

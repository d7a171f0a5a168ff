"""A worker meets headers and records that are out of the ordinary: names that are not UTF-8, ten
thousand of them, records of megabytes. It reads them, or refuses them, and their neighbours live.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from agents_topics.connection import Connection
from agents_topics.identifiers import tenant_id_of
from agents_topics.letters import POINTER
from agents_topics.topics import AGENT_ACTIONS
from sinks.postgres.migrate import migrate
from streams.header_names import read_any_header_name
from streams.topic_admin import create_topics
from trueup.topic_reader import TopicReader
from trueup.worker_process import WorkerProcess

PLAIN, GZIP = 0, 1
TENANT = tenant_id_of("acme")


class RawName(str):
    """A header's name whose bytes are no UTF-8."""

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfename"


RAW = ((RawName("name"), b"of a header"),)
MANY = tuple((f"h{number}", b"x") for number in range(10_000))
HEAVY = tuple((f"h{number}", b"x" * 100) for number in range(10_000))
LARGEST = AGENT_ACTIONS.message_bytes_max - 200
"""What is left of a batch for a value."""

Headers = Sequence[tuple[str, bytes | None]]


def batch(compression: int, *values: tuple[bytes, Headers]) -> bytes:
    """A batch of records with their headers."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2, compression_type=compression, is_transactional=0, producer_id=-1,
        producer_epoch=-1, base_sequence=-1, batch_size=1 << 26,
    )  # fmt: skip
    for offset, (value, headers) in enumerate(values):
        key = f"{TENANT}/c1".encode()
        builder.append(offset, time.time_ns() // 1_000_000, key, value, list(headers))
    return bytes(builder.build())


def action(number: int) -> bytes:
    about = {"event_id": f"a{number}", "action_type": "send_email", "predicted_confidence": 0.8}
    where = {"tenant_id": TENANT, "conversation_id": "c1", "occurred_at": "2026-02-01T09:00:00Z"}
    return json.dumps(about | where).encode()


async def produce(connection: Connection, topic: str, data: bytes) -> None:
    """The bytes as they are."""
    producer = AIOKafkaProducer(**connection.client_options())
    await producer.start()
    name = connection.topic(topic)
    await producer.partitions_for(name)
    leader = producer.client.cluster.leader_for_partition(TopicPartition(name, 0))
    request = ProduceRequest(None, 1, 5_000, [(name, [(0, data)])])
    answer = await producer.client.send(leader, request)
    await producer.stop()
    assert answer.topics[0][1][0][1] == 0


async def test_a_worker_reads_such_records_and_refuses_each_that_it_must_once_with_its_place(
    kafka_bootstrap: str, own_database_url: str, tmp_path: Path
) -> None:
    connection = Connection(bootstrap=kafka_bootstrap, prefix=f"names-{uuid.uuid4().hex[:8]}-")
    await create_topics(connection, 1)
    await asyncio.to_thread(migrate, own_database_url)
    settings = {
        "KAFKA_BOOTSTRAP": kafka_bootstrap, "DATABASE_URL": own_database_url,
        "TRUEUP_PREFIX": connection.prefix, "TRUEUP_PARTITIONS": "1",
        "TRUEUP_DATA_FOLDER": str(tmp_path),
    }  # fmt: skip
    batches = (
        batch(PLAIN, (action(1), ()), (action(2), RAW), (action(3), ())),
        batch(GZIP, (action(4), ()), (b"no JSON", RAW), (action(5), ())),
        batch(PLAIN, (action(6), MANY), (b"no JSON either", MANY)),
        batch(PLAIN, (b"x" * LARGEST, ())),
        batch(GZIP, (b"x" * (8 << 20), ()), (b"{}", HEAVY), (action(7), ())),
        batch(PLAIN, (action(8), ())),
    )
    for data in batches:
        await produce(connection, "agent-actions", data)
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    try:
        await worker.wait_until_ready()
        counts = await counts_once_applied(worker)
    finally:
        await asyncio.to_thread(worker.stop)

    assert counts["agent-actions/admitted"] == 8
    assert counts["agent-actions/dead"] == 5
    read_any_header_name()
    async with TopicReader(connection) as reader:
        spans = await reader.spans("dead-letters")
        letters = [letter async for letter in reader.records("dead-letters", spans)]
    copied, pointers = letters[:2], letters[2:]
    assert [letter.value for letter in copied] == [b"no JSON", b"no JSON either"]
    assert copied[0].headers[0] == ("\ufffd\ufffdname", b"of a header")
    assert copied[1].headers[: len(MANY)] == MANY
    assert [letter.value for letter in pointers] == [b""] * 3
    assert [letter.headers[0] for letter in pointers] == [
        (POINTER, f"agent-actions/0/{offset}".encode()) for offset in (8, 9, 10)
    ]
    assert '"task_reopens"' not in worker.log_file.read_text()


async def counts_once_applied(worker: WorkerProcess) -> dict[str, int]:
    async with asyncio.timeout(60):
        while True:
            tasks = (worker.status() or {}).get("tasks", ())
            for task in tasks:
                counts: dict[str, int] = task.get("counts", {})
                if sum(counts.values()) >= 13:
                    return counts
            await asyncio.sleep(0.2)

"""A record whose header has a name that is not UTF-8 is read, and its neighbours too."""

import asyncio
import json
import time
import uuid
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from agents_topics.connection import Connection
from agents_topics.identifiers import tenant_id_of
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


def batch(compression: int, *values: tuple[bytes, bool]) -> bytes:
    """A batch of records; those marked have such a header."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2, compression_type=compression, is_transactional=0, producer_id=-1,
        producer_epoch=-1, base_sequence=-1, batch_size=1 << 20,
    )  # fmt: skip
    for offset, (value, is_marked) in enumerate(values):
        headers = [(RawName("name"), b"of a header")] if is_marked else []
        key = f"{TENANT}/c1".encode()
        builder.append(offset, time.time_ns() // 1_000_000, key, value, headers)
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


async def test_the_worker_reads_such_a_record_and_the_copy_of_a_refused_one_says_so(
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
    plain = batch(PLAIN, (action(1), False), (action(2), True), (action(3), False))
    gzip = batch(GZIP, (action(4), False), (b"no JSON", True), (action(5), False))
    for data in (plain, gzip):
        await produce(connection, "agent-actions", data)
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    try:
        await worker.wait_until_ready()
        counts = await counts_once_applied(worker)
    finally:
        await asyncio.to_thread(worker.stop)

    assert counts["agent-actions/admitted"] == 5
    assert counts["agent-actions/dead"] == 1
    read_any_header_name()
    async with TopicReader(connection) as reader:
        letter = await reader.record_at("dead-letters", 0, 0)
    assert letter is not None
    assert letter.value == b"no JSON"
    assert letter.headers[0] == ("\ufffd\ufffdname", b"of a header")


async def counts_once_applied(worker: WorkerProcess) -> dict[str, int]:
    async with asyncio.timeout(60):
        while True:
            tasks = (worker.status() or {}).get("tasks", ())
            for task in tasks:
                counts: dict[str, int] = task.get("counts", {})
                if sum(counts.values()) >= 6:
                    return counts
            await asyncio.sleep(0.2)

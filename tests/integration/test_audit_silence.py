"""The audit over a real silence: what a worker found late after it is plausible by broker time."""

import asyncio
import json
import time
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents_topics.connection import connection_of
from agents_topics.events import to_timestamp
from agents_topics.policy_file import load_policy
from sinks.postgres.migrate import migrate
from streams.topic_admin import create_topics
from trueup.ledger import audit_database
from trueup.worker_process import WorkerProcess

TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
GRACE_MS = {"agent-actions": 1_000, "agent-interactions": 1_000}
IDLE_MS = 1_000


def action_of(event_id, at_ms):
    event = {
        "event_id": event_id,
        "tenant_id": TENANT,
        "conversation_id": "c1",
        "action_type": "send_email",
        "predicted_confidence": 0.5,
        "occurred_at": to_timestamp(at_ms),
    }
    return {"key": f"{TENANT}/c1".encode(), "value": json.dumps(event).encode(), "partition": 0}


async def late_entries(connection):
    reader = AIOKafkaConsumer(**connection.client_options(), isolation_level="read_committed")
    await reader.start()
    try:
        tp = TopicPartition(connection.topic("late-events"), 0)
        end = (await reader.end_offsets([tp]))[tp]
        reader.assign([tp])
        await reader.seek_to_beginning(tp)
        found = []
        while await reader.position(tp) < end:
            found += (await reader.getmany(tp, timeout_ms=200)).get(tp, ())
        return [json.loads(record.value) for record in found]
    finally:
        await reader.stop()


async def wait_for_entries(connection, count):
    deadline = time.monotonic() + 30
    while len(entries := await late_entries(connection)) < count:
        assert time.monotonic() < deadline, entries
        await asyncio.sleep(0.3)
    return entries


@pytest.mark.slow
async def test_a_record_late_after_a_silence_is_plausible_and_only_by_its_true_length(
    servers, own_database_url, tmp_path
):
    settings = {
        "KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
        "DATABASE_URL": own_database_url,
        "TRUEUP_PREFIX": f"q{uuid.uuid4().hex[:8]}-",
        "TRUEUP_DATA_FOLDER": str(tmp_path),
        "TRUEUP_PARTITIONS": "1",
        "TRUEUP_GRACE_S": "1",
        "TRUEUP_IDLE_AFTER_S": "1",
    }
    connection = connection_of(settings)
    await asyncio.to_thread(migrate, own_database_url)
    await create_topics(connection, 1)
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    topic = connection.topic("agent-actions")
    plain = AIOKafkaProducer(**connection.client_options())
    slow = AIOKafkaProducer(**connection.client_options(), transactional_id=f"{topic}-slow")
    await plain.start()
    await slow.start()

    async def audit(idle_after_ms):
        return await audit_database(
            connection, load_policy(None), own_database_url, GRACE_MS, idle_after_ms
        )

    try:
        await worker.wait_until_ready()
        began_ms = int(time.time() * 1000)
        await plain.send_and_wait(topic, **action_of("a1", began_ms))
        await asyncio.sleep(7)
        await plain.send_and_wait(topic, **action_of("a2", began_ms + 1_000))
        (entry,) = await wait_for_entries(connection, 1)
        exact, wrong = await audit(IDLE_MS), await audit(60_000)

        # Written now, seen four seconds later: a silence pauses meanwhile.
        async with slow.transaction():
            await slow.send_and_wait(topic, **action_of("a3", began_ms + 1_500))
            await asyncio.sleep(4)
        await wait_for_entries(connection, 2)
        with_transactions = await audit(IDLE_MS)
    finally:
        await plain.stop()
        await slow.stop()
        worker.stop()

    assert entry["reason"] == "after_silence"
    assert exact.is_exact, str(exact)
    assert exact.records["agent-actions"]["late"] == 1
    assert any("late-events" in found.where for found in wrong.differences), str(wrong)
    assert with_transactions.is_exact, str(with_transactions)

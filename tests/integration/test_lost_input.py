"""Input that the broker deletes before a running worker has read it is never skipped in silence."""

import asyncio
import json
import signal
import time
import uuid

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from agents_topics.connection import connection_of
from streams.topic_admin import create_topics
from trueup.worker_process import WorkerProcess

TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"


def action_of(event_id):
    event = {
        "event_id": event_id,
        "tenant_id": TENANT,
        "conversation_id": "c1",
        "action_type": "send_email",
        "predicted_confidence": 0.5,
        "occurred_at": "2026-01-05T00:00:00Z",
    }
    return {"key": f"{TENANT}/c1".encode(), "value": json.dumps(event).encode(), "partition": 0}


async def wait_for(worker, is_so):
    deadline_s = time.monotonic() + 30
    while True:
        status = await asyncio.to_thread(worker.status)
        if status and is_so(status["tasks"][0]):
            return status["tasks"][0]
        assert time.monotonic() < deadline_s, status
        await asyncio.sleep(0.2)


async def test_a_running_task_refuses_where_retention_overtook_it(kafka_bootstrap, tmp_path):
    settings = {
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "TRUEUP_PREFIX": f"l{uuid.uuid4().hex[:8]}-",
        "TRUEUP_DATA_FOLDER": str(tmp_path),
        "TRUEUP_PARTITIONS": "1",
        "TRUEUP_AGENTS": "outcome-resolver",
        "TRUEUP_SESSION_TIMEOUT_S": "45",
    }
    connection = connection_of(settings)
    topic = connection.topic("agent-actions")
    await create_topics(connection, 1)
    producer = AIOKafkaProducer(**connection.client_options())
    admin = AIOKafkaAdminClient(**connection.client_options())
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    await producer.start()
    await admin.start()
    try:
        await producer.send_and_wait(topic, **action_of("a0"))
        await worker.wait_until_ready()
        await wait_for(worker, lambda task: task["open"] == 1)
        worker.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.5)
        for number in range(1, 5):
            await producer.send_and_wait(topic, **action_of(f"a{number}"))
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(3)})
        worker.process.send_signal(signal.SIGCONT)
        task = await wait_for(worker, lambda task: task["state"] == "refused")
    finally:
        await producer.stop()
        await admin.close()
        worker.stop()

    assert "offsets 1 to 2 were deleted before they were applied" in task["problem"]

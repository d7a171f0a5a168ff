"""A producer of somebody else's leaves its transaction open on an input."""

import asyncio
import json
import time
import uuid

import pytest
from aiokafka import AIOKafkaProducer

from agents_topics.connection import connection_of
from agents_topics.events import to_timestamp
from agents_topics.policy_file import load_policy
from agents_topics.roster import RESOLVER
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from sinks.postgres.migrate import migrate
from streams.settings import Settings
from streams.topic_admin import create_topics
from trueup.emit import send_clock
from trueup.ledger import audit_database
from trueup.status import read_status
from trueup.status_text import lines_of
from trueup.worker_process import WorkerProcess

ACTIONS = AGENT_ACTIONS.name
JOINED = (ACTIONS, AGENT_INTERACTIONS.name)
TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
MONTHS_MS = 60 * 86_400_000
GRACE_MS = {"agent-actions": 1_000, "agent-interactions": 1_000}
HELD_S = 7
"""By then, with a second of grace, what waits would be late if the topic were called silent."""


def action_of(event_id, at_ms):
    event = {
        "event_id": event_id,
        "tenant_id": TENANT,
        "conversation_id": event_id,
        "action_type": "send_email",
        "predicted_confidence": 0.5,
        "occurred_at": to_timestamp(at_ms),
    }
    return {"key": f"{TENANT}/{event_id}".encode(), "value": json.dumps(event).encode()}


def resolver_of(worker):
    """The resolver task as the worker's page tells it."""
    told = worker.status() or {"tasks": []}
    return next((task for task in told["tasks"] if task["agent"] == RESOLVER.name), {})


async def until(seen):
    """Waits until `seen` says something, and returns it."""
    deadline_s = time.monotonic() + 30
    while not (found := await asyncio.to_thread(seen)):
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.2)
    return found


def settings_of(servers, url, folder):
    return {
        "KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
        "DATABASE_URL": url,
        "TRUEUP_PREFIX": f"open-{uuid.uuid4().hex[:8]}-",
        "TRUEUP_DATA_FOLDER": str(folder),
        "TRUEUP_PARTITIONS": "1",
        "TRUEUP_GRACE_S": "1",
        "TRUEUP_IDLE_AFTER_S": "1",
    }


def check_told(held, status, topic):
    """Worker and status say what waits behind offset 1, and since when; it is no lag."""
    assert held["lag"][ACTIONS] == 0
    unstable = held["unstable"][ACTIONS]
    assert (unstable["stable_end"], unstable["count"]) == (1, 2)
    assert time.time() * 1000 - unstable["since_ms"] > HELD_S * 500
    (told,) = status.open_transactions
    assert (told.topic, told.partition, told.first_offset, told.waiting) == (ACTIONS, 0, 1, 2)
    screen = "\n".join(lines_of(status))
    assert f"{topic}-0: 2 records from offset 1 on cannot be read" in screen
    assert f"abort --topic {topic} --partition 0 --start-offset 1" in screen


@pytest.mark.slow
@pytest.mark.parametrize("end", [pytest.param("committed", marks=pytest.mark.soak), "fenced"])
async def test_neither_silence_nor_a_clock_record_passes_what_an_open_transaction_holds_back(
    servers, own_database_url, tmp_path, end
):
    settings = settings_of(servers, own_database_url, tmp_path)
    connection = connection_of(settings)
    topic = connection.topic(ACTIONS)
    await asyncio.to_thread(migrate, own_database_url)
    await create_topics(connection, 1)
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    plain = AIOKafkaProducer(**connection.client_options())
    hanging = AIOKafkaProducer(**connection.client_options(), transactional_id=topic)
    successor = AIOKafkaProducer(**connection.client_options(), transactional_id=topic)
    await asyncio.gather(plain.start(), hanging.start())
    began_ms = time.time_ns() // 1_000_000 - MONTHS_MS
    actions = [action_of(f"a{number}", began_ms + number) for number in range(3)]

    def counted(name):
        return resolver_of(worker).get("counts", {}).get(name, 0)

    try:
        await worker.wait_until_ready()
        await plain.send_and_wait(topic, **actions[0])
        await until(lambda: counted(f"{ACTIONS}/admitted") == 1)
        await hanging.begin_transaction()
        await hanging.send_and_wait(topic, **actions[1])
        await plain.send_and_wait(topic, **actions[2])
        await send_clock(connection, to_timestamp(began_ms + MONTHS_MS), 1)
        await asyncio.sleep(HELD_S)
        held = resolver_of(worker)
        status = await read_status(connection, own_database_url, [worker.url], Settings())

        if end == "committed":
            await hanging.commit_transaction()
        else:
            await successor.start()
        expected = {"committed": 3, "fenced": 2}[end]
        await until(lambda: counted(f"{ACTIONS}/admitted") == expected)
        await until(lambda: counted("settled/expired") == expected)
        await until(lambda: resolver_of(worker)["unstable"][ACTIONS] is None)
        late = counted(f"{ACTIONS}/late")
        await asyncio.sleep(2)  # the audit looks at Postgres too
        report = await audit_database(
            connection, load_policy(None), own_database_url, GRACE_MS, 1_000
        )
    finally:
        for producer in (plain, hanging, successor):
            await producer.stop()
        worker.stop()

    assert held["times_ms"][ACTIONS] == began_ms
    assert held["next_offsets"]["control"] == 0
    check_told(held, status, topic)
    assert late == 0
    assert report.is_exact, str(report)


@pytest.mark.slow
async def test_markers_alone_at_a_logs_end_are_neither_lag_nor_life(
    servers, own_database_url, tmp_path
):
    """Of the interactions nothing but an aborted transaction was ever written."""
    settings = settings_of(servers, own_database_url, tmp_path)
    connection = connection_of(settings)
    await asyncio.to_thread(migrate, own_database_url)
    await create_topics(connection, 1)
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    name = connection.topic(ACTIONS)
    writer = AIOKafkaProducer(**connection.client_options(), transactional_id=name)
    await writer.start()
    began_ms = time.time_ns() // 1_000_000 - MONTHS_MS

    def has_paced():
        """Both times go on with the broker's clock, once a second of quiet is over."""
        times_ms = resolver_of(worker).get("times_ms", {}).values()
        return times_ms and min(times_ms) > began_ms + 1_000 and resolver_of(worker)

    try:
        await worker.wait_until_ready()
        async with writer.transaction():
            await writer.send(name, **action_of("a0", began_ms))
        for topic in JOINED:
            await writer.begin_transaction()
            for number in range(3):
                event = action_of(f"b{number}", began_ms + 20 * 86_400_000)
                await writer.send_and_wait(connection.topic(topic), **event)
            await writer.abort_transaction()
        seen = await until(has_paced)
        report = await audit_database(
            connection, load_policy(None), own_database_url, GRACE_MS, 1_000
        )
    finally:
        await writer.stop()
        worker.stop()

    assert max(seen["times_ms"].values()) < began_ms + 60_000
    assert set(seen["lag"].values()) == {0}
    assert set(seen["unstable"].values()) == {None}
    assert {n: count for n, count in seen["counts"].items() if count} == {f"{ACTIONS}/admitted": 1}
    assert report.is_exact, str(report)

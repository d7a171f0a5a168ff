"""The broker goes away under workers with lag: they reconnect by themselves, all is exact."""

import asyncio
import time

import aiokafka.client
import pytest

from agents_topics.connection import Connection
from streams.app import STOP_S_MAX
from streams.clients import KafkaClients
from streams.topic_admin import create_topics
from streams.transactions import Out, TaskProducer
from tests.faults.runs import LAG_MIN, Gauge
from trueup.embedded.kafka import EmbeddedKafka

LOG_LINES_MAX = 500
"""A person reads a worker's log of a minute without a broker; it was 330 lines a second."""


ATTEMPTS_MAX = 120
"""To connect, by one producer while its commit lasts: three loops, four times a second, for 8 s."""


def line_count(worker):
    return worker.log_file.read_bytes().count(b"\n")


async def into_mid_run(it, gauge):
    """Records are applied and many are not yet; returns how many."""
    for _ in range(20):
        await it.feed(12)
        applied, lag = await gauge.progress()
        if applied and lag >= LAG_MIN:
            return lag
    raise AssertionError("the workers never had lag in mid run")


@pytest.mark.parametrize(
    ("end", "away_s"),
    [
        pytest.param(EmbeddedKafka.kill, 4, marks=pytest.mark.slow),
        pytest.param(EmbeddedKafka.shut_down, 60, marks=pytest.mark.soak),
    ],
)
async def test_the_broker_may_be_away(own_kafka, own_database_url, run_on, chance, end, away_s):
    kafka = await asyncio.to_thread(own_kafka)
    it = run_on(kafka.bootstrap, own_database_url, chance.randrange(1_000), 5_000)
    await it.prepare()
    it.start("a")
    it.start("b")
    for worker in it.workers.values():
        await worker.wait_until_ready()
    processes = [worker.process for worker in it.workers.values()]

    async with Gauge(it.connection) as gauge:
        lag = await into_mid_run(it, gauge)
        await asyncio.to_thread(end, kafka)
    await asyncio.sleep(chance.uniform(away_s, 1.2 * away_s))
    await asyncio.to_thread(kafka.start)
    back_s = time.monotonic()
    for worker in it.workers.values():
        await worker.wait_until_ready()
    ready_s = time.monotonic() - back_s
    await it.feed(1)
    await it.settle(90)
    print(f"ended with lag {lag}; workers ready {ready_s:.1f} s after it was back")  # noqa: T201

    assert lag >= LAG_MIN
    assert [process.poll() for process in processes] == [None, None]
    assert [worker.process for worker in it.workers.values()] == processes
    assert all(lines < LOG_LINES_MAX for lines in map(line_count, it.workers.values()))
    await it.check()


@pytest.mark.soak
async def test_a_worker_told_to_stop_ends_also_without_a_broker(
    own_kafka, own_database_url, run_on, chance
):
    kafka = await asyncio.to_thread(own_kafka)
    it = run_on(kafka.bootstrap, own_database_url, chance.randrange(1_000), 200)
    await it.prepare()
    it.start("a")
    worker = it.workers["a"]
    await worker.wait_until_ready()
    await asyncio.to_thread(kafka.kill)

    worker.process.terminate()

    assert await asyncio.to_thread(worker.process.wait, 2 * STOP_S_MAX) in (0, 1)


@pytest.mark.soak
async def test_a_broker_that_is_away_is_asked_a_few_times_a_second(own_kafka, monkeypatch):
    kafka = await asyncio.to_thread(own_kafka)
    connection = Connection(bootstrap=kafka.bootstrap)
    await create_topics(connection, 1)
    outputs = {("outcomes", 0): [Out(b"key", b"value")]}
    producer = TaskProducer(KafkaClients(connection), "task", "group")
    await producer.open()
    await producer.commit(outputs, {})
    connect, attempts = aiokafka.client.create_conn, []

    async def counted(*args, **options):
        attempts.append(args)
        return await connect(*args, **options)

    monkeypatch.setattr(aiokafka.client, "create_conn", counted)
    await asyncio.to_thread(kafka.kill)
    with pytest.raises(TimeoutError):
        await producer.commit(outputs, {})
    await producer.close()

    assert 0 < len(attempts) <= ATTEMPTS_MAX


@pytest.mark.soak
async def test_a_transactional_id_that_has_expired_costs_a_reopening_and_nothing_else(
    own_kafka, own_database_url, run_on, chance
):
    """A cluster forgets an id that wrote nothing for a week; here for two seconds."""
    settings = (
        "transactional.id.expiration.ms=2000\n"
        "producer.id.expiration.ms=2000\n"
        "producer.id.expiration.check.interval.ms=500\n"
        "transaction.remove.expired.transaction.cleanup.interval.ms=500\n"
    )
    kafka = await asyncio.to_thread(own_kafka, settings)
    it = run_on(kafka.bootstrap, own_database_url, chance.randrange(1_000), 400)
    await it.prepare()
    it.start("a")
    worker = it.workers["a"]
    await worker.wait_until_ready()
    await it.feed(2)
    calibrators = [t for t in worker.status()["tasks"] if t["agent"] == "calibrator"]
    await asyncio.sleep(6)  # the calibrators have nothing to write meanwhile
    await it.feed(1)
    await it.settle(60)

    assert calibrators
    lines = worker.log_file.read_text()
    assert "InvalidProducerIdMapping" in lines or "UnknownProducerId" in lines, lines[-3000:]
    assert "task_failed" not in lines
    await it.check()

"""Workers killed and stopped in mid stream: the ledger stays exact, nothing settles twice."""

import asyncio
import json
import os
import random
import signal
import time
import uuid

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents_topics.connection import connection_of
from agents_topics.events import Outcome
from agents_topics.policy import load_policy
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import run_sql
from streams.topic_admin import create_topics
from trueup.demo_workload import workload
from trueup.emit import send_clock, send_records
from trueup.ledger import audit_database
from trueup.worker_process import WorkerProcess

GRACE_MS = {"agent-actions": 3_600_000, "agent-interactions": 3_600_000}
STRANGER = msgspec.json.encode(
    Outcome(
        id="00000000-0000-5000-8000-000000000000",
        tenant_id="a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5",
        conversation_id="c",
        action_id="a",
        action_type="stranger",
        outcome_type="stranger",
        predicted_confidence=0.5,
        confidence_source="unknown",
        status="positive",
        score=1.0,
        signal_source="automatic",
        decided_by="e",
        created_at_ms=0,
        window_expires_at_ms=1,
        settled_at_ms=1,
        resolved_at_ms=0,
        known_at_ms=0,
        revision=0,
        is_settled=True,
        calibrates=True,
        is_lead=True,
        expired_counts=True,
        policy_version="x",
    )
)


class Run:
    """Workers of one prefix on the shared servers, and the workload that they settle."""

    def __init__(self, servers, database_url, tmp_path, seed, actions):
        self.settings = {
            "KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
            "DATABASE_URL": database_url,
            "TRUEUP_PREFIX": f"f{uuid.uuid4().hex[:8]}-",
        }
        self.url = database_url
        self.connection = connection_of(self.settings)
        self.played = workload(seed, actions)
        self.tmp_path = tmp_path
        self.workers = {}

    async def prepare(self):
        await asyncio.to_thread(migrate, self.url)
        await create_topics(self.connection, 4)

    def start(self, name):
        folder = self.tmp_path / name
        folder.mkdir(exist_ok=True)
        settings = {**self.settings, "TRUEUP_DATA_FOLDER": str(folder)}
        self.workers[name] = WorkerProcess(settings, folder / "worker.log")

    async def feed(self, part, parts):
        size = len(self.played.records) // parts + 1
        await send_records(self.connection, self.played.records[part * size : (part + 1) * size])

    async def settle(self, seconds):
        """The clock record, then every worker's word and Postgres' that all is settled."""
        await send_clock(self.connection, self.played.clock_until, 4)
        expected = sum(self.played.expected.by_status.values())
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            count = await run_sql(
                self.url, "SELECT count(*) FROM tenant.outcome_records WHERE is_settled"
            )
            bins = await run_sql(
                self.url,
                "SELECT coalesce(sum(n + excluded_n), 0) FROM tenant.calibration_stream_bins"
                " WHERE record_set = 'all'",
            )
            if count.rows[0][0] == bins.rows[0][0] == expected:
                return
            await asyncio.sleep(0.5)
        states = [worker.status() for worker in self.workers.values()]
        raise AssertionError((count.rows, bins.rows, expected, json.dumps(states)[:3000]))

    async def check(self):
        """By status as planted, no id settled twice, and the audit's word."""
        assert await settled_twice(self.connection) == 0
        rows = (
            await run_sql(
                self.url,
                "SELECT outcome_status, count(*) FROM tenant.outcome_records"
                " WHERE is_settled GROUP BY 1",
            )
        ).rows
        assert dict(rows) == dict(self.played.expected.by_status)
        report = await audit_database(self.connection, load_policy(None), self.url, GRACE_MS)
        assert report.is_exact, str(report)

    def stop(self):
        for worker in self.workers.values():
            worker.stop()


async def settled_twice(connection):
    """How many ids have more than one settled record in `outcomes`, read committed."""
    reader = AIOKafkaConsumer(**connection.client_options(), isolation_level="read_committed")
    await reader.start()
    seen, twice = set(), 0
    try:
        for partition in range(4):
            tp = TopicPartition(connection.topic("outcomes"), partition)
            end = (await reader.end_offsets([tp]))[tp]
            reader.assign([tp])
            await reader.seek_to_beginning(tp)
            while await reader.position(tp) < end:
                for record in (await reader.getmany(tp, timeout_ms=200)).get(tp, ()):
                    if json.loads(record.value)["is_settled"]:
                        twice += record.key in seen
                        seen.add(record.key)
    finally:
        await reader.stop()
    return twice


@pytest.fixture
def run(servers, own_database_url, tmp_path):
    made = []

    def make(seed, actions):
        made.append(Run(servers, own_database_url, tmp_path, seed, actions))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.mark.slow
@pytest.mark.timeout(420)
async def test_two_workers_survive_eight_kills_and_stops(run):
    seed = int(os.environ.get("TRUEUP_FAULT_SEED", "11"))
    print(f"TRUEUP_FAULT_SEED={seed}")  # noqa: T201
    chance = random.Random(seed)
    it = run(seed, 4_000)
    await it.prepare()
    it.start("a")
    it.start("b")
    await it.workers["a"].wait_until_ready()

    for part in range(8):
        await it.feed(part, 8)
        name = chance.choice("ab")
        worker = it.workers[name]
        await asyncio.sleep(chance.uniform(0, 1.5))
        if part % 4 == 3:
            worker.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(8)
            worker.process.send_signal(signal.SIGCONT)
        else:
            worker.process.kill()
            worker.process.wait()
            it.start(name)
            await asyncio.sleep(chance.uniform(0, 4))
        for other, held in list(it.workers.items()):
            if held.process.poll() is not None:
                it.start(other)
    await it.settle(150)

    await it.check()


@pytest.mark.slow
async def test_a_worker_told_to_stop_drains_and_its_successor_goes_on(run):
    it = run(12, 1_000)
    await it.prepare()
    it.start("a")
    await it.workers["a"].wait_until_ready()
    await it.feed(0, 2)

    began = time.monotonic()
    it.workers["a"].process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(it.workers["a"].process.wait, 20)
    seconds = time.monotonic() - began
    it.start("b")
    await it.feed(1, 2)
    await it.settle(90)

    assert code == 0
    assert seconds < 10
    await it.check()


@pytest.mark.slow
async def test_an_aborted_transaction_in_mid_stream_leaves_the_second_stage_unmoved(run):
    it = run(13, 400)
    await it.prepare()
    it.start("a")
    await it.workers["a"].wait_until_ready()
    await it.feed(0, 2)
    topic = it.connection.topic("settled-outcomes")
    producer = AIOKafkaProducer(
        **it.connection.client_options(), transactional_id=f"{topic}-stranger"
    )
    await producer.start()

    await producer.begin_transaction()
    for partition in range(4):
        for source in range(4):
            promise = json.dumps({"source": source, "until_ms": 2**50}).encode()
            await producer.send_and_wait(topic, promise, partition=partition)
        await producer.send_and_wait(topic, STRANGER, key=b"stranger", partition=partition)
    await asyncio.sleep(2)
    await producer.abort_transaction()
    await producer.stop()
    await it.feed(1, 2)
    await it.settle(60)

    await it.check()
    rows = (await run_sql(it.url, "SELECT count(*) FROM tenant.calibration_stream_bins")).rows
    strangers = await run_sql(
        it.url,
        "SELECT count(*) FROM tenant.calibration_stream_bins WHERE action_type = 'stranger'",
    )
    assert rows[0][0] > 0
    assert strangers.rows[0][0] == 0

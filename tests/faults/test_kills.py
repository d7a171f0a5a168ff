"""Workers killed and stopped in mid stream: the ledger stays exact, nothing settles twice."""

import asyncio
import json
import signal
import time
from dataclasses import dataclass

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from agents_topics.events import Outcome
from sinks.postgres.queries import run_sql
from tests.faults.runs import LAG_MIN, Gauge, resolver_numbers

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

WAVE = 1_000
"""Records that come at once, faster than they are worked off."""


@dataclass(frozen=True)
class Fault:
    """One blow: to whom, after how long, in the middle of a transaction or whenever, and what.

    `frozen_s` is how long the worker stands still (SIGSTOP); None: it is killed (SIGKILL).
    """

    name: str
    after_s: float
    in_transaction: bool
    frozen_s: float | None = None


def storm_of(chance):
    """Eight faults in an order of the seed's.

    A worker that stands still is longer away than its session (6 s), so that another takes over;
    the one in mid transaction also longer than a transaction may stay open (10 s).
    """
    kinds = [(True, None), (False, None)] * 3 + [(False, 8.0), (True, 11.0)]
    chance.shuffle(kinds)
    return [Fault(chance.choice("ab"), chance.uniform(0.5, 4.5), *kind) for kind in kinds]


async def freeze(it, gauge, fault, chance):
    """The worker stands still, where the fault wants it; returns the lag at that moment.

    Whether it stands in the middle of a transaction shows only once it stands; so it is frozen
    and let go until it does, with new records whenever it has caught up. What is open while it
    stands stays open: it is the frozen worker's own.
    """
    process = it.workers[fault.name].process
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        numbers = resolver_numbers(await it.status(fault.name)) if fault.in_transaction else ()
        await asyncio.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGSTOP)
        _, lag = await gauge.progress()
        if not fault.in_transaction:
            return lag
        if lag >= LAG_MIN and await gauge.open_transactions(numbers):
            await asyncio.sleep(0.05)  # a marker that was under way has come by now
            if await gauge.open_transactions(numbers):
                return lag
        if lag < LAG_MIN and numbers:
            await it.feed_records(WAVE)
        process.send_signal(signal.SIGCONT)
    raise AssertionError(f"never in a transaction with lag: {fault}, {await it.states()}")


async def strike(it, gauge, fault, chance):
    """The fault has happened, and every worker's process runs; returns the lag when it hit."""
    worker = it.workers[fault.name].process
    lag = await freeze(it, gauge, fault, chance)
    print(f"{fault}: lag {lag}")  # noqa: T201
    if fault.frozen_s is None:
        worker.kill()
        worker.wait()
    else:
        await asyncio.sleep(fault.frozen_s)
        worker.send_signal(signal.SIGCONT)
    for name, held in list(it.workers.items()):
        if held.process.poll() is not None:  # a zombie may also end itself
            it.start(name)
    return lag


@pytest.mark.slow
@pytest.mark.timeout(420)
async def test_two_workers_survive_eight_kills_and_stops(run, chance):
    it = run(chance.randrange(1_000), 8_000)
    storm = storm_of(chance)
    await it.prepare()
    it.start("a")
    it.start("b")
    await it.workers["a"].wait_until_ready()

    async with Gauge(it.connection) as gauge:
        lags = []
        for fault in storm:
            await asyncio.sleep(fault.after_s)
            await it.feed_records(WAVE)
            lags.append(await strike(it, gauge, fault, chance))
    await it.feed(1)
    await it.settle(150)

    async with Gauge(it.connection) as gauge:
        aborted = await gauge.aborted()
    print(f"lags {lags}, aborted records {dict(aborted)}")  # noqa: T201
    assert sum(lag >= LAG_MIN for lag in lags) >= len(storm) / 2
    assert aborted.total() > 0
    await it.check()


@pytest.mark.slow
async def test_a_worker_told_to_stop_drains_and_its_successor_goes_on(run):
    it = run(12, 1_000)
    await it.prepare()
    it.start("a")
    await it.workers["a"].wait_until_ready()
    await it.feed(2)

    began = time.monotonic()
    it.workers["a"].process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(it.workers["a"].process.wait, 20)
    seconds = time.monotonic() - began
    it.start("b")
    await it.feed(2)
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
    await it.feed(2)
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
    await it.feed(2)
    await it.settle(60)

    await it.check()
    rows = (await run_sql(it.url, "SELECT count(*) FROM tenant.calibration_stream_bins")).rows
    strangers = await run_sql(
        it.url,
        "SELECT count(*) FROM tenant.calibration_stream_bins WHERE action_type = 'stranger'",
    )
    assert rows[0][0] > 0
    assert strangers.rows[0][0] == 0

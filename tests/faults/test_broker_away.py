"""The broker is killed under workers with lag: they reconnect by themselves, and all is exact."""

import asyncio
import time

import pytest

from tests.faults.runs import LAG_MIN, Gauge


async def in_mid_run(gauge):
    """Records are applied and many are not yet; returns how many."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        applied, lag = await gauge.progress()
        if applied and lag >= LAG_MIN:
            return lag
    raise AssertionError("the workers never had lag in mid run")


@pytest.mark.slow
async def test_workers_outlive_a_killed_broker(own_kafka, own_database_url, run_on, chance):
    kafka = await asyncio.to_thread(own_kafka)
    it = run_on(kafka.bootstrap, own_database_url, chance.randrange(1_000), 6_000)
    await it.prepare()
    it.start("a")
    it.start("b")
    for worker in it.workers.values():
        await worker.wait_until_ready()
    processes = [worker.process for worker in it.workers.values()]

    async with Gauge(it.connection) as gauge:
        # The producer goes on too: what it could not send it sends when the broker is back.
        feeding = asyncio.create_task(it.feed(2))
        lag = await in_mid_run(gauge)
        kafka.kill()
    await asyncio.sleep(chance.uniform(0, 4))
    await asyncio.to_thread(kafka.start)
    back_s = time.monotonic()
    await feeding
    for worker in it.workers.values():
        await worker.wait_until_ready()
    ready_s = time.monotonic() - back_s
    await it.feed(2)
    await it.settle(90)
    print(f"killed with lag {lag}; workers ready {ready_s:.1f} s after it was back")  # noqa: T201

    assert lag >= LAG_MIN
    assert [process.poll() for process in processes] == [None, None]
    assert [worker.process for worker in it.workers.values()] == processes
    await it.check()

"""Workers whose clocks are wrong: what settles is the same, for time comes with the records."""

import asyncio

import pytest

from agents_topics.roster import RESOLVER


async def told_ms(it, name):
    """When a worker's page says that a resolver was last up to date, by its own clock."""
    tasks = (await it.status(name))["tasks"]
    return max(t["applied_until_ms"] for t in tasks if t["agent"] == RESOLVER.name)


@pytest.mark.soak
async def test_workers_an_hour_ahead_and_an_hour_behind_change_no_result(run, chance):
    it = run(chance.randrange(1_000), 3_000)
    await it.prepare()
    for name, hours in (("ahead", "1"), ("behind", "-1")):
        it.start(name, module=("-m", "tests.faults.skewed_worker", hours))
    for worker in it.workers.values():
        await worker.wait_until_ready()
    await it.feed(3)
    await asyncio.sleep(12)  # quiet, so that times follow a clock: the broker's
    apart_ms = await told_ms(it, "ahead") - await told_ms(it, "behind")

    it.workers["ahead"].process.kill()
    await it.feed(3)
    it.start("ahead", module=("-m", "tests.faults.skewed_worker", "-1"))
    await it.feed(2)
    await it.settle(120)

    assert apart_ms > 7_000_000
    await it.check()

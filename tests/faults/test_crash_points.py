"""A worker dies at a named point; the next one finishes: exact, and nothing settled twice."""

import asyncio
import signal

import pytest

from tests.faults.crashing_worker import (
    AFTER_COMMIT,
    BEFORE_SINK_COMMIT,
    CRASHING,
    HALF_SENT,
    POINTS,
    arm,
    crashed,
    disarm,
)
from tests.faults.runs import Gauge

SLOT = {"TRUEUP_INSTANCE_ID": "slot-a"}
"""A name in the group, so that nobody waits for the dead worker's session to end."""
DEFAULT = (HALF_SENT, AFTER_COMMIT, BEFORE_SINK_COMMIT)
"""The points of the default run; the simulation dies at all of them."""


async def die_at(it, point, passing):
    """The worker `a` has taken records and died at the point; returns what it told of it."""
    arm(it.folder("a"), point, passing)
    it.start("a", CRASHING, **SLOT)
    await it.workers["a"].wait_until_ready()
    await it.feed(2)
    code = await asyncio.to_thread(it.workers["a"].process.wait, 30)
    assert code == -signal.SIGKILL
    return crashed(it.folder("a"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", [pytest.param(p, marks=() if p in DEFAULT else pytest.mark.soak) for p in POINTS]
)
async def test_a_worker_may_die_at(run, chance, point):
    it = run(chance.randrange(1_000), 400)
    await it.prepare()

    told = await die_at(it, point, chance.randint(1, 4))
    it.start("a", **SLOT)
    await it.feed(2)
    await it.settle(60)

    assert told.startswith(point)
    async with Gauge(it.connection) as gauge:
        assert (await gauge.aborted()).total() > 0 or point != HALF_SENT
    await it.check()


@pytest.mark.soak
async def test_a_point_that_is_not_armed_is_passed_by(run):
    it = run(5, 200)
    await it.prepare()
    disarm(it.folder("a"))
    it.start("a", CRASHING, **SLOT)
    await it.feed(1)
    await it.settle(60)
    arm(it.folder("a"), AFTER_COMMIT, 2)

    code = await asyncio.to_thread(it.workers["a"].process.wait, 30)

    assert code == -signal.SIGKILL  # the same process, once it is armed
    await it.check()

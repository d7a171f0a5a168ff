"""Workers of this release and of a next one share a group under load; then one takes it back.

Of the next release only the format of the state is known: it reads ours, we do not read its.
"""

import asyncio
import re
import shlex
import time

import pytest

from tests.command_line import run_trueup
from tests.faults.next_release import NEXT, next_release
from tests.faults.runs import Gauge

SHARED_PARTS = 12
SHARED_S = 60
SETTLED_S = 90


async def problems(it, name, seconds):
    """What a worker's tasks say that refuse; waits for one."""
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        tasks = (await it.status(name) or {}).get("tasks", ())
        if said := [task["problem"] for task in tasks if task["state"] == "refused"]:
            return said
        await asyncio.sleep(0.2)
    raise AssertionError(await it.states())


async def applied(it):
    """All that was sent is applied."""
    async with Gauge(it.connection) as gauge, asyncio.timeout(60):
        await gauge.all_applied()


@pytest.mark.soak
async def test_two_releases_share_a_group_and_the_older_one_refuses_what_it_cannot_read(
    run, tmp_path
):
    it = run(seed=13, actions=1_200)
    await it.prepare()
    it.start("old")
    await it.workers["old"].wait_until_ready()
    await it.feed(SHARED_PARTS * 2)
    it.start("next", **next_release(tmp_path / "source"))
    await it.workers["next"].wait_until_ready()
    for _ in range(SHARED_PARTS):
        await it.feed(SHARED_PARTS * 2)
        await asyncio.sleep(SHARED_S / SHARED_PARTS)
    shared = await it.states()
    await asyncio.to_thread(it.workers["next"].stop)

    refused = await problems(it, "old", 30)
    it.start("next", PYTHONPATH=str(tmp_path / "source"))
    await asyncio.to_thread(it.workers["old"].stop)
    await it.workers["next"].wait_until_ready()
    await it.feed(4)
    await applied(it)
    await asyncio.to_thread(it.workers["next"].stop)
    (told,) = {command for text in refused for command in re.findall(r"`trueup (.*?)`", text)}
    back = await asyncio.to_thread(
        lambda: run_trueup(it.tmp_path, *shlex.split(told), settings=it.settings)
    )
    it.start("old")
    await it.workers["old"].wait_until_ready()
    await it.feed(1)
    await it.settle(SETTLED_S)

    assert {state for tasks in shared.values() for state, *_ in tasks.values()} == {"running"}
    assert all(len(tasks) > 2 for tasks in shared.values()), "both had a part"
    assert all(f"has format {NEXT}, this release reads {NEXT - 1}" in text for text in refused)
    assert back.returncode == 0, back.stderr
    assert "made   " in back.stdout
    await it.check()

"""A second worker comes and goes: what stays keeps its state, what comes back is restored."""

import asyncio
import json
import time

import pytest

from agents_topics.roster import RESOLVER
from tests.faults.runs import PARTITIONS

UNOWNED_S_MAX = 30


def opened(it, name):
    """By task, whether its state was kept at each opening, in order, as the worker's log tells."""
    found = {}
    for line in (it.tmp_path / name / "worker.log").read_text().splitlines():
        if "task_opened" in line:
            told = json.loads(line)
            found.setdefault(told["task"], []).append(told["was_kept"])
    return found


async def test_state_is_kept_through_a_rebalance_and_restored_after_another_owner(
    run,
):
    it = run(41, 1200)
    await it.prepare()
    it.start("first")
    await it.workers["first"].wait_until_ready()
    await it.feed(3)
    await asyncio.sleep(3)
    it.start("second")
    await it.workers["second"].wait_until_ready()
    await it.feed(3)
    await asyncio.sleep(3)
    await asyncio.to_thread(it.workers["second"].stop)
    await it.feed(3)
    await it.settle(90)
    await it.check()

    first = {n: kept for n, kept in opened(it, "first").items() if "publisher" not in n}
    stayed = [kept for kept in first.values() if len(kept) >= 3]
    came_back = [kept for kept in first.values() if len(kept) == 2]
    assert stayed, first
    assert all(kept[:3] == [False, True, True] for kept in stayed), first
    assert came_back, first
    assert all(kept == [False, False] for kept in came_back), first
    assert not any(any(kept) for kept in opened(it, "second").values())


async def watch(it, unowned_s):
    """Notes for how long each partition of the resolver has been at work on no worker."""
    since_s = dict.fromkeys(range(PARTITIONS), time.monotonic())
    while True:
        for name in list(it.workers):
            for task in ((await it.status(name)) or {"tasks": ()})["tasks"]:
                if task["agent"] == RESOLVER.name and task["state"] == "running":
                    since_s[task["partition"]] = time.monotonic()
        for number, at_s in since_s.items():
            unowned_s[number] = max(unowned_s[number], time.monotonic() - at_s)
        await asyncio.sleep(0.25)


@pytest.mark.soak
async def test_workers_may_join_and_leave_every_few_seconds(run, chance):
    """By the word of their pages: a partition that opens is not at work yet."""
    it = run(chance.randrange(1_000), 3_000)
    await it.prepare()
    it.start("stays")
    await it.workers["stays"].wait_until_ready()
    unowned_s = dict.fromkeys(range(PARTITIONS), 0.0)
    watching = asyncio.create_task(watch(it, unowned_s))

    for number in range(8):
        it.start(f"guest{number}")
        await it.feed_records(400)
        await asyncio.sleep(chance.uniform(3, 9))
        await asyncio.to_thread(it.workers[f"guest{number}"].stop)
    await it.feed(1)
    await it.settle(120)
    watching.cancel()
    print(f"longest without an owner: {unowned_s}")  # noqa: T201

    assert max(unowned_s.values()) < UNOWNED_S_MAX
    await it.check()

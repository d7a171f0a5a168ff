"""A second worker comes and goes: what stays keeps its state, what comes back is restored."""

import asyncio
import json


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

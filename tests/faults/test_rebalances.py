"""A second worker comes and goes: what stays keeps its state, what comes back is restored."""

import asyncio
import json

from tests.faults.test_kills import Run


def opened(run, name):
    """By task, whether its state was kept at each opening, in order, as the worker's log tells."""
    found = {}
    for line in (run.tmp_path / name / "worker.log").read_text().splitlines():
        if "task_opened" in line:
            told = json.loads(line)
            found.setdefault(told["task"], []).append(told["was_kept"])
    return found


async def test_state_is_kept_through_a_rebalance_and_restored_after_another_owner(
    servers, database_url, tmp_path
):
    run = Run(servers, database_url, tmp_path, seed=41, actions=1200)
    await run.prepare()
    try:
        run.start("first")
        await run.workers["first"].wait_until_ready()
        await run.feed(0, 3)
        await asyncio.sleep(3)
        run.start("second")
        await run.workers["second"].wait_until_ready()
        await run.feed(1, 3)
        await asyncio.sleep(3)
        await asyncio.to_thread(run.workers["second"].stop)
        await run.feed(2, 3)
        await run.settle(90)
        await run.check()
    finally:
        for worker in run.workers.values():
            worker.stop()

    first = {n: kept for n, kept in opened(run, "first").items() if "publisher" not in n}
    stayed = [kept for kept in first.values() if len(kept) >= 3]
    came_back = [kept for kept in first.values() if len(kept) == 2]
    assert stayed, first
    assert all(kept[:3] == [False, True, True] for kept in stayed), first
    assert came_back, first
    assert all(kept == [False, False] for kept in came_back), first
    assert not any(any(kept) for kept in opened(run, "second").values())

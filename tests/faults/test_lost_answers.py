"""Answers to commits are lost on their way: the worker cannot know that its steps count."""

import asyncio

import pytest

from tests.faults.losing_proxy import LISTENERS, LosingProxy
from tests.faults.runs import PARTITIONS
from trueup.embedded.ports import free_port

LOST_S = 10
"""Longer than a task waits for its transaction (8 s): answers to the client's own tries go too."""


@pytest.mark.soak
@pytest.mark.parametrize("fate", ["cut", "silent"])
async def test_nothing_is_doubled_where_answers_to_commits_are_lost(
    own_kafka, own_database_url, run_on, chance, fate
):
    broker_port = free_port()
    proxy_port = free_port(avoid=frozenset({broker_port}))
    listeners = LISTENERS.format(broker_port=broker_port, proxy_port=proxy_port)
    kafka = await asyncio.to_thread(own_kafka, listeners)
    it = run_on(kafka.bootstrap, own_database_url, chance.randrange(1_000), 2_000)
    await it.prepare()
    async with LosingProxy().between(proxy_port, broker_port) as proxy:
        it.start("a", KAFKA_BOOTSTRAP=f"127.0.0.1:{proxy_port}")
        worker = it.workers["a"]
        await worker.wait_until_ready()
        for _ in range(2):
            await it.feed(4)
            proxy.fate = fate
            await it.feed(4)
            await asyncio.sleep(LOST_S)
            proxy.fate = None
            await worker.wait_until_ready()
        lost_count, unknown = proxy.lost_count, worker.status()["transactions"]["unknown"]
        await it.feed(1)
        await it.settle(90)
        it.stop()
    print(f"answers lost {lost_count}, transactions unknown {unknown}")  # noqa: T201

    assert lost_count >= unknown >= PARTITIONS
    assert "task_failed" not in worker.log_file.read_text()
    await it.check()

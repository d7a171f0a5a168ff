"""Partitions are added under a running worker: it is told, and what it has goes on."""

import asyncio
import time

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from agents_topics.topics import TOPICS
from tests.faults.runs import PARTITIONS
from tests.faults.test_postgres_away import page
from trueup.demo_workload import ACTIONS_MIN

NOTICED_S_MAX = 360
"""Kafka's clients look at their topics every five minutes."""


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_an_added_partition_is_refused_and_the_others_go_on(run):
    it = run(seed=3, actions=ACTIONS_MIN)
    await it.prepare()
    it.start("a")
    worker = it.workers["a"]
    await worker.wait_until_ready()
    admin = AIOKafkaAdminClient(**it.connection.client_options())
    await admin.start()
    await admin.create_partitions(
        {it.connection.topic(topic.name): NewPartitions(PARTITIONS + 1) for topic in TOPICS}
    )
    await admin.close()

    deadline_s = time.monotonic() + NOTICED_S_MAX
    while (health := page(worker, "healthz"))[0] == 200:
        assert time.monotonic() < deadline_s, worker.status()
        await asyncio.sleep(1)
    await asyncio.sleep(10)
    health = page(worker, "healthz")
    states = {task["name"]: task["state"] for task in worker.status()["tasks"]}

    added = {f"{name}-{PARTITIONS}" for name in ("outcome-resolver", "calibrator", "publisher")}
    assert health[1]["status"] == "failed"
    told = health[1]["problems"]
    assert set(told) == added
    assert all("partitions were added" in problem for problem in told.values())
    assert {name for name, state in states.items() if state == "running"} == set(states) - added
    assert len(states) == 3 * (PARTITIONS + 1)

"""Each alert fires by a real fault: a real worker, scraped by a real Prometheus with our rules."""

import asyncio
import json
import time
import uuid
from pathlib import Path

import pytest
import yaml
from aiokafka import AIOKafkaProducer

from agents_topics.events import to_timestamp
from agents_topics.identifiers import key_of
from agents_topics.roster import RESOLVER
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from streams.partitioner import partitions_of
from tests.faults.runs import PARTITIONS
from tests.prometheus import Prometheus
from trueup.demo_workload import ACTIONS_MIN

RULES = (Path(__file__).parents[2] / "docker" / "alerts.yml").read_text()
ALERTS = {
    "TrueupTaskNotReady",
    "TrueupWatermarkLag",
    "TrueupDeadLetters",
    "TrueupSinkBehind",
    "TrueupRepeatedRestores",
}
"""What faults make fire; what outcomes make fire is tried on scores (`unit/test_alerts`)."""
DAY_MS = 86_400_000
TENANT = str(uuid.uuid4())
FENCED, BEHIND = 0, 3
"""The partitions whose task is fenced, and in which a producer's clock is behind."""


def hurried(rules):
    """The same expressions, true for a moment, and five seconds for five minutes."""
    told = yaml.safe_load(rules)
    for rule in told["groups"][0]["rules"]:
        rule.pop("for", None)
        rule["expr"] = rule["expr"].replace("> 300", "> 5")
    return yaml.safe_dump(told)


def conversation_in(partition):
    """A conversation of the partition."""
    names = [f"c{number}" for number in range(100)]
    keys = [key_of(TENANT, name).encode() for name in names]
    return names[list(partitions_of(keys, PARTITIONS)).index(partition)]


def told(topic, partition, ago_ms):
    """An event of so long ago, as a producer's record."""
    event = {
        "event_id": uuid.uuid4().hex,
        "tenant_id": TENANT,
        "conversation_id": conversation_in(partition),
        "occurred_at": to_timestamp(time.time_ns() // 1_000_000 - ago_ms),
    }
    if topic is AGENT_ACTIONS:
        event |= {"action_type": "send_email", "predicted_confidence": 0.5}
    else:
        event |= {"kind": "reply_received"}
    key = key_of(TENANT, event["conversation_id"]).encode()
    return {"key": key, "value": json.dumps(event).encode(), "partition": partition}


async def send(connection, partition, ago_ms=0):
    """An action and a reply, of so long ago by their producer's clock."""
    async with AIOKafkaProducer(**connection.client_options()) as producer:
        for topic in (AGENT_ACTIONS, AGENT_INTERACTIONS):
            record = told(topic, partition, ago_ms)
            await producer.send_and_wait(connection.topic(topic.name), **record)


async def poison(connection):
    """Records that are no events."""
    async with AIOKafkaProducer(**connection.client_options()) as producer:
        for number in range(100):
            name = connection.topic(AGENT_ACTIONS.name)
            await producer.send_and_wait(name, b"no event", key=b"k%d" % number)


async def fence(connection, worker, times):
    """Another producer takes the task's transactional id, again when the task has it back."""
    for _ in range(times):
        before = restores(worker)
        name = connection.topic(f"{RESOLVER.transactional_ids}{FENCED}")
        async with AIOKafkaProducer(**connection.client_options(), transactional_id=name):
            pass
        deadline_s = time.monotonic() + 30
        while restores(worker) == before:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.2)
        await asyncio.sleep(1.5)  # a scrape sees each


def restores(worker):
    counted = worker.status()["restores"]
    return sum(row["count"] for row in counted if row["agent"] == RESOLVER.name)


async def fired(prometheus, wanted, seconds):
    """The labels of the alerts, once all that are wanted fire."""
    deadline_s = time.monotonic() + seconds
    while True:
        firing = await asyncio.to_thread(prometheus.firing)
        if wanted <= {labels["alertname"] for labels in firing}:
            return firing
        assert time.monotonic() < deadline_s, firing
        await asyncio.sleep(1)


@pytest.mark.parametrize(
    ("rules", "seconds"),
    [
        pytest.param(hurried(RULES), 60, marks=pytest.mark.soak, id="hurried"),
        pytest.param(
            RULES, 600, marks=[pytest.mark.soak, pytest.mark.timeout(900)], id="as-written"
        ),
    ],
)
async def test_each_alert_fires_by_a_real_fault_and_none_before(
    servers, own_postgres, run_on, tmp_path, rules, seconds
):
    postgres = await asyncio.to_thread(own_postgres)
    it = run_on(servers.kafka_bootstrap, postgres.url, 1, ACTIONS_MIN)
    await it.prepare()
    it.start("a")
    worker = it.workers["a"]
    await worker.wait_until_ready()
    with Prometheus(tmp_path, rules, [worker.port]) as prometheus:
        for partition in range(PARTITIONS):
            if partition != BEHIND:
                await send(it.connection, partition)
        await asyncio.sleep(8)
        before = prometheus.firing()

        await asyncio.to_thread(postgres.shut_down)
        await poison(it.connection)
        await send(it.connection, BEHIND, ago_ms=DAY_MS)
        await fence(it.connection, worker, 5)
        firing = await fired(prometheus, ALERTS, seconds)

    assert before == []
    where = {(one["alertname"], one.get("agent"), one.get("partition")) for one in firing}
    assert {
        ("TrueupTaskNotReady", "publisher", "0"),
        ("TrueupWatermarkLag", None, str(BEHIND)),
        ("TrueupSinkBehind", None, "0"),
        ("TrueupRepeatedRestores", RESOLVER.name, str(FENCED)),
    } <= where, where
    assert ("TrueupTaskNotReady", RESOLVER.name, str(BEHIND)) not in where

"""What a person decided goes from `control` through the resolver to its calibrator."""

import json
from types import SimpleNamespace

import pytest
from aiokafka import ConsumerRecord

from agents_topics.events import Promise
from agents_topics.policy_file import load_policy
from agents_topics.topics import SETTLED_OUTCOMES, TOPICS
from streams.calibrate import CalibratorWork
from streams.resolve_outcomes import CONTROL, ResolverSettings, ResolverWork, encode
from streams.transactions import Committed
from tables.outcome_resolver import ACTIONS, INTERACTIONS
from tests.integration.test_postgres_writer import outcome, settled

SETTLED = SETTLED_OUTCOMES.name
TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
DECISION = {
    "kind": "threshold",
    "event_id": "d1",
    "tenant_id": TENANT,
    "action_type": "send_email",
    "reviewer": "ann",
    "occurred_at": "2026-03-01T00:00:00Z",
    "action": "set",
    "value": 0.65,
}


class Written:
    """A producer that keeps what it commits."""

    is_worn_out = False

    def __init__(self):
        self.outs = {}

    async def commit(self, outputs, _):
        for at, outs in outputs.items():
            self.outs.setdefault(at, []).extend(outs)
        return Committed(-1, {})


class Budget:
    """Every transaction may be written at once."""

    async def take(self): ...


def tools():
    names = {topic.name: topic.name for topic in TOPICS}
    return SimpleNamespace(names=names, partition_count=1, budget=Budget(), transactions={})


def record(topic, offset, key, value):
    return ConsumerRecord(topic, 0, offset, 1_900_000_000_000, 1, key, value, None, 0, 0, ())


@pytest.fixture
def resolver():
    settings = ResolverSettings(load_policy(None), {ACTIONS: 1, INTERACTIONS: 1}, 10_000)
    work = ResolverWork(0, tools(), settings)
    work._producer = Written()
    return work


async def test_a_decision_is_passed_on_once_and_moves_a_threshold(resolver):
    value = json.dumps(DECISION).encode()
    resolver.take(CONTROL, [record(CONTROL, 0, None, value)])
    await resolver._write(resolver.resolver.finish())
    await resolver._write(resolver.resolver.finish())
    passed_on = resolver._producer.outs[SETTLED, 0]
    one = settled(outcome(tenant_id=TENANT))
    promise = Promise(source=0, until_ms=one.settled_at_ms)
    calibrator = CalibratorWork(0, tools(), load_policy(None))
    calibrator._producer = Written()
    calibrator.take(
        SETTLED,
        [
            record(SETTLED, 0, b"t/send_email", encode(one)),
            record(SETTLED, 1, None, encode(promise)),
            *(record(SETTLED, 2 + n, out.key, out.value) for n, out in enumerate(passed_on)),
            record(SETTLED, 9, b"control", b'{"kind":"of a later release"}'),
        ],
    )
    await calibrator.commit()

    assert [(out.key, out.value) for out in passed_on] == [(b"control", value)]
    assert resolver.resolver.counts[CONTROL, "admitted"] == 1
    (out,) = calibrator._producer.outs["threshold-adjustments", 0]
    assert json.loads(out.value)["new_threshold"] == 0.65

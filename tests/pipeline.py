"""Resolver and calibrator without Kafka beside a real Postgres, and shadows of what they were told.

What is told is a list of (topic, milliseconds, fields).
"""

import random
import uuid
from dataclasses import dataclass, field

import msgspec

from agents_topics.events import Promise, to_timestamp
from agents_topics.policy_file import load_policy, parse_policy
from agents_topics.topics import CALIBRATION_UPDATES, OUTCOMES
from sinks.postgres.bulk import BulkWriter, open_offset
from sinks.postgres.shadows import begin_shadow, end_shadow
from sinks.postgres.writer import PostgresWriter
from tables.calibrator import Calibrator
from tables.outcome_resolver import OutcomeResolver
from tests.resolver_task import DECODE, GRACE, HOUR, START, Record

BROKER_MS = START + 9_999 * HOUR


@dataclass
class Pipeline:
    """Resolver and calibrator of one policy; what they say goes to a writer as topics would."""

    rules: str
    writer: PostgresWriter | None = None
    tenant: str = field(default_factory=lambda: str(uuid.uuid4()))
    calibrator: Calibrator = field(default_factory=lambda: Calibrator(1, load_policy(None)))
    offsets: dict = field(default_factory=lambda: {OUTCOMES.name: 0, CALIBRATION_UPDATES.name: 0})

    def __post_init__(self):
        self.policy = parse_policy(self.rules)
        self.resolver = OutcomeResolver(0, self.policy, GRACE)
        self.partition = random.SystemRandom().randrange(1 << 30)

    def take(self, told):
        for offset, (topic, at_ms, fields) in enumerate(told):
            body = msgspec.json.encode(fields | {"occurred_at": to_timestamp(at_ms)})
            key = f"{fields['tenant_id']}/{fields['conversation_id']}".encode()
            decoded = DECODE[topic](key, body)
            self.resolver.admit(topic, [Record(offset, BROKER_MS)], [decoded])

    def settle(self, until_ms):
        """Everything said when time comes to `until_ms` less the grace."""
        self.resolver.times.on_clock(until_ms + HOUR, START)
        said = self.resolver.finish().outcomes
        for outcome in said:
            if outcome.is_settled:
                self.calibrator.on_settled(outcome)
        self.calibrator.on_promise(Promise(source=0, until_ms=until_ms))
        self.calibrator.enter()
        return said, [update for _, update in self.calibrator.finish().updates]

    async def live(self, until_ms):
        """What is said is written by the publisher's own way."""
        said, updates = self.settle(until_ms)
        await self.write(OUTCOMES.name, said)
        await self.write(CALIBRATION_UPDATES.name, updates)

    async def write(self, topic, values):
        first = self.offsets[topic]
        self.offsets[topic] = first + len(values)
        records = list(enumerate(map(msgspec.json.encode, values), first))
        await self.writer.write(topic, self.partition, first, self.offsets[topic], records)


def about_of(live, policy=None):
    """What a shadow by another policy keeps, as a replay would note it."""
    policy = policy or live.policy
    rules = live.policy.by_digest | policy.by_digest
    return {
        "judging": "recorded",
        "tenants": [live.tenant],
        "since_ms": None,
        "until_ms": None,
        "output_ends": {f"{name}/{live.partition}": end for name, end in live.offsets.items()},
        "policy": list(policy.by_digest),
        "live_policy": list(live.policy.by_digest),
        "rules": {digest: version.content for digest, version in rules.items()},
    }


async def shadow_of(url, live, rules, told, as_of_ms, until_ms=None, about=()):
    """A shadow by other rules, of what is told, settled up to the as-of or less."""
    name = f"s-{uuid.uuid4().hex[:8]}"
    other = Pipeline(rules)
    other.take(told)
    said, _ = other.settle(until_ms or as_of_ms)
    await begin_shadow(url, name, about_of(live, other.policy) | dict(about))
    async with BulkWriter(url, name) as writer:
        await writer.write((o for o in said if o.is_settled), 0)
        await writer.write(other.resolver.open_outcomes(), 0, open_offset(as_of_ms))
    await end_shadow(url, name, as_of_ms)
    return name, [o for o in said if o.is_settled]

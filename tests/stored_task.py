"""A resolver task whose outcomes are written to a real Postgres, without Kafka in between."""

import random
import uuid

import msgspec

from agents_topics.topics import OUTCOMES
from tests.resolver_task import ACTIONS, HOUR, INTERACTIONS, START, Task

LATER_HOURS = 200_000
"""A time in the year 2048, when nothing is overdue yet."""


class StoredTask:
    """Steps of the real core; what each says is written by the real writer. A tenant of its own."""

    def __init__(self, writer):
        self.tenant = str(uuid.uuid4())
        self.core = Task()
        self.core.broker_ms = START + 2 * LATER_HOURS * HOUR
        self.writer = writer
        self._partition = random.SystemRandom().randrange(1 << 30)
        self._next_offset = 0

    def action(self, hours=0, action_type="send_email", **fields):
        told = {"action_type": action_type, "predicted_confidence": 0.5, "tenant_id": self.tenant}
        return ACTIONS, hours, told | fields

    def did(self, hours, kind, **fields):
        return INTERACTIONS, hours, {"kind": kind, "tenant_id": self.tenant} | fields

    async def step(self, *records):
        """The records go through the core; returns the step, whose outcomes are stored."""
        step = self.core.step(*records)
        await self.store(step.outcomes)
        return step

    async def settle(self):
        """Every window closes; returns what has settled."""
        settled = self.core.settle()
        await self.store(settled)
        return settled

    async def store(self, outcomes):
        first, self._next_offset = self._next_offset, self._next_offset + len(outcomes)
        records = list(enumerate(map(msgspec.json.encode, outcomes), first))
        await self.writer.write(OUTCOMES.name, self._partition, first, self._next_offset, records)

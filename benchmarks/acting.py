"""Tenants whose agents act, with replies as often as they say, at a steady pace or all at once."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from threading import Event, Thread
from uuid import uuid4

from confluent_kafka import Producer

from agents_topics.connection import Connection
from agents_topics.events import to_timestamp
from agents_topics.identifiers import key_of
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS

ACTION_TYPE = "send_email"
KEYS = 1_000_000
"""In so many conversations a tenant's agents act."""
AT_ONCE = 30


@dataclass(frozen=True, slots=True)
class Timeline:
    """Which event time it is: from `start_ms` at `began_s` on, so many times as fast as the clock.

    >>> line = Timeline(start_ms=5_000, began_s=10.0, speed=3_600)
    >>> line.at_ms(11.0), line.reached_s(3_605_000)
    (3605000, 11.0)
    """

    start_ms: int
    began_s: float
    speed: float

    def at_ms(self, now_s: float) -> int:
        """The event time at a moment of `time.perf_counter`."""
        return self.start_ms + round((now_s - self.began_s) * self.speed * 1000)

    def reached_s(self, at_ms: int) -> float:
        """The moment at which it is this event time."""
        return self.began_s + (at_ms - self.start_ms) / (self.speed * 1000)


class Actions:
    """Sends actions of some tenants in turn, each with a reply as probable as its confidence."""

    def __init__(self, connection: Connection, tenants: Sequence[str], random: Random) -> None:
        self.count = 0
        self._names = [connection.topic(one.name) for one in (AGENT_ACTIONS, AGENT_INTERACTIONS)]
        self._tenants = tenants
        self._random = random
        self._producer = Producer(
            {
                "bootstrap.servers": connection.bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "queue.buffering.max.messages": 500_000,
            }
        )

    def send(self, at_ms: int) -> None:
        """One action that happens now, and its reply a millisecond later if it has one."""
        random, tenant_id = self._random, self._tenants[self.count % len(self._tenants)]
        of = {
            "tenant_id": tenant_id,
            "conversation_id": f"{tenant_id[:8]}-{random.randrange(KEYS)}",
        }
        confidence = random.randint(2, 98) / 100
        said = {"action_type": ACTION_TYPE, "predicted_confidence": confidence}
        self._produce(0, of | said, at_ms)
        if random.random() < confidence:
            self._produce(1, of | {"kind": "reply_received"}, at_ms + 1)
        self.count += 1

    def _produce(self, topic: int, fields: dict[str, object], at_ms: int) -> None:
        body = fields | {
            "event_id": str(uuid4()),
            "occurred_at": to_timestamp(at_ms),
        }
        key = key_of(str(fields["tenant_id"]), str(fields["conversation_id"]))
        self._producer.produce(self._names[topic], json.dumps(body).encode(), key)
        self._producer.poll(0)

    def flush(self) -> None:
        """All that was sent is in the log."""
        self._producer.flush()


@contextmanager
def acting(actions: Actions, per_second: float, timeline: Timeline) -> Iterator[None]:
    """Inside the block they act, so often, from a thread of their own."""
    over = Event()
    thread = Thread(target=_act, args=(actions, per_second, timeline, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _act(actions: Actions, per_second: float, timeline: Timeline, over: Event) -> None:
    before, began_s = actions.count, time.perf_counter()
    while not over.is_set():
        for _ in range(AT_ONCE):
            actions.send(timeline.at_ms(time.perf_counter()))
        due_s = began_s + (actions.count - before) / per_second
        over.wait(max(due_s - time.perf_counter(), 0))
    actions.flush()

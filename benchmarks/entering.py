"""How long a settled outcome waits until its stream's row says that it has entered.

Seen from outside: when the outcome stands committed in `settled-outcomes`, and when Postgres has a
row of the stream that knows it. Outcomes enter in the order of their settle times, so a row knows
every one up to its own.
"""

import asyncio
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, NamedTuple

import asyncpg
import msgspec
import numpy as np
from confluent_kafka import Consumer, TopicPartition

from agents_topics.connection import Connection
from agents_topics.topics import SETTLED_OUTCOMES
from sinks.postgres.calibration_readings import ms_of

LOOK_S = 0.02
PATIENCE_S = 180
KNOWN = ms_of("last_settled_at", "known_ms")
ROWS = f"SELECT tenant_id::text, {KNOWN} FROM tenant.calibration_streams"


class Settled(NamedTuple):
    """An outcome of a tenant, its settle time, and when it was seen in the topic."""

    tenant_id: str
    at_ms: int
    seen_s: float


class _Outcome(msgspec.Struct):
    tenant_id: str
    settled_at_ms: int


class Watch:
    """Sees what settles of some tenants, and what their streams' rows know; one stream a tenant."""

    def __init__(self, tenants: Collection[str]) -> None:
        self.settled: list[Settled] = []
        self._tenants = {tenant_id.encode() for tenant_id in tenants}
        self._known_ms: dict[str, list[int]] = defaultdict(list)
        self._seen_s: dict[str, list[float]] = defaultdict(list)

    def on_record(self, key: bytes | None, value: bytes) -> None:
        """A record of `settled-outcomes` is seen; promises have no key."""
        if key is not None and key.partition(b"/")[0] in self._tenants:
            outcome = msgspec.json.decode(value, type=_Outcome)
            seen_s = time.perf_counter()
            self.settled.append(Settled(outcome.tenant_id, outcome.settled_at_ms, seen_s))

    def on_row(self, tenant_id: str, known_ms: int) -> None:
        """A stream's row is seen."""
        if not self._known_ms[tenant_id] or known_ms > self._known_ms[tenant_id][-1]:
            self._known_ms[tenant_id].append(known_ms)
            self._seen_s[tenant_id].append(time.perf_counter())

    def entered_s(self, one: Settled) -> float | None:
        """When a row first knew an outcome; None where none does."""
        place = bisect_left(self._known_ms[one.tenant_id], one.at_ms)
        seen_s = self._seen_s[one.tenant_id]
        return seen_s[place] if place < len(seen_s) else None

    def wait_for(self, count: int) -> None:
        """So many have settled, and rows know all of them.

        Raises:
            TimeoutError: Not in time.
        """
        until_s = time.perf_counter() + PATIENCE_S
        while len(self.settled) < count or any(self.entered_s(one) is None for one in self.settled):
            if time.perf_counter() > until_s:
                raise TimeoutError(f"{len(self.settled)} of {count} have settled")
            time.sleep(0.2)

    def figures(
        self, tenants: Collection[str], due_s: Callable[[int], float], before_s: float
    ) -> dict[str, dict[str, int] | int]:
        """What the outcomes of some tenants waited until a row knew them: since they settled, and
        since they were due to, which `due_s` says of a settle time; later ones are left out.
        """
        own = [(one, self.entered_s(one)) for one in self.settled if one.tenant_id in tenants]
        entered = [
            (one, at_s) for one, at_s in own if at_s is not None and due_s(one.at_ms) < before_s
        ]
        return {
            "outcomes": len(entered),
            "settled_to_row_ms": _told([at_s - one.seen_s for one, at_s in entered]),
            "due_to_row_ms": _told([at_s - due_s(one.at_ms) for one, at_s in entered]),
        }


def _told(waits_s: list[float]) -> dict[str, int]:
    p50, p99, most = np.percentile(waits_s, (50, 99, 100)) * 1000
    return {"p50": round(p50), "p99": round(p99), "max": round(most)}


@contextmanager
def watching(
    connection: Connection, url: str, partitions: int, tenants: Collection[str]
) -> Iterator[Watch]:
    """Inside the block all is seen that settles from then on, from threads of their own."""
    watch, over = Watch(tenants), Event()
    reader = _reader(connection, partitions)
    threads = [
        Thread(target=_read, args=(reader, watch, over)),
        Thread(target=lambda: asyncio.run(_look(url, watch, over))),
    ]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        over.set()
        for thread in threads:
            thread.join()
        reader.close()


def _reader(connection: Connection, partitions: int) -> Any:
    reader = Consumer(
        {
            "bootstrap.servers": connection.bootstrap,
            "group.id": "benchmark",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
        }
    )
    name = connection.topic(SETTLED_OUTCOMES.name)
    places = [TopicPartition(name, partition) for partition in range(partitions)]
    for place in places:
        place.offset = reader.get_watermark_offsets(place)[1]
    reader.assign(places)
    return reader


def _read(reader: Any, watch: Watch, over: Event) -> None:
    while not over.is_set():
        for message in reader.consume(5_000, LOOK_S):
            assert message.error() is None, message.error()
            watch.on_record(message.key(), message.value())


async def _look(url: str, watch: Watch, over: Event) -> None:
    database = await asyncpg.connect(url)
    while not over.is_set():
        for tenant_id, known_ms in await database.fetch(ROWS):
            watch.on_row(tenant_id, known_ms)
        await asyncio.sleep(LOOK_S)
    await database.close()

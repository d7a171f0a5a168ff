"""Records that a producer's open transaction holds back: in the log, and readable by nobody yet.

The broker itself says since when: the record at the last stable offset is the first one of the
oldest open transaction, and carries the broker's time.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agents_topics.connection import Connection
from trueup.broker_view import COUNTED_MAX, Place, Reader, reading
from trueup.findings import Finding, judged
from trueup.plain_text import counted, duration, utc_s

PASSING_S = 5.0
"""One that is open for less is told by nobody: they come and go."""
HANGING_S = 60.0
"""So long a producer's transaction may be open if its settings say nothing else."""


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """The oldest open one of a topic-partition, and how many records wait behind it, its own too.

    `name` is the topic's on the broker; `since_ms` is the broker's time.
    """

    topic: str
    name: str
    partition: int
    first_offset: int
    waiting: int
    since_ms: int

    def age_s(self) -> float:
        """For how long it is open, by the clock on the wall."""
        return time.time() - self.since_ms / 1000

    def said(self) -> str:
        """What waits where, and since when."""
        return (
            f"{self.name}-{self.partition}: {counted(self.waiting, 'record')} from offset"
            f" {self.first_offset} on cannot be read before a producer's transaction ends, which is"
            f" open since {utc_s(self.since_ms)}, {duration(int(self.age_s()) * 1000)}"
        )

    def fix(self, bootstrap: str) -> str:
        """How to find whose it is, and how to end it."""
        command = f"kafka-transactions --bootstrap-server {bootstrap}"
        where = f"--topic {self.name} --partition {self.partition}"
        return (
            "Let its producer commit or abort. If it is gone:"
            f" `{command} find-hanging {where}` shows it,"
            f" `{command} abort {where} --start-offset {self.first_offset}` ends it."
        )


async def open_transactions(
    connection: Connection, places: Iterable[Place]
) -> list[OpenTransaction]:
    """Those that do not just pass, of some topics and partitions.

    Raises:
        EnvironmentProblem, KafkaError, OSError: No broker answers.
    """
    async with reading(connection) as stable, reading(connection, "read_uncommitted") as every:
        # In this order: what has ended between the two questions is young, or was told too late.
        _, stable_ends = await stable.edges(places)
        _, ends = await every.edges(stable_ends)
        held = [
            await _oldest(every, connection, place, stable_end, ends[place])
            for place, stable_end in stable_ends.items()
            if stable_end < ends[place]
        ]
    return [one for one in held if one.age_s() >= PASSING_S]


async def _oldest(
    every: Reader, connection: Connection, place: Place, first: int, end: int
) -> OpenTransaction:
    """A remainder that is longer than a thousand is taken by its offsets."""
    records = await every.records(place, first, min(end, first + COUNTED_MAX))
    waiting = len(records) if end - first <= COUNTED_MAX else end - first
    since_ms = records[0].timestamp if records else time.time_ns() // 1_000_000
    return OpenTransaction(place[0], connection.topic(place[0]), place[1], first, waiting, since_ms)


def hanging(held: Sequence[OpenTransaction], bootstrap: str) -> list[Finding]:
    """One line for each that hangs, or that none does."""
    name = "open transactions"
    found = [
        judged(name, one.said(), "", one.fix(bootstrap)) for one in held if one.age_s() >= HANGING_S
    ]
    return found or [judged(name, None, "none holds records back for longer than a minute")]

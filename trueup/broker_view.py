"""What `trueup status` asks the broker: where logs end, where tasks stand, what went wrong.

Nothing is written and no group is joined. What is committed alone counts: reads go to the last
stable offset.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from agents_topics import letters
from agents_topics.connection import Connection
from agents_topics.rights import rights_of
from agents_topics.roster import AGENTS, CALIBRATOR, RESOLVER
from agents_topics.topics import DEAD_LETTERS, OUTCOMES, TOPICS
from streams.changelog import PROGRESS_KEY, Progress, progress_of
from streams.clients import RETRY_MS
from streams.rights import Denied, lacking_by
from streams.stopping import stop_reading
from trueup.connecting import start

DEADLINE_S = 15.0
TAIL_RECORDS = 500
"""Every transaction writes its task's progress, so it is among a changelog's last records."""
COUNTED_MAX = 1_000
"""A log's remainder that is longer is taken by its offsets, markers of transactions included."""
LETTERS_MAX = 10_000
LETTERS_S_MAX = 3.0
REASON_HEADER = letters.EXCEPTION_CLASS_NAME

Place = tuple[str, int]
"""A topic, by the contract's name, and a partition."""


@dataclass(slots=True)
class BrokerView:
    """What was found; offsets by topic and partition, progress by agent and partition."""

    partitions: int = 0
    missing: list[str] = field(default_factory=list)
    ends: dict[Place, int] = field(default_factory=dict)
    progress: dict[Place, Progress] = field(default_factory=dict)
    behind: dict[Place, int] = field(default_factory=dict)
    dead_letters: Counter[str] = field(default_factory=Counter)
    dead_letters_unread: int = 0
    last_outcome: tuple[int, bytes] | None = None
    last_record_ms: int | None = None
    members: int = 0


class Reader:
    """A consumer that reads pieces of logs, of committed data if not made otherwise."""

    def __init__(self, connection: Connection, consumer: AIOKafkaConsumer) -> None:
        self._connection = connection
        self._consumer = consumer

    async def edges(self, places: Iterable[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
        """First and last stable offsets; where reads are not committed, first and last ones."""
        tps = {self._tp(place): place for place in places}
        starts = await self._consumer.beginning_offsets(list(tps))
        ends = await self._consumer.end_offsets(list(tps))
        return (
            {tps[tp]: offset for tp, offset in starts.items()},
            {tps[tp]: offset for tp, offset in ends.items()},
        )

    async def records(self, place: Place, first: int, end: int) -> list[Any]:
        """The committed records of a piece, in order."""
        if first >= end:
            return []
        tp = self._tp(place)
        self._consumer.assign([tp])
        self._consumer.seek(tp, first)
        found: list[Any] = []
        while await self._consumer.position(tp) < end:
            fetched = await self._consumer.getmany(tp, timeout_ms=20)
            found += [record for record in fetched.get(tp, ()) if record.offset < end]
        return found

    def _tp(self, place: Place) -> TopicPartition:
        return TopicPartition(self._connection.topic(place[0]), place[1])


@asynccontextmanager
async def reading(
    connection: Connection, isolation_level: str = "read_committed"
) -> AsyncIterator[Reader]:
    """A reader, for as long as the block lasts."""
    consumer = AIOKafkaConsumer(
        **connection.client_options(),
        isolation_level=isolation_level,
        enable_auto_commit=False,
        fetch_max_wait_ms=20,
        retry_backoff_ms=RETRY_MS,
        request_timeout_ms=int(DEADLINE_S * 1000),
    )
    try:
        await start(consumer, connection)
        yield Reader(connection, consumer)
    finally:
        await stop_reading(consumer)


@asynccontextmanager
async def administering(connection: Connection) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client, for as long as the block lasts."""
    admin = AIOKafkaAdminClient(
        **connection.client_options(), request_timeout_ms=int(DEADLINE_S * 1000)
    )
    try:
        await start(admin, connection)
        yield admin
    finally:
        await admin.close()


async def look(
    connection: Connection, group: str, published: dict[Place, int] | None
) -> BrokerView:
    """Everything; `published` is where Postgres stands, None where that is not known.

    Raises:
        EnvironmentProblem, KafkaError, OSError: No broker answers, or not in time.
    """
    view = BrokerView()
    async with asyncio.timeout(DEADLINE_S * 2):
        async with administering(connection) as admin:
            needed = rights_of("status", connection.prefix)
            if lacks := await lacking_by(admin, connection, needed):
                raise Denied(lacks)
            names = {connection.topic(topic.name): topic.name for topic in TOPICS}
            there = set(await admin.list_topics())
            view.missing = [own for name, own in names.items() if name not in there]
            described = await admin.describe_topics([n for n in names if n in there] or None)
            counts = {
                names[found["topic"]]: len(found["partitions"])
                for found in described
                if found["topic"] in names
            }
            view.partitions = max(counts.values(), default=0)
            view.members = await members_of(admin, connection.topic(group))
        places = [(name, p) for name, count in counts.items() for p in range(count)]
        if places:
            async with reading(connection) as reader:
                await _read(view, reader, places, published)
    return view


async def members_of(admin: AIOKafkaAdminClient, group: str) -> int:
    """How many workers the group has now."""
    try:
        (answer,) = await admin.describe_consumer_groups([group])
    except GroupCoordinatorNotAvailableError:
        return 0  # a cluster on which there was no group yet
    (described,) = answer.to_object()["groups"]
    return len(described["members"])


async def _read(
    view: BrokerView, reader: Reader, places: list[Place], published: dict[Place, int] | None
) -> None:
    starts, view.ends = await reader.edges(places)
    for row in (RESOLVER, CALIBRATOR):
        assert row.changelog
        for partition in range(view.partitions):
            place = (row.changelog.name, partition)
            found = await _progress(view, reader, place, starts, row.name)
            if found is not None:
                view.progress[row.name, partition] = found
    for row in AGENTS:
        for topic in row.reads:
            for partition in range(view.partitions):
                place = (topic.name, partition)
                if place not in view.ends:
                    continue
                if row.changelog is None:
                    if published is None:
                        continue
                    at = published.get(place, 0)
                else:
                    task = view.progress.get((row.name, partition))
                    at = task.offsets.get(topic.name, 0) if task else 0
                view.behind[place] = await _behind(
                    reader, place, max(at, starts[place]), view.ends[place]
                )
    await _count_letters(view, reader, starts)
    await _find_last_outcome(view, reader, starts, published)


async def _progress(
    view: BrokerView, reader: Reader, place: Place, starts: dict[Place, int], name: str
) -> Progress | None:
    """The task's progress, if it is among its changelog's last records."""
    if place not in view.ends:
        return None
    first = max(starts[place], view.ends[place] - TAIL_RECORDS)
    found = None
    for record in await reader.records(place, first, view.ends[place]):
        view.last_record_ms = max(view.last_record_ms or record.timestamp, record.timestamp)
        if record.key == PROGRESS_KEY and record.value is not None:
            found = progress_of(record.value, f"{name}-{place[1]}")
    return found


async def _behind(reader: Reader, place: Place, at: int, end: int) -> int:
    """How many records are not applied yet; the markers of transactions are no records."""
    if not 0 < end - at <= COUNTED_MAX:
        return max(end - at, 0)
    return len(await reader.records(place, at, end))


async def _count_letters(view: BrokerView, reader: Reader, starts: dict[Place, int]) -> None:
    """Dead letters by reason, the newest first; what time or number leave unread is said."""
    deadline_s = time.monotonic() + LETTERS_S_MAX
    left = LETTERS_MAX
    for partition in range(view.partitions):
        place = (DEAD_LETTERS.name, partition)
        if place not in view.ends:
            continue
        first = max(starts[place], view.ends[place] - left)
        if time.monotonic() > deadline_s:
            first = view.ends[place]
        view.dead_letters_unread += first - starts[place]
        records = await reader.records(place, first, view.ends[place])
        left -= len(records)
        for record in records:
            reason = dict(record.headers).get(REASON_HEADER, b"unknown")
            view.dead_letters[reason.decode(errors="replace")] += 1


async def _find_last_outcome(
    view: BrokerView,
    reader: Reader,
    starts: dict[Place, int],
    published: dict[Place, int] | None,
) -> None:
    """The newest outcome that the publisher has written, else the newest of the topic."""
    for partition in range(view.partitions):
        place = (OUTCOMES.name, partition)
        end = view.ends.get(place, 0)
        if published is not None:
            end = min(end, published.get(place, 0))
        if end <= starts.get(place, 0):
            continue
        records = await reader.records(place, max(starts[place], end - 20), end)
        if records and (view.last_outcome is None or records[-1].timestamp > view.last_outcome[0]):
            view.last_outcome = (records[-1].timestamp, records[-1].value)

"""`trueup forget`: what is known of a conversation, or of a tenant, goes, while workers run.

The law: a forget record is sent to `control`, and each task that it is for forgets once, in the
transaction that says so in `forgotten`. Whether that has come to pass is read there, and in
Postgres whether the publisher has written it; a command that is cut short has done no harm, and may
be run again.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from agents_topics.connection import Connection
from agents_topics.events import Forgotten
from agents_topics.identifiers import conversation_state_id_of, key_of
from agents_topics.roster import GROUP
from agents_topics.topics import (
    CALIBRATION_UPDATES,
    CONTROL,
    DEAD_LETTERS,
    FORGOTTEN,
    LATE_EVENTS,
    OUTCOMES,
    RESOLVER_CHANGELOG,
    SETTLED_OUTCOMES,
)
from sinks.postgres.queries import run_bound
from sinks.postgres.tenant_tables import OF_CONVERSATIONS, OF_TENANTS
from streams import changelog
from streams.partitioner import partitions_of
from trueup.emit import Sender
from trueup.replay_plan import forgotten_here
from trueup.topic_reader import TopicReader

POLL_S = 0.2

_OF_TENANT = "SELECT count(*) FROM tenant.{} WHERE tenant_id = $1"
_OF_CONVERSATION = " AND conversation_state_id = $2"
_STANDS = "SELECT topic, partition, next_offset FROM tenant.sink_offsets"


@dataclass(frozen=True, slots=True)
class Whose:
    """What is to be forgotten: of a tenant one conversation, or all."""

    tenant_id: str
    conversation_id: str | None

    def has(self, key: bytes | None) -> bool:
        """Whether a record's key is of it.

        >>> [Whose("t", None).has(key) for key in (b"t/c", b"tt/c", None)]
        [True, False, False]
        """
        if self.conversation_id is None:
            return (key or b"").startswith(key_of(self.tenant_id, "").encode())
        return key == key_of(self.tenant_id, self.conversation_id).encode()

    def partitions(self, count: int) -> list[int]:
        """Where its records are."""
        if self.conversation_id is None:
            return list(range(count))
        return partitions_of([key_of(self.tenant_id, self.conversation_id).encode()], count)


@dataclass(frozen=True, slots=True)
class Found:
    """What there is: in the state, in Postgres by table, and in the kept topics.

    `forgotten` is how often some of it was forgotten before.
    """

    open_actions: int
    settled_outcomes: int
    rows: Mapping[str, int]
    late_events: int
    dead_letters: int
    forgotten: int

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is left that a forgetting would take away."""
        return not (self.open_actions or any(self.rows.values()))


async def found(connection: Connection, url: str, whose: Whose) -> Found:
    """What a forgetting meets; changes nothing.

    Raises:
        EnvironmentProblem: a topic is missing.
        PostgresProblem: Postgres is not there, or is not migrated.
    """
    async with TopicReader(connection) as reader:
        own = whose.partitions(await reader.partition_count(RESOLVER_CHANGELOG.name))
        counted = [await _counted(reader, t.name, own, whose) for t in (LATE_EVENTS, DEAD_LETTERS)]
        open_actions = await _open_actions(reader, own, whose)
        before = [entry for entry in await forgotten_here(reader) if _is_of(entry, whose)]
    rows = {table: await _rows(url, table, whose) for table in _tables_of(whose)}
    settled = await _rows(url, "outcome_records", whose, " AND is_settled")
    times = len({entry.forget_id for entry in before})
    late_events, dead_letters = counted
    return Found(open_actions, settled, rows, late_events, dead_letters, times)


def _is_of(entry: Forgotten, whose: Whose) -> bool:
    conversations = (whose.conversation_id, None)
    return entry.tenant_id == whose.tenant_id and entry.conversation_id in conversations


def _tables_of(whose: Whose) -> Sequence[str]:
    return OF_TENANTS if whose.conversation_id is None else OF_CONVERSATIONS


async def _rows(url: str, table: str, whose: Whose, more: str = "") -> int:
    sql, tenant = _OF_TENANT.format(table) + more, whose.tenant_id
    if whose.conversation_id is None:
        answer = await run_bound(url, sql, tenant)
    else:
        state_id = conversation_state_id_of(tenant, whose.conversation_id)
        answer = await run_bound(url, sql + _OF_CONVERSATION, tenant, state_id)
    return int(answer.rows[0][0])


async def _counted(reader: TopicReader, topic: str, partitions: Sequence[int], whose: Whose) -> int:
    spans = await reader.spans(topic, partitions)
    return sum([whose.has(record.key) async for record in reader.records(topic, spans)])


async def _open_actions(reader: TopicReader, partitions: Sequence[int], whose: Whose) -> int:
    """Those in the tasks' state with an outcome that has not settled."""
    topic, rows = RESOLVER_CHANGELOG.name, {}
    async for record in reader.records(topic, await reader.spans(topic, partitions)):
        if record.key.startswith(b"a/") and whose.has(record.key[2:].partition(b"\0")[0]):
            rows[record.key] = record.value
    held = [changelog.decode(value) for value in rows.values() if value is not None]
    return sum(any(not is_settled for _, _, is_settled, _ in row[-1]) for row in held)


@dataclass(slots=True)
class Asked:
    """A forgetting that was sent: where it is for, and what has come of it so far."""

    forget_id: str
    partitions: Sequence[int]
    entries: list[Forgotten]
    is_written: bool = False

    @property
    def waiting(self) -> list[int]:
        """The partitions whose task has not forgotten yet."""
        told = {entry.partition for entry in self.entries}
        return [partition for partition in self.partitions if partition not in told]


async def forget(connection: Connection, url: str, whose: Whose, wait_s: float) -> Asked:
    """Sends the forget records and waits until it is done, or no longer than that.

    Raises:
        EnvironmentProblem, KafkaError: a server is away; run it again.
        PostgresProblem: Postgres is away: it forgets when it is back.
    """
    deadline_s = time.monotonic() + wait_s
    async with TopicReader(connection) as reader:
        partitions = whose.partitions(await reader.partition_count(CONTROL.name))
        asked = Asked(f"forget-{uuid.uuid4()}", partitions, [])
        starts = {
            p: end for p, (_, end) in (await reader.spans(FORGOTTEN.name, partitions)).items()
        }
        await send_forget(connection, whose, asked)
        while asked.waiting and time.monotonic() < deadline_s:
            await asyncio.sleep(POLL_S)
            asked.entries = await _entries(reader, asked, starts)
        if not asked.waiting:
            asked.is_written = await _await_rows(connection, reader, url, asked, deadline_s)
    return asked


async def send_forget(connection: Connection, whose: Whose, asked: Asked) -> None:
    """The forget records of an asking are sent, to the partitions that it is for."""
    event = {"kind": "forget", "event_id": asked.forget_id, "tenant_id": whose.tenant_id}
    if whose.conversation_id is not None:
        event["conversation_id"] = whose.conversation_id
    value = msgspec.json.encode(event)
    async with Sender(connection) as sender:
        for partition in asked.partitions:
            await sender.send(CONTROL.name, None, value, partition)


async def _entries(reader: TopicReader, asked: Asked, starts: Mapping[int, int]) -> list[Forgotten]:
    name = FORGOTTEN.name
    ends = await reader.spans(name, asked.partitions)
    spans = {partition: (starts[partition], end) for partition, (_, end) in ends.items()}
    decode = msgspec.json.Decoder(Forgotten).decode
    said = [decode(record.value) async for record in reader.records(name, spans)]
    return [entry for entry in said if entry.forget_id == asked.forget_id]


async def _await_rows(
    connection: Connection, reader: TopicReader, url: str, asked: Asked, deadline_s: float
) -> bool:
    """Whether Postgres has all that the tasks have said by now, and of a tenant its bins."""
    written = [OUTCOMES.name]
    if asked.entries[0].conversation_id is None:
        ends = await _ends(reader, SETTLED_OUTCOMES.name, asked)
        if not await _until(lambda: _has_applied(reader, ends), deadline_s):
            return False
        written.append(CALIBRATION_UPDATES.name)
    wanted: dict[tuple[str, int], int] = {}
    for topic in written:
        wanted |= await _ends(reader, topic, asked)
    return await _until(lambda: _has_stored(connection, url, wanted), deadline_s)


async def _ends(reader: TopicReader, topic: str, asked: Asked) -> dict[tuple[str, int], int]:
    spans = await reader.spans(topic, asked.partitions)
    return {(topic, p): end for p, (_, end) in spans.items()}


async def _has_applied(reader: TopicReader, ends: Mapping[tuple[str, int], int]) -> bool:
    applied = await reader.applied(GROUP)
    return all(applied.get(place, 0) >= end - 1 for place, end in ends.items())


async def _has_stored(
    connection: Connection, url: str, ends: Mapping[tuple[str, int], int]
) -> bool:
    rows = (await run_bound(url, _STANDS)).rows
    stands = {(topic, partition): offset for topic, partition, offset in rows}
    return all(stands.get((connection.topic(t), p), 0) >= end - 1 for (t, p), end in ends.items())


async def _until(ask: Callable[[], Awaitable[bool]], deadline_s: float) -> bool:
    while not await ask():
        if time.monotonic() >= deadline_s:
            return False
        await asyncio.sleep(POLL_S)
    return True

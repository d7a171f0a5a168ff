"""`trueup emit` and `trueup clock`: what goes into the input topics from the command line.

Events are validated by the contract's decoder before anything is sent. A file is sent whole or,
if a line is bad, not at all; a stream is sent line by line, its bad lines reported and left out.
One idempotent producer, acks=all, murmur2 over the key tenant/conversation: the log's order of a
conversation is the order of its lines, and sending a file again adds duplicates that are dropped
(while their ids are remembered) or late (after that), never a second outcome.
"""

import asyncio
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
from aiokafka import AIOKafkaProducer

from agents_topics.codec import Malformed, decode_control
from agents_topics.connection import Connection
from agents_topics.envelopes import Headers
from agents_topics.events import ControlOverride
from agents_topics.policy import Policy
from agents_topics.topics import CONTROL
from trueup.check import LineReader, Problem
from trueup.connecting import start
from trueup.embedded.problems import EnvironmentProblem

UNACKNOWLEDGED_MAX = 5_000
NEW_TOPIC_S = 2.0
CHUNK_BYTES = 1 << 16
CHUNKS_WAITING_MAX = 16

Report = Callable[[Problem], None]
"""Told of each problem and warning, in the order of the lines."""


class Sendable(Protocol):
    """A record to send; `demo_workload.Record` is one."""

    @property
    def topic(self) -> str:
        """The topic, without the connection's prefix."""
        ...

    @property
    def key(self) -> bytes | None:
        """The key."""
        ...

    @property
    def value(self) -> bytes:
        """The value."""
        ...


@dataclass(slots=True)
class Emitted:
    """What was sent, by topic; how many lines were bad; the span of event time of what was sent."""

    sent: Counter[str] = field(default_factory=Counter)
    bad_lines: int = 0
    first_at_ms: int | None = None
    last_at_ms: int | None = None

    def count(self, topic: str, at_ms: int) -> None:
        """An event was sent."""
        self.sent[topic] += 1
        self.first_at_ms = at_ms if self.first_at_ms is None else min(self.first_at_ms, at_ms)
        self.last_at_ms = at_ms if self.last_at_ms is None else max(self.last_at_ms, at_ms)


class Sender:
    """A producer inside an `async with`; at its end all that was sent is acknowledged.

    Records of one partition keep the order in which they were sent.

    Raises:
        EnvironmentProblem: no broker answers, or it lacks the topic.
        KafkaError: the broker refused a record; what was sent before it may be in the log.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._producer = AIOKafkaProducer(
            **connection.client_options(),
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_batch_size=1 << 18,
        )
        self._topics: set[str] = set()
        self._unacknowledged: list[asyncio.Future[Any]] = []

    async def __aenter__(self) -> Self:
        try:
            await start(self._producer, self._connection)
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _problem: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            await self._producer.stop()
            await asyncio.gather(*self._unacknowledged, return_exceptions=True)

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> None:
        """The record is on its way; waits where too many are."""
        name = self._connection.topic(topic)
        if name not in self._topics:
            await self._find(name)
        on_its_way = await self._producer.send(name, value, key, partition, headers=list(headers))
        self._unacknowledged.append(on_its_way)
        if len(self._unacknowledged) >= UNACKNOWLEDGED_MAX:
            await self.flush()

    async def _find(self, name: str) -> None:
        """The broker has the topic; a little patience, for it may just have been created."""
        deadline_s = time.monotonic() + NEW_TOPIC_S
        while True:
            # All at once: to ask for one topic by name may create it, with the broker's settings.
            cluster = await self._producer.client.fetch_all_metadata()
            self._topics = set(cluster.topics())
            if name in self._topics:
                return
            if time.monotonic() > deadline_s:
                raise EnvironmentProblem(
                    f"The topic {name} is not on the broker.", "`trueup topics create` makes it."
                )
            await asyncio.sleep(0.1)

    async def flush(self) -> None:
        """Everything sent so far is acknowledged."""
        sent, self._unacknowledged = self._unacknowledged, []
        results = await asyncio.gather(*sent, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result


async def emit_file(
    connection: Connection,
    path: Path,
    report: Report,
    *,
    topic: str | None = None,
    policy: Policy | None = None,
) -> Emitted:
    """Sends all events of an NDJSON file, or none if a line is bad.

    The file is read twice and never held in memory as a whole.

    Raises:
        OSError: the file cannot be read.
        EnvironmentProblem, KafkaError: see `Sender`.
    """
    emitted = Emitted()
    reader = LineReader(topic, policy)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            ready, problems = reader.read(number, line)
            emitted.bad_lines += ready is None and bool(problems)
            for problem in problems:
                report(problem)
        if emitted.bad_lines:
            return emitted
        lines.seek(0)
        async with Sender(connection) as sender:
            for number, line in enumerate(lines, 1):
                ready, problems = reader.read(number, line)
                if ready:
                    await sender.send(ready.topic, ready.key, ready.value)
                    emitted.count(ready.topic, ready.at_ms)
                emitted.bad_lines += ready is None and bool(problems)  # changed between the passes
    return emitted


async def emit_stream(
    connection: Connection,
    read: Callable[[], bytes],
    report: Report,
    *,
    topic: str | None = None,
    policy: Policy | None = None,
) -> Emitted:
    """Sends the good lines of a stream as they come, and reports the bad ones.

    Args:
        connection: Where to.
        read: Waits for the next bytes; empty at the end: `partial(os.read, 0, CHUNK_BYTES)`.
        report: Told of problems.
        topic: Where all lines belong; None if each says so by its fields.
        policy: The rules; where given, action types they lack are problems too.

    Raises:
        EnvironmentProblem, KafkaError: see `Sender`.
    """
    emitted = Emitted()
    reader = LineReader(topic, policy)
    number = 0
    async with Sender(connection) as sender:
        async for line in lines_of(read):
            number += 1
            ready, problems = reader.read(number, line)
            if ready:
                await sender.send(ready.topic, ready.key, ready.value)
                emitted.count(ready.topic, ready.at_ms)
            emitted.bad_lines += ready is None and bool(problems)
            for problem in problems:
                report(problem)
    return emitted


async def lines_of(read: Callable[[], bytes]) -> AsyncIterator[bytes]:
    """The lines of a blocking stream, each as soon as it is complete.

    A daemon thread reads, so that Ctrl-C need not wait for a silent terminal or pipe.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue(CHUNKS_WAITING_MAX)

    def read_on() -> None:
        chunk: bytes | OSError = b"\n"
        while chunk and not isinstance(chunk, OSError):
            try:
                chunk = read()
            except OSError as problem:
                chunk = problem
            put = chunks.put(chunk)
            try:
                asyncio.run_coroutine_threadsafe(put, loop).result()
            except (RuntimeError, CancelledError):
                put.close()
                return  # the loop has ended, and nobody listens

    threading.Thread(target=read_on, name="trueup-emit-stdin", daemon=True).start()
    rest = b""
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            raise chunk
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


async def send_records(connection: Connection, records: Iterable[Sendable]) -> Counter[str]:
    """Sends records as they are, good or bad (the demo's); returns how many by topic.

    Raises:
        EnvironmentProblem, KafkaError: see `Sender`.
    """
    sent: Counter[str] = Counter()
    async with Sender(connection) as sender:
        for record in records:
            await sender.send(record.topic, record.key, record.value)
            sent[record.topic] += 1
    return sent


def settle_time(emitted: Emitted, policy: Policy, grace_ms: int) -> int | None:
    """When the last outcome of what was sent settles, in event time; None if nothing was sent."""
    if emitted.last_at_ms is None:
        return None
    return emitted.last_at_ms + policy.settle_after_ms_max + grace_ms


async def send_clock(connection: Connection, until: str, partitions: int) -> None:
    """A clock record is in every partition of `control`: event time is at least `until` in each.

    Raises:
        ValueError: `until` is no RFC 3339 time with a zone.
        EnvironmentProblem, KafkaError: see `Sender`.
    """
    await _send_control(connection, clock_value(until), partitions)


async def send_override(connection: Connection, override: ControlOverride, partitions: int) -> None:
    """What a person decided of thresholds or an alarm is in every partition of `control`.

    Raises:
        ValueError: the contract refuses it; says why.
        EnvironmentProblem, KafkaError: see `Sender`.
    """
    value = msgspec.json.encode(override)
    found = decode_control(value)
    if isinstance(found, Malformed):
        raise ValueError(found.detail)
    await _send_control(connection, value, partitions)


async def _send_control(connection: Connection, value: bytes, partitions: int) -> None:
    async with Sender(connection) as sender:
        for partition in range(partitions):
            await sender.send(CONTROL.name, None, value, partition)


def clock_value(until: str) -> bytes:
    """The value of a clock record.

    Raises:
        ValueError: `until` is no RFC 3339 time with a zone.
    """
    event = {"kind": "clock", "event_id": f"clock-{uuid.uuid4()}", "until": until}
    value = msgspec.json.encode(event)
    found = decode_control(value)
    if isinstance(found, Malformed):
        raise ValueError(f"no RFC 3339 time with a zone, like 2026-01-05T09:30:00Z: {found.detail}")
    return value

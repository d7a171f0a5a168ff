"""Reads committed records of topics, bounded by place or time; commits nothing, joins no group."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from agents_topics.connection import Connection
from streams.clients import RETRY_MS
from streams.stopping import stop_reading
from trueup.connecting import start
from trueup.embedded.problems import EnvironmentProblem

FETCHED_BYTES_MAX = 4 << 20
PIECE_RECORDS_MAX = 20_000
WAIT_MS = 200
TAIL_OFFSETS = 64

Source = tuple[str, int]
"""A topic and a partition of it."""

Spans = Mapping[int, tuple[int, int]]
"""By partition the first offset, and the one at which to end."""


class TopicReader:
    """Open inside an `async with`; topics are named without the connection's prefix.

    Raises:
        EnvironmentProblem: no broker answers, or it lacks a topic.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        options = connection.client_options()
        self._admin = AIOKafkaAdminClient(**options)
        self._consumer = AIOKafkaConsumer(
            **options,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=20,
            retry_backoff_ms=RETRY_MS,
            max_partition_fetch_bytes=FETCHED_BYTES_MAX,
        )
        self._counts: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        try:
            await start(self._admin, self._connection)
            await start(self._consumer, self._connection)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _problem: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await stop_reading(self._consumer)
        await self._admin.close()

    async def partition_count(self, topic: str) -> int:
        """How many partitions a topic has."""
        if topic not in self._counts:
            name = self._connection.topic(topic)
            (found,) = await self._admin.describe_topics([name])
            if not found["partitions"]:
                raise EnvironmentProblem(
                    f"The topic {name} is not on the broker.", "`trueup topics create` makes it."
                )
            self._counts[topic] = len(found["partitions"])
        return self._counts[topic]

    async def applied(self, group: str) -> dict[tuple[str, int], int]:
        """The offsets that a group has committed, by topic and partition."""
        found = await self._admin.list_consumer_group_offsets(self._connection.topic(group))
        prefix = self._connection.prefix
        return {
            (tp.topic.removeprefix(prefix), tp.partition): held.offset
            for tp, held in found.items()
            if held.offset >= 0
        }

    async def spans(
        self,
        topic: str,
        partitions: Iterable[int] | None = None,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
    ) -> dict[int, tuple[int, int]]:
        """What a topic holds now, by the broker's times: from `since_ms` on, up to `until_ms`."""
        count = await self.partition_count(topic)
        tps = [self._tp(topic, p) for p in (range(count) if partitions is None else partitions)]
        starts = await self._consumer.beginning_offsets(tps)
        ends = await self._consumer.end_offsets(tps)
        if since_ms is not None and since_ms > 0:
            found = await self._consumer.offsets_for_times(dict.fromkeys(tps, since_ms))
            starts = {tp: found[tp].offset if found.get(tp) else ends[tp] for tp in tps}
        if until_ms is not None:
            after = await self._consumer.offsets_for_times(dict.fromkeys(tps, max(until_ms, 0) + 1))
            ends = {tp: after[tp].offset if after.get(tp) else ends[tp] for tp in tps}
        return {tp.partition: (starts[tp], ends[tp]) for tp in tps}

    async def records(self, topic: str, spans: Spans) -> AsyncIterator[ConsumerRecord]:
        """The records of the spans, in the order of each log; one such reading at a time."""
        ends = {self._tp(topic, p): end for p, (start, end) in spans.items() if start < end}
        if not ends:
            return
        self._consumer.assign(list(ends))
        for tp in ends:
            self._consumer.seek(tp, spans[tp.partition][0])
        left = list(ends)
        while left:
            fetched: dict[Any, list[ConsumerRecord]] = await self._consumer.getmany(
                *left, timeout_ms=WAIT_MS
            )
            for tp, records in fetched.items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield record
            left = [tp for tp in left if await self._consumer.position(tp) < ends[tp]]

    async def pieces(
        self, spans: Mapping[Source, tuple[int, int]], choose: Callable[[Sequence[Source]], Source]
    ) -> AsyncIterator[tuple[Source, list[ConsumerRecord]]]:
        """The records of several topics, many of one partition at a time, until all are read.

        `choose` names the one to go on with among those that have more.
        """
        ends = {self._tp(*source): end for source, (start, end) in spans.items() if start < end}
        sources = {self._tp(*source): source for source in spans}
        if not ends:
            return
        self._consumer.assign(list(ends))
        for tp in ends:
            self._consumer.seek(tp, spans[sources[tp]][0])
        left = list(ends)
        while left:
            tp = self._tp(*choose([sources[tp] for tp in left]))
            fetched: dict[Any, list[ConsumerRecord]] = await self._consumer.getmany(
                tp, timeout_ms=WAIT_MS, max_records=PIECE_RECORDS_MAX
            )
            if records := fetched.get(tp):
                end = ends[tp]
                yield sources[tp], [record for record in records if record.offset < end]
            if await self._consumer.position(tp) >= ends[tp]:
                left.remove(tp)
                self._consumer.pause(tp)

    async def after_last(self, topic: str, partition: int, end: int) -> int:
        """The offset after the last committed record before `end`; markers alone lie in between."""
        start = (await self.spans(topic, [partition]))[partition][0]
        begin, back = end, TAIL_OFFSETS
        while begin > start:
            until, begin = begin, max(start, begin - back)
            back *= 8
            span = {partition: (begin, until)}
            offsets: list[int] = [record.offset async for record in self.records(topic, span)]
            if offsets:
                return offsets[-1] + 1
        return start

    async def record_at(self, topic: str, partition: int, offset: int) -> ConsumerRecord | None:
        """The committed record at a place; None where there is none, or none any more."""
        if not 0 <= partition < await self.partition_count(topic):
            return None
        start, end = (await self.spans(topic, [partition]))[partition]
        if not start <= offset < end:
            return None
        async for record in self.records(topic, {partition: (offset, offset + 1)}):
            return record
        return None

    def _tp(self, topic: str, partition: int) -> TopicPartition:
        return TopicPartition(self._connection.topic(topic), partition)

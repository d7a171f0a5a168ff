"""What a worker asks the broker beside fetching: ends and starts of logs, committed offsets,
changelogs. Two readers and one admin client for all tasks of a worker.
"""

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.clients import Clients
from streams.rights import naming
from streams.stopping import stop_reading

RESTORE_RECORDS_MAX = 500
"""Taken at a stretch: a few milliseconds, for other tasks' transactions have deadlines."""


class Broker:
    """The questions; every one but `high_watermarks` sees committed data only."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._reader: AIOKafkaConsumer | None = None
        self._uncommitted: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        """Connects."""
        self._reader = self._clients.reader()
        await self._reader.start()
        self._uncommitted = self._clients.reader("read_uncommitted")
        await self._uncommitted.start()
        self._admin = self._clients.admin()
        await self._admin.start()

    async def stop(self) -> None:
        """Disconnects."""
        for reader in (self._reader, self._uncommitted):
            if reader:
                await stop_reading(reader)
        if self._admin:
            await self._admin.close()

    async def ends(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """The last stable offset of a partition of each topic."""
        assert self._reader
        return await _ends(self._reader, topics, partition)

    async def high_watermarks(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """The end of a partition of each topic, with what lies in open transactions."""
        assert self._uncommitted
        return await _ends(self._uncommitted, topics, partition)

    async def starts(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """The first offset that a partition of each topic still has."""
        assert self._reader
        tps = [TopicPartition(topic, partition) for topic in topics]
        starts = await self._reader.beginning_offsets(tps)
        return {tp.topic: start for tp, start in starts.items()}

    async def committed(self, group: str) -> dict[tuple[str, int], int]:
        """The group's committed offsets."""
        assert self._admin
        offsets = await self._admin.list_consumer_group_offsets(group)
        return {(tp.topic, tp.partition): o.offset for tp, o in offsets.items() if o.offset >= 0}

    async def has_records(self, topic: str, partition: int) -> bool:
        """Whether a partition holds, or has held, a committed record."""
        assert self._reader
        tp = TopicPartition(topic, partition)
        with naming("Read"):
            async with self._reading:
                if (await self._reader.beginning_offsets([tp]))[tp]:
                    return True
                end = (await self._reader.end_offsets([tp]))[tp]
                if not end:
                    return False
                self._reader.assign([tp])
                await self._reader.seek_to_beginning(tp)
                found = False
                while not found and await self._reader.position(tp) < end:
                    found = bool(await self._reader.getmany(tp, timeout_ms=200, max_records=1))
                self._reader.unsubscribe()
        return found

    async def is_empty(self, topic: str, partition: int, begin: int, end: int) -> bool:
        """Whether no record from `begin` up to `end` is committed or may yet be: markers alone."""
        assert self._reader
        if begin >= end:  # a reader that reads nothing must not be assigned: its fetcher dies
            return True
        tp = TopicPartition(topic, partition)
        with naming("Read"):
            async with self._reading:
                if (await self._reader.end_offsets([tp]))[tp] < end:  # the last stable offset
                    return False
                self._reader.assign([tp])
                self._reader.seek(tp, begin)
                position = begin
                while position < end:
                    if fetched := await self._reader.getmany(tp, timeout_ms=200, max_records=1):
                        position = fetched[tp][0].offset
                        break
                    position = await self._reader.position(tp)
                self._reader.unsubscribe()
        return position >= end

    async def changelog(self, topic: str, partition: int) -> tuple[dict[bytes, bytes], int]:
        """The last value of every key up to the last stable offset, and that offset."""
        assert self._reader
        async with self._reading:
            return await last_values(self._reader, topic, partition)


async def last_values(
    reader: AIOKafkaConsumer, topic: str, partition: int
) -> tuple[dict[bytes, bytes], int]:
    """The last value of every key up to the reader's end of the log, and that offset."""
    tp = TopicPartition(topic, partition)
    rows: dict[bytes, bytes] = {}
    with naming("Read"):
        end = (await reader.end_offsets([tp]))[tp]
        if not end:  # a reader waits at a log's end, and whoever asks next waits for the reader
            return rows, end
        reader.assign([tp])
        await reader.seek_to_beginning(tp)
        while await reader.position(tp) < end:
            fetched = await reader.getmany(tp, timeout_ms=200, max_records=RESTORE_RECORDS_MAX)
            for record in fetched.get(tp, ()):
                if record.value is None:
                    rows.pop(record.key, None)
                else:
                    rows[record.key] = record.value
            await asyncio.sleep(0)  # what is fetched already comes without a turn of the loop
        reader.unsubscribe()
    return rows, end


async def _ends(reader: AIOKafkaConsumer, topics: Iterable[str], partition: int) -> dict[str, int]:
    ends = await reader.end_offsets([TopicPartition(topic, partition) for topic in topics])
    return {tp.topic: end for tp, end in ends.items()}

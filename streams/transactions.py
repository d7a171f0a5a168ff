"""One task's transactions: changelog, outputs and offsets together or not at all.

The law: whatever goes wrong inside a transaction leaves its result unknown, so there is no way to
abort and go on here. The caller drops producer and state and opens again: a new producer with the
same transactional id fences the old one and ends its transaction, and the changelog then tells
what was applied.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation, KafkaError
from aiokafka.structs import OffsetAndMetadata

from streams.clients import Clients
from streams.rights import naming

DEADLINE_S = 8.0
RECORDS_MAX = 1_000_000_000


class Out(NamedTuple):
    """A record to write."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = []  # noqa: RUF012


Outputs = Mapping[tuple[str, int], Sequence[Out]]
"""By topic and partition."""


class Committed(NamedTuple):
    """What a committed transaction tells: the broker's time of its last append, -1 if there was
    none, and for each topic and partition the offset after its commit marker.
    """

    broker_ms: int
    ends: dict[tuple[str, int], int]


class TransactionBudget:
    """Spreads a worker's transactions over time, so that many tasks cost no more than few."""

    def __init__(self, per_second: int) -> None:
        self._interval_s = 1 / per_second
        self._next_s = 0.0

    async def take(self) -> None:
        """Waits for this transaction's turn."""
        now_s = asyncio.get_running_loop().time()
        self._next_s = max(now_s, self._next_s + self._interval_s)
        if self._next_s > now_s:
            await asyncio.sleep(self._next_s - now_s)


class TaskProducer:
    """The transactional producer of one task."""

    def __init__(self, clients: Clients, transactional_id: str, group: str) -> None:
        self._group = group
        self._records = 0
        self._producer = clients.producer(transactional_id)

    async def open(self) -> None:
        """Fences the last owner; its unfinished transaction is ended when this returns."""
        with naming("Write"):
            async with asyncio.timeout(4 * DEADLINE_S):
                await self._producer.start()

    async def commit(self, outputs: Outputs, offsets: Mapping[tuple[str, int], int]) -> Committed:
        """Writes everything in one transaction.

        Raises:
            TimeoutError, KafkaError: the result is unknown.
        """
        try:
            with naming("Write"):
                return await self._commit(outputs, offsets)
        except TimeoutError:
            count = sum(map(len, outputs.values()))
            raise TimeoutError(
                f"a transaction of {count} records was not written in {DEADLINE_S:.0f} s"
            ) from None
        except IllegalOperation as left:
            # The sender left the transaction on an answer that nobody here was waiting for.
            raise KafkaError(f"fenced, or timed out, while it was written: {left}") from None

    async def _commit(self, outputs: Outputs, offsets: Mapping[tuple[str, int], int]) -> Committed:
        async with asyncio.timeout(DEADLINE_S):
            await self._producer.begin_transaction()
            appends: list[_Append] = []
            for (topic, partition), outs in outputs.items():
                appends += await self._send(topic, partition, outs)
            if offsets:
                await self._producer.send_offsets_to_transaction(
                    {TopicPartition(*at): OffsetAndMetadata(o, "") for at, o in offsets.items()},
                    self._group,
                )
            written = await asyncio.gather(*(append.result for append in appends))
            await self._producer.commit_transaction()
        ends: dict[tuple[str, int], int] = {}
        for append, metadata in zip(appends, written, strict=True):
            ends[metadata.topic, metadata.partition] = metadata.offset + append.records + 1
        times_ms = [m.timestamp for m in written if m.timestamp is not None]
        return Committed(max(times_ms, default=-1), ends)

    @property
    def is_worn_out(self) -> bool:
        """Whether its sequence numbers near their end (aiokafka overflows at 2³¹)."""
        return self._records > RECORDS_MAX

    async def _send(self, topic: str, partition: int, outs: Sequence[Out]) -> list["_Append"]:
        appends = []
        self._records += len(outs)
        batch = self._producer.create_batch()
        append = batch.append
        for key, value, headers in outs:
            if append(key=key, value=value, timestamp=None, headers=headers) is None:
                result = await self._producer.send_batch(batch, topic, partition=partition)
                appends.append(_append(result, batch.record_count()))
                batch = self._producer.create_batch()
                append = batch.append
                append(key=key, value=value, timestamp=None, headers=headers)
        if batch.record_count():
            result = await self._producer.send_batch(batch, topic, partition=partition)
            appends.append(_append(result, batch.record_count()))
        return appends

    async def close(self) -> None:
        """Lets go of the connections; an open transaction is left for the next owner to end."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2):
                await self._producer.stop()


class _Append(NamedTuple):
    """A batch on its way: its metadata to come, and how many records it holds."""

    result: asyncio.Future[Any]
    records: int


def _append(result: asyncio.Future[Any], records: int) -> _Append:
    """An append whose failure is known to be looked at, also where another one failed first."""
    result.add_done_callback(lambda done: done.cancelled() or done.exception())
    return _Append(result, records)

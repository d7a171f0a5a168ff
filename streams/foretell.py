"""The publisher's forecasts: made when a day has closed for a stream, scored when all has settled.

The law: what is told of a stream up to a settle time follows promises, so every outcome of actions
that began before it was written to `outcomes` before. A forecast waits until Postgres has all that
`outcomes` had when the day was seen to be closed, in every partition. Rows do not wait for it: it
is read and reckoned while the publisher goes on, which changes nothing of a closed day. It is
written by the owner of the stream's partition alone, in a short transaction between its own ones,
in which that partition stands where the owner left it, and only if the stream was not forgotten
since; what was made once and is made again is the same. Then nothing asks for the stream's oldest
days any more, and they are added up.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from agents_topics.topics import CALIBRATION_UPDATES, OUTCOMES
from sinks.contract import OffsetMoved, SinkBusy
from sinks.postgres.bulk import SETTLED_OFFSET, BulkWriter
from sinks.postgres.calibration_readings import StreamKey
from sinks.postgres.earlier_days import add_up_days
from sinks.postgres.forecasts import (
    DAYS_MAX,
    Basis,
    Told,
    basis_of,
    closed_days,
    drop_unscored,
    due_days,
    was_known_before,
    write_forecasts,
)
from sinks.postgres.statements import FORECASTS
from sinks.postgres.writer import LINEAGE, PostgresWriter
from streams.task import Busy
from streams.work import Tools
from tables.day_forecasts import DayKnown, Known, OpenGroup, day_forecasts
from tables.open_actions import DayDelays

LOOK_S = 2.0
PUT_OFF_S = 60.0
NEXT_S = 0.05
REST = 9
"""Times as long as a day's forecast has taken it rests: rows come first."""

log = structlog.get_logger("trueup.forecasts")


class Foretelling:
    """The forecasts of one publisher task, made beside its rows, one stream after the other.

    Args:
        partition: Of `calibration-updates`, whose streams they are of.
        tools: The worker's.
        writer: Where they are kept; no rows may wait for its connections.
        offsets: Where the publisher stands, by topic; it moves as the publisher writes.
        writing: Held while the publisher writes.
    """

    def __init__(
        self,
        partition: int,
        tools: Tools,
        writer: PostgresWriter,
        offsets: Mapping[str, int],
        writing: asyncio.Lock,
    ) -> None:
        self._partition = partition
        self._tools = tools
        self._writer = writer
        self._offsets = offsets
        self._writing = writing
        self._done: dict[StreamKey, int] = {}
        self._due: list[tuple[StreamKey, int]] = []
        self._awaited: dict[int, int] = {}
        self._looked_at = 0
        self._may_go_on = asyncio.Event()
        self._job: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins, in the background, as soon as it may go on."""
        self._job = asyncio.create_task(self._run(), name=f"forecasts-{self._partition}")

    def go_on(self, is_drained: bool) -> None:
        """Goes on while its task has nothing to write.

        Raises:
            Busy: another worker was here.
            Exception: whatever else has ended it.
        """
        if self._job and self._job.done():
            self._job.result()
        if is_drained:
            self._may_go_on.set()
        else:
            self._may_go_on.clear()

    async def close(self) -> None:
        """Ends it: what is not written is made by the next owner."""
        if not self._job:
            return
        self._job.cancel()
        await asyncio.wait([self._job])
        problem = None if self._job.cancelled() else self._job.exception()
        if problem and not isinstance(problem, Busy):
            log.error("forecasts_failed", partition=self._partition, exc_info=problem)

    async def _run(self) -> None:
        while True:
            await self._may_go_on.wait()
            async with self._tools.foretelling:
                wait_s = await self.turn()
            await asyncio.sleep(wait_s)

    async def turn(self) -> float:
        """Looks for what is due, or makes it for a stream; after how many seconds to come again.

        Raises:
            Busy: another worker was here.
        """
        try:
            return await self._do_next()
        except (SinkBusy, KafkaError, OSError) as problem:
            log.warning("forecasts_put_off", partition=self._partition, reason=str(problem))
            self._due = [*self._due[-1:], *self._due[:-1]]
            return PUT_OFF_S
        except OffsetMoved as moved:
            raise Busy(str(moved), 0) from moved

    async def _do_next(self) -> float:
        if not self._due and self._stands_at != self._looked_at:
            await self._look()
        if not self._due or not await self._is_written():
            return LOOK_S
        await self._make(*self._due[-1])
        self._due.pop()
        return NEXT_S

    @property
    def _stands_at(self) -> int:
        return self._offsets[CALIBRATION_UPDATES.name]

    async def _look(self) -> None:
        stands_at = self._stands_at
        async with self._writer.reading() as connection:
            found = await closed_days(connection, self._partition, self._looked_at)
        due = [(stream, day) for stream, day in found if self._done.get(stream) != day]
        self._awaited = await self._ends() if due else {}
        self._due, self._looked_at = due, stands_at

    async def _ends(self) -> dict[int, int]:
        """Where the partitions of `outcomes` end, with what lies in open transactions."""
        name, broker = self._tools.names[OUTCOMES.name], self._tools.broker
        partitions = range(self._tools.partition_count)
        return {one: (await broker.high_watermarks([name], one))[name] for one in partitions}

    async def _is_written(self) -> bool:
        """Whether Postgres has all that `outcomes` had when it was looked."""
        topic, broker = OUTCOMES.name, self._tools.broker
        for partition, end in list(self._awaited.items()):
            begin = (await self._writer.next_offsets(partition, [topic]))[topic]
            if begin < end and not await broker.is_empty(
                self._tools.names[topic], partition, begin, end
            ):
                return False
            del self._awaited[partition]
        return True

    async def _make(self, stream: StreamKey, closed_day: int) -> None:
        async with self._writer.reading() as connection:
            new, unscored = await due_days(connection, stream, closed_day)
        since_day = self._done.get(stream, new.start - 1)
        days = [*unscored, *(day for day in new if day > since_day)]
        for some in _pieces(days):
            if not await self._make_some(stream, some, closed_day):
                return
        async with self._standing() as connection:
            await add_up_days(connection, stream, closed_day, self._tools.days_kept)
        self._done[stream] = closed_day

    async def _make_some(self, stream: StreamKey, days: Sequence[int], closed_day: int) -> bool:
        """Whether they were written: not if the stream was forgotten meanwhile."""
        stood_at = self._stands_at
        async with self._writer.reading() as connection:
            basis = await basis_of(connection, stream, days)
        told = await told_at_leisure(basis, closed_day)
        async with self._standing() as connection:
            if not await was_known_before(connection, stream, stood_at):
                return False
            version = LINEAGE, self._partition, self._stands_at - 1
            await drop_unscored(connection, stream, days)
            await write_forecasts(connection, stream, told, version, FORECASTS.upsert)
        return True

    @asynccontextmanager
    async def _standing(self) -> AsyncIterator[Any]:
        """A transaction between those of the publisher, in which its partition is its own."""
        topic = CALIBRATION_UPDATES.name
        async with self._writing:
            standing = self._writer.standing(topic, self._partition, self._stands_at)
            async with standing as connection:
                yield connection


async def told_at_leisure(basis: Basis, closed_day: int) -> list[Told]:
    """The forecasts that rest on this, as known when a day has closed; day by day, with rests."""
    days, loop = _told(basis, closed_day), asyncio.get_running_loop()
    found: list[Told] = []
    while True:
        began_s = loop.time()
        # Another thread: of very many open actions a day takes longer than the loop can spare.
        one = await asyncio.to_thread(next, days, None)
        if one is None:
            return found
        found.append(one)
        await asyncio.sleep(REST * (loop.time() - began_s))


def _pieces(days: Sequence[int]) -> Iterator[Sequence[int]]:
    for begin in range(0, len(days), DAYS_MAX):
        yield days[begin : begin + DAYS_MAX]


def _told(basis: Basis, closed_day: int) -> Iterator[Told]:
    known = Known(
        [OpenGroup(*row) for row in basis.open],
        [DayKnown(*row) for row in basis.sums],
        [DayDelays(*row) for row in basis.delays],
    )
    for one in day_forecasts(known, closed_day):
        made = one.made
        figures = made.count, made.expected, made.low, made.high
        yield Told(one.day, *figures, one.settles_at_ms, one.came)


async def foretell_again(bulk: BulkWriter, days_kept: int) -> int:
    """Every forecast of the streams that a replay has made is stored, and so many days are kept;
    how many forecasts were.
    """
    written, version = 0, (LINEAGE, 0, SETTLED_OFFSET)
    async with bulk.transaction() as connection:
        closed = await closed_days(connection, None, 0)
    for stream, closed_day in closed:
        async with bulk.transaction() as connection:
            new, _ = await due_days(connection, stream, closed_day)
        for some in _pieces(new):
            async with bulk.transaction() as connection:
                basis = await basis_of(connection, stream, some)
            told = list(_told(basis, closed_day))
            async with bulk.transaction() as connection:
                written += await write_forecasts(
                    connection, stream, told, version, FORECASTS.refill
                )
        async with bulk.transaction() as connection:
            await add_up_days(connection, stream, closed_day, days_kept)
    return written

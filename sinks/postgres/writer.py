"""Rows and offsets into Postgres, together, once: the publisher's way out.

The law: one transaction a batch. It locks the partition's next offset first; a batch that begins
elsewhere is refused, so of two workers that both believe to own a partition one writes and the
other is told where to seek. Nothing is retried here: whatever fails, the connection is thrown away,
its transaction is broken off by the server, and the caller comes again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from agents_topics.topics import CALIBRATION_UPDATES, OUTCOMES
from sinks.contract import OffsetMoved
from sinks.postgres import statements
from sinks.postgres.busy import BROKEN, LOST, busy_while_away
from sinks.postgres.calibration_records import emptied_among, last_told, rows_of
from sinks.postgres.connect import connect
from sinks.postgres.forgetting import (
    delete_corrections,
    delete_emptied,
    forget_rows,
    forgotten_among,
    left_of,
)
from sinks.postgres.outcome_rows import last_outcomes, outcome_row
from sinks.postgres.row_types import Record, Row
from sinks.postgres.statements import Staged
from sinks.postgres.sum_rows import display_bin_id

LINEAGE = 0
ROLE = "trueup_writer"
# A worker that was stopped in mid transaction holds its partition's offset; the server ends it.
_IDLE_S_MAX = 15
_POSTGRES_EPOCH_DAY = 10_957
_POSTGRES_EPOCH_US = _POSTGRES_EPOCH_DAY * 86_400_000_000

Store = Callable[[Any], Awaitable[None]]


@dataclass(slots=True)
class Written:
    """What this writer has committed; `refused` are later, different records of settled rows."""

    records: int = 0
    rows: int = 0
    transactions: int = 0
    refused: int = 0


class PostgresWriter:
    """Writes `outcomes` and `calibration-updates`; a sink with the contract of `sinks.contract`.

    Args:
        url: Address of the database; its user may set the role `trueup_writer`.
        prefix: Of the topics' names on the broker: offsets belong to those.
        connections_max: More writes at a time than this wait for each other.
        command_timeout_s: How long one statement may take.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "",
        *,
        connections_max: int = 4,
        command_timeout_s: float = 30.0,
    ) -> None:
        self.written = Written()
        self._url = url
        self._prefix = prefix
        self._command_timeout_s = command_timeout_s
        self._turns = asyncio.Semaphore(connections_max)
        self._idle: list[Any] = []

    async def __aenter__(self) -> Self:
        """Connects when first asked to write, so that a server may come later."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends the connections."""
        await self.close()

    async def close(self) -> None:
        """Ends the idle connections; a write under way ends its own."""
        while self._idle:
            self._idle.pop().terminate()

    async def next_offsets(self, partition: int, topics: Sequence[str]) -> dict[str, int]:
        """Where to go on, by topic.

        Raises:
            SinkBusy: Postgres cannot answer now.
        """
        async with self._connection() as connection:
            names = [self._prefix + topic for topic in topics]
            rows = await connection.fetch(statements.NEXT_OFFSETS, partition, names)
        held = {row["topic"]: row["next_offset"] for row in rows}
        return {topic: held.get(self._prefix + topic, 0) for topic in topics}

    async def write(
        self,
        topic: str,
        partition: int,
        first_offset: int,
        next_offset: int,
        records: Sequence[Record],
    ) -> None:
        """Stores the rows of records and the next offset, together.

        Raises:
            OffsetMoved: The batch does not begin where Postgres stands; nothing was written.
            SinkBusy: Postgres cannot take it now, or its answer was lost.
        """
        counted = Written(records=len(records), transactions=1)
        store = _STORES[topic](records, partition, counted)
        name = self._prefix + topic
        async with self.standing(topic, partition, first_offset) as connection:
            if records:
                await store(connection)
            await connection.execute(statements.STORE_OFFSET, name, partition, next_offset, LINEAGE)
        self._count(counted)

    @asynccontextmanager
    async def standing(self, topic: str, partition: int, offset: int) -> AsyncIterator[Any]:
        """A connection in a transaction in which a partition stands where its owner believes.

        Raises:
            OffsetMoved: It stands elsewhere; nothing is written.
            SinkBusy: Postgres cannot take it now, or its answer was lost.
        """
        # No rollback is sent: a connection that fails is thrown away, and its transaction with it.
        async with self._connection() as connection:
            await connection.execute("BEGIN")
            expected = await _locked_offset(connection, self._prefix + topic, partition)
            if expected != offset:
                raise OffsetMoved(topic, partition, offset, expected)
            yield connection
            await connection.execute("COMMIT")

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        """A connection in a transaction that sees one moment, holds no offset and writes nothing.

        Raises:
            SinkBusy: Postgres cannot answer now.
        """
        async with self._connection() as connection:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection
            await connection.execute("COMMIT")

    def _count(self, more: Written) -> None:
        self.written.records += more.records
        self.written.rows += more.rows
        self.written.transactions += more.transactions
        self.written.refused += more.refused

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        async with self._turns, busy_while_away():
            connection = self._take_idle() or await self._connect()
            try:
                yield connection
            except BaseException as problem:
                # Its transaction, and even whether it was committed, are unknown now.
                # The driver may trip over a connection that has just ended before it knows of the
                # end: its own broken state is such an end too.
                was_lost = connection.is_closed() or isinstance(problem, BROKEN)
                connection.terminate()
                if was_lost and isinstance(problem, LOST):
                    raise ConnectionResetError(str(problem)) from problem
                raise
            self._idle.append(connection)

    def _take_idle(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _connect(self) -> Any:
        tables = (statements.OUTCOMES, *statements.OF_STREAMS)
        return await writing_connection(self._url, tables, self._command_timeout_s)


async def writing_connection(url: str, tables: Iterable[Staged], command_timeout_s: float) -> Any:
    """A connection as the writer, who stages rows; times and days are counted from 1970."""
    connection = await connect(url, command_timeout=command_timeout_s)
    try:
        await connection.execute(
            f"SET ROLE {ROLE}; SET jit = off; SET client_min_messages = warning;"
            f" SET lock_timeout = '{_IDLE_S_MAX}s';"
            f" SET idle_in_transaction_session_timeout = '{_IDLE_S_MAX}s';"
            f" SET statement_timeout = '{command_timeout_s * 1000:.0f}ms';"
            f" {'; '.join(staged.create for staged in tables)}"
        )
        await count_times_from_1970(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def count_times_from_1970(connection: Any) -> None:
    """Times are milliseconds and dates are days; exact, and no datetime in between."""
    for name, encode, decode in (
        (
            "timestamptz",
            lambda ms: (ms * 1000 - _POSTGRES_EPOCH_US,),
            lambda us: (us[0] + _POSTGRES_EPOCH_US) // 1000,
        ),
        (
            "date",
            lambda day: (day - _POSTGRES_EPOCH_DAY,),
            lambda day: day[0] + _POSTGRES_EPOCH_DAY,
        ),
    ):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=encode, decoder=decode, format="tuple"
        )


async def _locked_offset(connection: Any, topic: str, partition: int) -> int:
    """The next offset, ours until the transaction ends."""
    held: int | None = await connection.fetchval(statements.LOCK_OFFSET, topic, partition)
    if held is None:
        await connection.execute(statements.FIRST_OFFSET, topic, partition, LINEAGE)
        held = await connection.fetchval(statements.LOCK_OFFSET, topic, partition)
    assert held is not None
    return held


async def upsert(
    connection: Any, staged: Staged, rows: Sequence[Row], statement: str | None = None
) -> int:
    """How many rows changed, by `upsert` or another statement; what was staged before is gone.

    The server would empty every staging table at every commit, used or not: 2 ms for each.
    """
    await connection.execute(f"TRUNCATE {staged.staging}")
    await connection.copy_records_to_table(staged.staging, records=rows, columns=staged.columns)
    status: str = await connection.execute(statement or staged.upsert)
    return int(status.rpartition(" ")[2])


def _outcomes(records: Sequence[Record], partition: int, counted: Written) -> Store:
    forgotten = forgotten_among(records)
    left = left_of(records, forgotten) if forgotten else records
    last, counted.refused = last_outcomes(left)
    rows = [outcome_row(outcome, LINEAGE, partition, offset) for offset, outcome in last]

    async def store(connection: Any) -> None:
        await forget_rows(connection, forgotten, partition)
        counted.rows = await upsert(connection, statements.OUTCOMES, rows)
        if counted.rows < len(rows):
            counted.refused += await connection.fetchval(statements.COUNT_REFUSED)

    return store


def _calibration(records: Sequence[Record], partition: int, counted: Written) -> Store:
    last = last_told(records)
    bins = last.get(statements.STREAM_BINS.table, [])
    rows = [
        (staged, rows_of(last[staged.table], LINEAGE, partition))
        for staged in statements.CALIBRATION
        if staged.table in last
    ]
    emptied = emptied_among(records)

    async def store(connection: Any) -> None:
        await delete_corrections(connection, emptied.keys())
        for staged, some in rows:
            counted.rows += await upsert(connection, staged, some)
        await show_bins(connection, ((u.tenant_id, u.action_type, u.bin_index) for _, u in bins))
        await delete_emptied(connection, emptied, partition)

    return store


async def show_bins(connection: Any, touched: Iterable[tuple[str, str, int]]) -> None:
    """The rows for display of these bins: tenant, action type, index."""
    keys = sorted(set(touched))
    if keys:
        ids = [display_bin_id(*key) for key in keys]
        await connection.execute(statements.UPSERT_BINS, ids, *map(list, zip(*keys, strict=True)))


_STORES: dict[str, Callable[[Sequence[Record], int, Written], Store]] = {
    OUTCOMES.name: _outcomes,
    CALIBRATION_UPDATES.name: _calibration,
}

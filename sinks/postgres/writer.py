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
from sinks.postgres.connect import connect
from sinks.postgres.rows import (
    Record,
    Row,
    display_bin_id,
    label_rate_rows,
    last_label_rates,
    last_outcomes,
    last_updates,
    outcome_row,
    stream_bin_rows,
)
from sinks.postgres.statements import Staged

LINEAGE = 0
ROLE = "trueup_writer"
# A worker that was stopped in mid transaction holds its partition's offset; the server ends it.
_IDLE_S_MAX = 15
_POSTGRES_EPOCH_US = 946_684_800_000_000

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
        # No rollback is sent: a connection that fails is thrown away, and its transaction with it.
        async with self._connection() as connection:
            await connection.execute("BEGIN")
            expected = await _locked_offset(connection, name, partition)
            if expected != first_offset:
                raise OffsetMoved(topic, partition, first_offset, expected)
            if records:
                await store(connection)
            await connection.execute(statements.STORE_OFFSET, name, partition, next_offset, LINEAGE)
            await connection.execute("COMMIT")
        self._count(counted)

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
        tables = (statements.OUTCOMES, statements.STREAM_BINS, statements.LABEL_RATES)
        return await writing_connection(self._url, tables, self._command_timeout_s)


async def writing_connection(url: str, tables: Iterable[Staged], command_timeout_s: float) -> Any:
    """A connection as the writer, who stages rows of these tables; times are milliseconds."""
    connection = await connect(url, command_timeout=command_timeout_s)
    try:
        await connection.execute(
            f"SET ROLE {ROLE}; SET jit = off; SET client_min_messages = warning;"
            f" SET lock_timeout = '{_IDLE_S_MAX}s';"
            f" SET idle_in_transaction_session_timeout = '{_IDLE_S_MAX}s';"
            f" SET statement_timeout = '{command_timeout_s * 1000:.0f}ms';"
            f" {'; '.join(staged.create for staged in tables)}"
        )
        # Milliseconds go to the server as they are: exact, and no datetime in between.
        await connection.set_type_codec(
            "timestamptz",
            schema="pg_catalog",
            encoder=lambda ms: (ms * 1000 - _POSTGRES_EPOCH_US,),
            decoder=lambda us: (us[0] + _POSTGRES_EPOCH_US) // 1000,
            format="tuple",
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _locked_offset(connection: Any, topic: str, partition: int) -> int:
    """The next offset, ours until the transaction ends."""
    held: int | None = await connection.fetchval(statements.LOCK_OFFSET, topic, partition)
    if held is None:
        await connection.execute(statements.FIRST_OFFSET, topic, partition, LINEAGE)
        held = await connection.fetchval(statements.LOCK_OFFSET, topic, partition)
    assert held is not None
    return held


async def upsert(connection: Any, staged: Staged, rows: Sequence[Row]) -> int:
    """How many rows changed."""
    await connection.copy_records_to_table(staged.staging, records=rows, columns=staged.columns)
    status: str = await connection.execute(staged.upsert)
    return int(status.rpartition(" ")[2])


def _outcomes(records: Sequence[Record], partition: int, counted: Written) -> Store:
    last, counted.refused = last_outcomes(records)
    rows = [outcome_row(outcome, LINEAGE, partition, offset) for offset, outcome in last]

    async def store(connection: Any) -> None:
        counted.rows = await upsert(connection, statements.OUTCOMES, rows)
        if counted.rows < len(rows):
            counted.refused += await connection.fetchval(statements.COUNT_REFUSED)

    return store


def _calibration(records: Sequence[Record], partition: int, counted: Written) -> Store:
    last = last_updates(records)
    rows = [
        row
        for offset, update in last
        for row in stream_bin_rows(update, LINEAGE, partition, offset)
    ]
    touched = sorted({(u.tenant_id, u.action_type, u.bin_index) for _, u in last})
    ids = [display_bin_id(*bin_key) for bin_key in touched]
    label_rows = [
        row
        for offset, rate in last_label_rates(records)
        for row in label_rate_rows(rate, LINEAGE, partition, offset)
    ]

    async def store(connection: Any) -> None:
        if rows:
            counted.rows += await upsert(connection, statements.STREAM_BINS, rows)
            await connection.execute(
                statements.UPSERT_BINS, ids, *map(list, zip(*touched, strict=True))
            )
        if label_rows:
            counted.rows += await upsert(connection, statements.LABEL_RATES, label_rows)

    return store


_STORES: dict[str, Callable[[Sequence[Record], int, Written], Store]] = {
    OUTCOMES.name: _outcomes,
    CALIBRATION_UPDATES.name: _calibration,
}

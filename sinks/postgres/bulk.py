"""What a replay writes: many rows at a time, into the live tables or beside them.

The law: a replay's rows are older than every row of the live publisher (their offsets are below
zero), so that they fill what is missing and change nothing else; a settled one wins over an open
one, of open ones that with the later `as_of_ms`. Written again nothing changes.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from types import TracebackType
from typing import Any, Self

from agents_topics.events import CalibrationUpdate, Outcome
from sinks.postgres import statements
from sinks.postgres.calibration_records import FAMILY_OF, Told, rows_of
from sinks.postgres.connect import problems_told
from sinks.postgres.outcome_rows import replayed_row
from sinks.postgres.statements import OF_A_REPLAY
from sinks.postgres.writer import show_bins, upsert, writing_connection

ROWS_MAX = 20_000
COMMAND_TIMEOUT_S = 600.0
SETTLED_OFFSET = -1
LINEAGE = 0

_LEAVE_OFFSET = (
    "INSERT INTO tenant.sink_offsets (topic, partition, next_offset, lineage)"
    " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
)
IS_LIVE = "SELECT EXISTS (SELECT FROM tenant.outcome_records WHERE output_offset >= 0)"


def open_offset(as_of_ms: int) -> int:
    """The version of an open row: below every settled one, and greater the later it was known."""
    return max(as_of_ms, -(2**62)) - 2**62


class BulkWriter:
    """Open inside an `async with`; writes to the live tables, or to the shadow of a name.

    Raises:
        PostgresProblem: Postgres is not there or refuses.
    """

    def __init__(self, url: str, shadow: str | None = None) -> None:
        self._url = url
        self._shadow = shadow
        self._staged = statements.OUTCOMES if shadow is None else statements.SHADOW_OUTCOMES
        self._connection: Any = None

    async def __aenter__(self) -> Self:
        with problems_told():
            self._connection = await writing_connection(
                self._url, [self._staged, *statements.OF_STREAMS], COMMAND_TIMEOUT_S
            )
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _problem: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._connection.close()

    async def write(
        self, outcomes: Iterable[Outcome], partition: int, offset: int = SETTLED_OFFSET
    ) -> int:
        """Stores outcomes, each as the first of its id; returns how many rows changed."""
        rest, changed = iter(outcomes), 0
        named = () if self._shadow is None else (self._shadow,)
        while some := list(islice(rest, ROWS_MAX)):
            first = {one.id: one for one in reversed(some)}
            rows = [(*named, *replayed_row(o, LINEAGE, partition, offset)) for o in first.values()]
            with problems_told():
                async with self._connection.transaction():
                    changed += await upsert(self._connection, self._staged, rows)
        return changed

    async def clear_calibration(self) -> None:
        """What replays have written of streams is gone."""
        with problems_told():
            async with self._connection.transaction():
                for staged in statements.OF_STREAMS:
                    await self._connection.execute(
                        f"DELETE FROM tenant.{staged.table} WHERE {OF_A_REPLAY}"
                    )

    async def write_calibration(self, records: Iterable[Told]) -> int:
        """Stores what is told of streams, where live has not; how many rows changed."""
        rest, changed = iter(records), 0
        while some := list(islice(rest, ROWS_MAX)):
            with problems_told():
                async with self._connection.transaction():
                    changed += await self._write_told(some)
        return changed

    async def _write_told(self, records: Sequence[Told]) -> int:
        of_table: dict[str, list[tuple[int, Told]]] = {}
        for one in records:
            table = FAMILY_OF[type(one)].staged.table
            of_table.setdefault(table, []).append((SETTLED_OFFSET, one))
        changed = 0
        for staged in statements.CALIBRATION:
            if told := of_table.get(staged.table):
                rows = rows_of(told, LINEAGE, 0)
                changed += await upsert(self._connection, staged, rows, staged.refill)
        bins = (one for one in records if isinstance(one, CalibrationUpdate))
        await show_bins(self._connection, ((b.tenant_id, b.action_type, b.bin_index) for b in bins))
        return changed

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Its connection, in a transaction of one's own."""
        with problems_told():
            async with self._connection.transaction():
                yield self._connection

    async def leave(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Says where the live publisher goes on if it was never here."""
        with problems_told():
            async with self._connection.transaction():
                for (topic, partition), offset in next_offsets.items():
                    await self._connection.execute(_LEAVE_OFFSET, topic, partition, offset, LINEAGE)

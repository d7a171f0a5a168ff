"""What a replay writes: many rows at a time, into the live tables or beside them.

The law: a replay's rows are older than every row of the live publisher (their offsets are below
zero), so that they fill what is missing and change nothing else; a settled one wins over an open
one, of open ones that with the later `as_of_ms`. Written again nothing changes.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Self

from agents_topics.events import Outcome
from sinks.postgres import statements
from sinks.postgres.connect import problems_told
from sinks.postgres.recounting import recount
from sinks.postgres.rows import replayed_row
from sinks.postgres.writer import upsert, writing_connection

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
                self._url, [self._staged], COMMAND_TIMEOUT_S
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

    async def finish(self, as_of_ms: int, next_offsets: Mapping[tuple[str, int], int]) -> None:
        """Counts the bins, and says where the live publisher goes on if it was never here."""
        with problems_told():
            async with self._connection.transaction():
                await recount(self._connection, as_of_ms)
                for (topic, partition), offset in next_offsets.items():
                    await self._connection.execute(_LEAVE_OFFSET, topic, partition, offset, LINEAGE)

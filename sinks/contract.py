"""What every sink promises its caller, and the two ways in which it says "not now".

The law: rows and the next offset are stored together or not at all, so that the sink alone says
where to go on. Whatever is written again changes nothing.
"""

from collections.abc import Sequence
from typing import Protocol


class Sink(Protocol):
    """Where rows go. Offsets are stored with the rows."""

    async def next_offsets(self, partition: int, topics: Sequence[str]) -> dict[str, int]:
        """Where to go on, by topic."""
        ...

    async def write(
        self,
        topic: str,
        partition: int,
        first_offset: int,
        next_offset: int,
        records: Sequence[tuple[int, bytes]],
    ) -> None:
        """Stores the rows of records and the next offset, together.

        Raises:
            OffsetMoved: The batch does not begin where the sink stands.
            SinkBusy: Not now.
        """
        ...


class OffsetMoved(Exception):
    """The batch does not begin where the sink stands: seek to `expected`. Nothing was written."""

    def __init__(self, topic: str, partition: int, first_offset: int, expected: int) -> None:
        super().__init__(
            f"{topic}/{partition}: the batch begins at {first_offset}, the sink is at {expected}"
        )
        self.expected = expected


class SinkBusy(Exception):
    """The sink cannot take the batch now; it is to be kept and tried again.

    Whether it was written is unknown where the answer was lost: ask `next_offsets` before.
    """

    def __init__(self, what: str, retry_after_s: float) -> None:
        super().__init__(what)
        self.retry_after_s = retry_after_s

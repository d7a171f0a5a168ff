"""A sink that is a list: the example, the debugger and the test double in one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sinks.contract import OffsetMoved


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it was written."""

    topic: str
    partition: int
    offset: int
    value: bytes


@dataclass(slots=True)
class MemorySink:
    """Keeps every record in the order written, and the next offsets beside them.

    Setting `busy` makes the next writes fail with it, as a server that is away does.
    """

    stored: list[Stored] = field(default_factory=list)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    busy: Exception | None = None

    async def next_offsets(self, partition: int, topics: Sequence[str]) -> dict[str, int]:
        """Where to go on, by topic."""
        return {topic: self.offsets.get((topic, partition), 0) for topic in topics}

    async def write(
        self,
        topic: str,
        partition: int,
        first_offset: int,
        next_offset: int,
        records: Sequence[tuple[int, bytes]],
    ) -> None:
        """Stores the records and the next offset, together.

        Raises:
            OffsetMoved: The batch does not begin where the sink stands.
        """
        if self.busy is not None:
            raise self.busy
        expected = self.offsets.get((topic, partition), 0)
        if first_offset != expected:
            raise OffsetMoved(topic, partition, first_offset, expected)
        self.stored += [Stored(topic, partition, offset, value) for offset, value in records]
        self.offsets[topic, partition] = next_offset

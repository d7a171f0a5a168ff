"""The partitions of a topic merged into one order that may be parted again in any way.

The law: what is not behind in its own partition is behind in none that it is put into. Of the
records that stand first in their sources the oldest is taken next, by its time as it was capped.
So whatever was taken of another source while a record of this one stood first is no newer than that
record. A record that was on time was within the grace of all that its source gave before it; each
of the others' is no newer than one of those, or than the record itself.

The cap of a time is the broker's time of its record, and a copy's is a later one. What lies ahead
of its broker's time would so move time further than it did; it is held back until a record is taken
that is as new, and moves nothing then.
"""

import heapq
import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from tables.replay import Source


class Entry(NamedTuple):
    """A record, its time, and the time as it was capped."""

    at_ms: int
    capped_ms: int
    record: Any


class Merge:
    """Some sources, each given in the order of its log, in pieces of any size."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._queues: dict[Source, deque[Entry]] = {source: deque() for source in sources}
        self._heads: list[tuple[int, Source]] = []
        self._ahead: list[tuple[int, int, Entry]] = []
        self._ahead_count = 0

    def lacks(self, source: Source) -> bool:
        """Whether nothing of a source waits to be taken."""
        return not self._queues[source]

    def add(self, source: Source, entries: Iterable[Entry]) -> None:
        """The next entries of a source."""
        queue = self._queues[source]
        has_head = bool(queue)
        queue.extend(entries)
        if queue and not has_head:
            heapq.heappush(self._heads, (queue[0].capped_ms, source))

    def ready(self, unread: Collection[Source]) -> Iterator[Entry]:
        """What may be taken while these sources have more to give; all that is left if none has."""
        may_take = not any(self.lacks(source) for source in unread)
        while self._heads and may_take:
            _, source = heapq.heappop(self._heads)
            queue = self._queues[source]
            entry = queue.popleft()
            if queue:
                heapq.heappush(self._heads, (queue[0].capped_ms, source))
            else:
                may_take = source not in unread
            yield from self._caught_up(entry.capped_ms)
            if entry.at_ms > entry.capped_ms:
                self._hold(entry)
            else:
                yield entry
        if not unread:
            yield from self._caught_up(sys.maxsize)

    def _hold(self, entry: Entry) -> None:
        heapq.heappush(self._ahead, (entry.at_ms, self._ahead_count, entry))
        self._ahead_count += 1

    def _caught_up(self, capped_ms: int) -> Iterator[Entry]:
        """What was held back and is ahead no more, in the order of its times."""
        while self._ahead and self._ahead[0][0] <= capped_ms:
            yield heapq.heappop(self._ahead)[2]

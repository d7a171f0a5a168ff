"""The outcomes of a calibrator's partition that wait for their turn to enter.

The law: those of a stream are taken in the order of `Waiting`. Where a step cannot take all that
are due, each stream has an equal share of it and what is left over goes to whoever has more: a
stream with very many holds no other up.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import chain
from math import inf
from typing import NamedTuple

from tables.forgetting import parted
from tables.stream import Stream

RELEASED_PER_TURN = 2_000
"""So many are found to be due without a stop, at 2 to 5 µs an outcome."""


class Waiting(NamedTuple):
    """A settled outcome in the order of entry; with a label in the place of a number, or without.

    A row that an earlier release wrote ends with `is_lead` or with `label`.
    """

    settled_at_ms: int
    created_at_ms: int
    action_id: str
    conversation_id: str
    id: str
    stream: Stream
    millionths: int | None
    status: str
    expired_counts: bool
    is_lead: bool
    label: str | None = None
    policy_version: str = ""
    delay_ms: int | None = None
    agent_version: str | None = None
    segments: tuple[tuple[str, str], ...] = ()


class WaitingOutcomes:
    """They wait all together until they are released, then by stream until they are taken."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._due: dict[Stream, deque[Waiting]] = {}

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._due.values()))

    @property
    def are_due(self) -> bool:
        """Whether some have been released and not been taken."""
        return bool(self._due)

    @property
    def next_ms(self) -> float:
        """The first settle time of those that have not been released."""
        return self._waiting[0].settled_at_ms if self._waiting else inf

    def push(self, waiting: Waiting) -> None:
        """One more waits."""
        heapq.heappush(self._waiting, waiting)

    def release(self, until_ms: float) -> Iterator[None]:
        """Those with a settle time up to this one are due; stops after every few."""
        number = 0
        while self.next_ms <= until_ms:
            waiting = heapq.heappop(self._waiting)
            self._due.setdefault(waiting.stream, deque()).append(waiting)
            number += 1
            if number % RELEASED_PER_TURN == 0:
                yield

    def take(self, count_max: int) -> dict[Stream, list[Waiting]]:
        """Of what is due at most so many, by stream and in order."""
        share = max(count_max // max(len(self._due), 1), 1)
        taken: dict[Stream, list[Waiting]] = {}
        left = count_max
        for part in (share, count_max):
            for stream, due in self._due.items():
                count = min(part, left, len(due))
                taken.setdefault(stream, []).extend(due.popleft() for _ in range(count))
                left -= count
        self._due = {stream: due for stream, due in self._due.items() if due}
        return {stream: some for stream, some in taken.items() if some}

    def forget(self, tenant_id: str) -> Iterator[Waiting]:
        """Those of a tenant wait no more."""
        gone, self._waiting = parted(self._waiting, lambda one: one.stream.tenant_id == tenant_id)
        streams = [stream for stream in self._due if stream.tenant_id == tenant_id]
        return chain(gone, *(self._due.pop(stream) for stream in streams))

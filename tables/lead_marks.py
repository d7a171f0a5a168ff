"""Which settling outcomes are lead records: the first of a conversation's overlapping ones.

Outcomes of one conversation whose windows overlap share their luck; the lead records of a stream do
not (methods: two sets of bins). A mark is the window end of a conversation's last lead record in a
stream, kept while an action that began before that end may still settle. In the changelog marks
stand in bounded chunks, for each step and hour in which they are forgotten.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from tables.remembered_ids import CHUNK_MAX

HOUR_MS = 3_600_000

Lead = tuple[str, str, str, int, str]
"""Conversation key and stream: action type, outcome type, window, confidence source."""


class LeadMarks:
    """The marks of one partition.

    Args:
        settle_after_ms_of: The longest wait from an action to its settle time, by (action type,
            outcome type, window).
    """

    def __init__(self, settle_after_ms_of: dict[tuple[str, str, int], int]) -> None:
        self._settle_after_ms_of = settle_after_ms_of
        self._ends_ms: dict[Lead, int] = {}
        self._by_hour: dict[int, list[Lead]] = defaultdict(list)
        self._chunks: dict[int, int] = {}
        self._new: dict[Lead, None] = {}

    def __len__(self) -> int:
        return len(self._ends_ms)

    def take(self, lead: Lead, at_ms: int, end_ms: int) -> bool:
        """Whether the outcome that settles now, with the window [at, end), is a lead record."""
        last_end_ms = self._ends_ms.get(lead)
        if last_end_ms is not None and at_ms < last_end_ms:
            return False
        self._ends_ms[lead] = end_ms
        self._new[lead] = None
        return True

    def finish(self, settled_ms: int, changes: dict[bytes, Any]) -> None:
        """Ends a step: forgets what is due, logs what is new and still counts."""
        hour_now = settled_ms // HOUR_MS
        for hour in [h for h in self._by_hour if h <= hour_now]:
            for lead in self._by_hour.pop(hour):
                end_ms = self._ends_ms.get(lead)
                if end_ms is not None and self._hour_of(lead, end_ms) <= hour_now:
                    del self._ends_ms[lead]
            for number in range(self._chunks.pop(hour, 0)):
                changes[_key(hour, number)] = None
        rows: dict[int, list[tuple[Lead, int]]] = defaultdict(list)
        for lead in self._new:
            end_ms = self._ends_ms.get(lead)
            if end_ms is None:
                continue
            hour = self._hour_of(lead, end_ms)
            if hour <= hour_now:
                del self._ends_ms[lead]
            else:
                rows[hour].append((lead, end_ms))
        self._new.clear()
        for hour, new in rows.items():
            self._log(hour, new, changes)

    def _log(self, hour: int, new: list[tuple[Lead, int]], changes: dict[bytes, Any]) -> None:
        self._by_hour[hour] += [lead for lead, _ in new]
        for start in range(0, len(new), CHUNK_MAX):
            number = self._chunks.get(hour, 0)
            self._chunks[hour] = number + 1
            changes[_key(hour, number)] = new[start : start + CHUNK_MAX]

    def forget(self, is_meant: Callable[[str], bool], changes: dict[bytes, Any]) -> None:
        """No mark is left of the conversations whose keys are meant; the rows that named them are
        written anew without them.
        """
        for lead in [lead for lead in self._ends_ms if is_meant(lead[0])]:
            del self._ends_ms[lead]
            self._new.pop(lead, None)
        for hour, leads in list(self._by_hour.items()):
            if any(is_meant(lead[0]) for lead in leads):
                del self._by_hour[hour]
                for number in range(self._chunks.pop(hour)):
                    changes[_key(hour, number)] = None
                self._log(hour, list(self._left(hour, leads)), changes)

    def _left(self, hour: int, leads: list[Lead]) -> Iterator[tuple[Lead, int]]:
        """The marks among them that are forgotten in this hour."""
        for lead in dict.fromkeys(leads):
            end_ms = self._ends_ms.get(lead)
            if end_ms is not None and self._hour_of(lead, end_ms) == hour:
                yield lead, end_ms

    def relog(self) -> None:
        """The next step logs every mark."""
        self._new = dict.fromkeys(self._ends_ms)
        self._by_hour.clear()
        self._chunks.clear()

    def restore(self, hour: int, number: int, chunk: list[Any]) -> None:
        """Takes back a chunk; of several marks of a lead the latest counts."""
        self._chunks[hour] = max(number + 1, self._chunks.get(hour, 0))
        for row, end_ms in chunk:
            lead: Lead = tuple(row)
            self._ends_ms[lead] = max(end_ms, self._ends_ms.get(lead, end_ms))
            self._by_hour[hour].append(lead)

    def _hour_of(self, lead: Lead, end_ms: int) -> int:
        """The first full hour at whose beginning no action before `end_ms` is left to settle."""
        return (end_ms + self._settle_after_ms_of[lead[1:4]]) // HOUR_MS + 1


def _key(hour: int, number: int) -> bytes:
    return f"l/{hour}/{number}".encode()

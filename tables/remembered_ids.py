"""The ids that a topic's copies would repeat, each for as long as a copy would not be late by rule.

In the changelog they stand in chunks: for each step and minute in which they are forgotten, so
that a whole minute is deleted with a few tombstones. A chunk is bounded, or a busy minute would
make a record that no broker takes.
"""

import hashlib
from collections import defaultdict
from sys import intern
from typing import Any

import msgspec

MINUTE_MS = 60_000
CHUNK_MAX = 500
"""Ids in a row of the changelog: of the longest ones 650 kB, of usual ones a tenth of that."""

Id = tuple[str, str]
"""Conversation key and event_id."""

_canonical = msgspec.json.Encoder(order="deterministic").encode


# What the contract has added to an action since ids are remembered are its last fields: left out
# where they are absent, so that a copy is a copy of what an earlier release has seen.
_ADDED = (b',"channel":null}', b',"confidence_label":null}')


def fingerprint(event: Any) -> str:
    """Equal for events that are equal as decoded, also in another process or release."""
    told = _canonical(event)
    for added in _ADDED:
        if not told.endswith(added):
            break
        told = told[: -len(added)] + b"}"
    return hashlib.blake2b(told, digest_size=8).hexdigest()


class RememberedIds:
    """The remembered ids of one topic in one partition."""

    def __init__(self, topic: str, grace_ms: int) -> None:
        self._topic = topic
        self._grace_ms = grace_ms
        self.held: dict[Id, tuple[int, str]] = {}
        """What is logged: by id its time and its event's fingerprint."""
        self.new: dict[Id, tuple[int, Any]] = {}
        """What is not logged yet, and not held: by id its time and its event."""
        self._by_minute: dict[int, list[Id]] = defaultdict(list)
        self._chunks: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.held) + len(self.new)

    def is_copy(self, seen: Id, event: Any, time_ms: int) -> bool | None:
        """Whether the event repeats a remembered one; None where the id is not remembered.

        An id is remembered until its own copies are late by rule, exactly: what lies longer in the
        state than that must not decide, or batch cuts would.
        """
        held = self.new.get(seen) or self.held.get(seen)
        if held is None or held[0] + self._grace_ms <= time_ms:
            return None
        # By fingerprints alone: 1, 1.0 and true are equal as values but not as they are logged.
        return bool(_digest_of(held[1]) == fingerprint(event))

    def add(self, seen: Id, at_ms: int, event: Any) -> None:
        """Remembers an admitted event, in the place of an older one of its id."""
        self.held.pop(seen, None)
        self.new[seen] = (at_ms, event)

    def forget_new(self, now_ms: int) -> None:
        """Forgets what is due of what is new, as far as it came in the order of time.

        In a backlog that is nearly all of a batch, and each id holds its event.
        """
        first_kept_ms, due = now_ms // MINUTE_MS * MINUTE_MS - self._grace_ms, []
        for seen, (at_ms, _) in self.new.items():
            if at_ms >= first_kept_ms:
                break
            due.append(seen)
        for seen in due:
            del self.new[seen]

    def finish(self, now_ms: int, changes: dict[bytes, Any]) -> None:
        """Ends a step at the topic's time: forgets what is due, logs what is new and still counts.

        An id is due in the first full minute at whose beginning a copy is late by rule.
        """
        minute_now = now_ms // MINUTE_MS
        for minute in [m for m in self._by_minute if m <= minute_now]:
            for seen in self._by_minute.pop(minute):
                held = self.held.get(seen)
                if held is not None and self._minute_of(held[0]) <= minute_now:
                    del self.held[seen]
            for number in range(self._chunks.pop(minute, 0)):
                changes[self._key(minute, number)] = None
        self._log_new(minute_now, changes)

    def _log_new(self, minute_now: int, changes: dict[bytes, Any]) -> None:
        rows: dict[int, list[tuple[Id, int, str]]] = defaultdict(list)
        for seen, (at_ms, event) in self.new.items():
            minute = self._minute_of(at_ms)
            if minute > minute_now:
                digest = _digest_of(event)
                self.held[seen] = (at_ms, digest)
                rows[minute].append((seen, at_ms, digest))
        self.new.clear()
        for minute, new in rows.items():
            self._by_minute[minute] += [seen for seen, _, _ in new]
            for start in range(0, len(new), CHUNK_MAX):
                number = self._chunks.get(minute, 0)
                self._chunks[minute] = number + 1
                changes[self._key(minute, number)] = new[start : start + CHUNK_MAX]

    def relog(self) -> None:
        """The next step logs every id."""
        self.new.update(self.held)
        self.held.clear()
        self._by_minute.clear()
        self._chunks.clear()

    def restore(self, minute: int, number: int, chunk: list[Any]) -> None:
        """Takes back a chunk; of several times of an id the latest counts."""
        self._chunks[minute] = max(number + 1, self._chunks.get(minute, 0))
        held, remember = self.held, self._by_minute[minute].append
        for (key, event_id), at_ms, digest in chunk:
            seen: Id = (intern(key), event_id)
            told = (at_ms, digest)
            before = held.get(seen)
            if before is None or before < told:
                held[seen] = told
            remember(seen)

    def _minute_of(self, at_ms: int) -> int:
        return (at_ms + self._grace_ms) // MINUTE_MS + 1

    def _key(self, minute: int, number: int) -> bytes:
        return f"d/{self._topic}/{minute}/{number}".encode()


def _digest_of(held: Any) -> str:
    """The fingerprint of what is held: that of an event, or what it was logged as."""
    return held if type(held) is str else fingerprint(held)

"""What was forgotten, and which life of a conversation a record belongs to.

The law: a task forgets a conversation, or a tenant, once, at a place in each of its topics that it
writes down. Records before that place are of a life that is over: no outcome of it may be shown,
and of a conversation what had settled by then stays in the bins. Whatever comes after it is of a
new life and has nothing in common with the one before but ids, by which copies are known.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec

from agents_topics.codec import Decoded
from agents_topics.events import Forget, Forgotten, Outcome
from agents_topics.identifiers import key_of
from tables.remembered_ids import fingerprint

_LIFE = "\0"
"""Between a conversation and the number of a life that is over: no conversation_id may hold it."""


def meaning_of(tenant_id: str, conversation_id: str | None) -> Callable[[str], bool]:
    """Whether a conversation's key is meant.

    >>> [meaning_of("t", "c")(key) for key in ("t/c", "t/cc")]
    [True, False]
    >>> [meaning_of("t", None)(key) for key in ("t/c", "tt/c")]
    [True, False]
    """
    if conversation_id is not None:
        return key_of(tenant_id, conversation_id).__eq__
    beginning = key_of(tenant_id, "")
    return lambda key: key.startswith(beginning)


def entry_of(
    forget: Forget,
    partition: int,
    offsets: Mapping[str, int],
    settled_until_ms: int,
    open_outcomes: int,
) -> Forgotten:
    """What is written down of a forgetting."""
    return Forgotten(
        forget_id=forget.event_id,
        tenant_id=forget.tenant_id,
        conversation_id=forget.conversation_id,
        partition=partition,
        offsets=dict(offsets),
        settled_until_ms=settled_until_ms,
        open_outcomes=open_outcomes,
    )


def parted(entries: list[Any], is_meant: Callable[[Any], bool]) -> tuple[list[Any], list[Any]]:
    """Two heaps of one: what is meant, and the others."""
    meant = [entry for entry in entries if is_meant(entry)]
    others = [entry for entry in entries if not is_meant(entry)]
    heapq.heapify(meant)
    heapq.heapify(others)
    return meant, others


def nameless(outcome: Outcome) -> Outcome:
    """An outcome of a life that is over, as the bins may know it."""
    replaced: Outcome = msgspec.structs.replace(cast(Any, outcome), conversation_id="")
    return replaced


class Forgettings:
    """The record of what was forgotten, as it was kept: of each partition in its order."""

    def __init__(self, entries: Iterable[Forgotten] = ()) -> None:
        self._entries = list(entries)
        self._of: dict[tuple[int, str, str | None], list[int]] = defaultdict(list)
        for number, entry in enumerate(self._entries):
            self._of[entry.partition, entry.tenant_id, entry.conversation_id].append(number)
        self._lives: dict[tuple[str, str, str], tuple[str, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def in_its_life(self, topic: str, partition: int, offset: int, one: Decoded) -> Decoded:
        """The event of a record, under the key of the life that it belongs to.

        A copy belongs where its first one does: it must come after it, and is known by its id.
        """
        event = one.event
        whole = self._of.get((partition, event.tenant_id, None), ())
        numbers = self._of.get((partition, event.tenant_id, event.conversation_id), ())
        if not whole and not numbers:
            return one
        over = [n for n in (*whole, *numbers) if offset < self._entries[n].offsets.get(topic, 0)]
        key = f"{one.key}{_LIFE}{min(over)}" if over else one.key
        name, told = (topic, one.key, event.event_id), fingerprint(event)
        first_key, first_told = self._lives.setdefault(name, (key, told))
        if first_told == told:
            key = first_key
        else:
            self._lives[name] = (key, told)
        return Decoded(key, one.at_ms, event)

    def is_of_the_past(self, topic: str, partition: int, offset: int, one: Decoded) -> bool:
        """Whether the event of a record is of a life that is over."""
        return _LIFE in self.in_its_life(topic, partition, offset, one).key

    def is_over(self, outcome: Outcome) -> bool:
        """Whether an outcome is of a life that is over."""
        return _LIFE in outcome.conversation_id

    def is_counted(self, outcome: Outcome) -> bool:
        """Whether the bins have an outcome of a life that is over: it had settled by its end, and
        its tenant has not been forgotten then or since.
        """
        number = int(outcome.conversation_id.rpartition(_LIFE)[2])
        entry = self._entries[number]
        whole = self._of.get((entry.partition, entry.tenant_id, None), ())
        is_whole = any(n >= number for n in whole)
        return not is_whole and outcome.settled_at_ms <= entry.settled_until_ms

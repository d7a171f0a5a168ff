"""What a round's streams send: every record where it reaches the log, and some that must not count.

Records come up to 55 minutes after they happened, in an order of their own in each topic; some come
twice. Late ones come three hours after they happened: a reply to an action that failed, which would
make it a success, or an action at .99 of a conversation of its own. What follows for a stream is
what follows from its actions alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from agents_topics.events import to_timestamp
from agents_topics.identifiers import key_of
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from benchmarks.kafka_streams import Stream
from benchmarks.simulated import Random
from benchmarks.simulated_streams import (
    GRACE_MS,
    HOUR_MS,
    SOURCE,
    WINDOW_MS,
    Place,
    Played,
    action_id_of,
    model_of,
)
from streams.partitioner import partitions_of
from tables.stream_times import NEVER_MS

ACTIONS, INTERACTIONS = AGENT_ACTIONS.name, AGENT_INTERACTIONS.name
DISORDER_MS_MAX = 55 * 60_000
LATE_MS = 3 * HOUR_MS
TWICE_SHARE = LATE_SHARE = 0.03
STRAY = 1_000_000_000
"""Conversations from here on have nothing but a late action."""
encode = msgspec.json.Encoder().encode


class Arrival(NamedTuple):
    """A record, when it happened and when it reaches the log; whether it is meant to be late."""

    arrives_ms: int
    topic: str
    key: bytes
    value: bytes
    at_ms: int
    is_late: bool


def arrivals_of(random: Random, stream: Stream) -> Iterator[Arrival]:
    """Everything that is sent of a stream, in no order."""
    for event in events_of(stream):
        copies = 2 if random.random() < TWICE_SHARE else 1
        for _ in range(copies):
            yield arrival(event, int(random.integers(0, DISORDER_MS_MAX)), is_late=False)
    for event in late_events_of(random, stream):
        yield arrival(event, LATE_MS, is_late=True)


class Event(NamedTuple):
    """What happened, as the contract has it."""

    topic: str
    at_ms: int
    fields: dict[str, object]


def arrival(event: Event, after_ms: int, is_late: bool) -> Arrival:
    """The event's record, so long after it happened."""
    fields = event.fields
    key = key_of(str(fields["tenant_id"]), str(fields["conversation_id"])).encode()
    arrives_ms = event.at_ms + after_ms
    return Arrival(arrives_ms, event.topic, key, encode(fields), event.at_ms, is_late)


def events_of(stream: Stream) -> Iterator[Event]:
    """Its actions, and one reply where some of a conversation succeed."""
    replies: dict[int, int] = {}
    for number, one in enumerate(sorted(stream.played)):
        more = stated(one) | {"model": model_of(number)}
        yield action(stream.place, action_id_of(number), one.conversation, one.at_ms, more)
        if one.y:
            replies[one.conversation] = one.at_ms + one.delay_ms
    for conversation, at_ms in replies.items():
        yield reply(stream.place, "reply", conversation, at_ms)


def late_events_of(random: Random, stream: Stream) -> Iterator[Event]:
    """What would change the stream if it counted."""
    for number, one in enumerate(stream.played):
        if random.random() < LATE_SHARE:
            at_ms = one.at_ms + int(random.integers(0, WINDOW_MS))
            if not one.y:
                yield reply(stream.place, f"late-{number}", one.conversation, at_ms)
            sure = {"predicted_confidence": 0.99}
            yield action(stream.place, f"late-{number}", STRAY + one.conversation, at_ms, sure)


def stated(one: Played) -> dict[str, object]:
    """How sure the agent said to be, in a number or in a word."""
    if one.label:
        return {"confidence_label": one.label}
    return {"predicted_confidence": one.millionths / 1e6}


def action(
    place: Place, action_id: str, conversation: int, at_ms: int, more: dict[str, object]
) -> Event:
    """An agent did something; `more` has what it stated."""
    fields = {"action_type": place.action_type, "confidence_source": SOURCE} | more
    return Event(ACTIONS, at_ms, _fields(place, action_id, conversation, at_ms) | fields)


def reply(place: Place, event_id: str, conversation: int, at_ms: int) -> Event:
    """A person answered."""
    kind = {"kind": "reply_received"}
    return Event(INTERACTIONS, at_ms, _fields(place, event_id, conversation, at_ms) | kind)


def _fields(place: Place, event_id: str, conversation: int, at_ms: int) -> dict[str, object]:
    return {
        "event_id": event_id,
        "tenant_id": place.tenant_id,
        "conversation_id": str(conversation),
        "occurred_at": to_timestamp(at_ms),
    }


def in_log_order(arrivals: Iterable[Arrival], partition_count: int) -> Iterator[Arrival]:
    """The records as they reach the log, without late ones that nothing has made late yet."""
    ordered = sorted(arrivals)
    partitions = partitions_of([one.key for one in ordered], partition_count)
    greatest_ms: dict[tuple[str, int], int] = {}
    for one, partition in zip(ordered, partitions, strict=True):
        time_ms = greatest_ms.get((one.topic, partition), NEVER_MS)
        if one.is_late and one.at_ms + GRACE_MS > time_ms:
            continue
        greatest_ms[one.topic, partition] = max(time_ms, one.at_ms)
        yield one


def records_of(random: Random, streams: Sequence[Stream], partitions: int) -> list[Arrival]:
    """What a round sends, in log order."""
    every = (arrival for stream in streams for arrival in arrivals_of(random, stream))
    return list(in_log_order(every, partitions))


def classes_of(records: Sequence[Arrival]) -> Counter[str]:
    """What the records must be: late as meant, copies of earlier ones, else admitted."""
    in_time = [(one.topic, one.key, one.value) for one in records if not one.is_late]
    admitted = len(set(in_time))
    late = len(records) - len(in_time)
    return Counter(admitted=admitted, duplicates=len(in_time) - admitted, late=late)

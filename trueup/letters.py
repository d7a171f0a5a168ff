"""A dead letter as commands see it: where it came from, why it is one, and how to mend it."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from aiokafka import ConsumerRecord

from agents_topics import letters
from agents_topics.envelopes import Headers
from agents_topics.events import to_ms
from agents_topics.identifiers import is_uuid
from agents_topics.letters import Redriven, place_of
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS, DEAD_LETTERS, REDRIVEN_LETTERS
from trueup.topic_reader import TopicReader

_ID = re.compile(r"(\d{1,9}):(\d{1,18})")
_AGO = re.compile(r"(\d{1,6})(s|min|m|h|d)")
_UNITS_MS = {"s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
JOINED = (AGENT_ACTIONS.name, AGENT_INTERACTIONS.name)

_decode_mark = msgspec.json.Decoder(Redriven).decode


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter; `headers` are the record's own. The value is left out where only listed."""

    partition: int
    offset: int
    at_ms: int
    topic: str
    source_partition: int
    source_offset: int
    reason: str
    detail: str
    said: Mapping[str, str]
    key: bytes | None
    headers: Headers
    size: int
    is_pointer: bool
    value: bytes | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        """Its place in `dead-letters`."""
        return f"{self.partition}:{self.offset}"

    @property
    def source(self) -> str:
        """The refused record's place: what identifies the letter for ever."""
        return place_of(self.topic, self.source_partition, self.source_offset)

    @property
    def tenant_id(self) -> str | None:
        """The tenant, where the key tells."""
        tenant_id, slash, _ = (self.key or b"").decode("utf-8", "replace").partition("/")
        return tenant_id if slash and is_uuid(tenant_id) else None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant; what is not asked for lets every letter through."""

    ids: Collection[str] = ()
    topic: str | None = None
    reason: str | None = None
    tenant_id: str | None = None
    since_ms: int | None = None

    def has(self, letter: Letter) -> bool:
        """Whether the letter is meant."""
        return (
            (not self.ids or letter.id in self.ids)
            and self.topic in (None, letter.topic)
            and self.reason in (None, letter.reason)
            and self.tenant_id in (None, letter.tenant_id)
            and (self.since_ms is None or letter.at_ms >= self.since_ms)
        )


def parse_id(text: str) -> tuple[int, int] | None:
    """Partition and offset of a letter's id.

    >>> parse_id("2:17"), parse_id("second")
    ((2, 17), None)
    """
    match = _ID.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def parse_since(text: str, now_ms: int) -> int:
    """The moment of `2h`, `7d` or an RFC 3339 time.

    >>> parse_since("2h", 7_200_000)
    0

    Raises:
        ValueError: it is neither.
    """
    if match := _AGO.fullmatch(text):
        return now_ms - int(match[1]) * _UNITS_MS[match[2]]
    try:
        return to_ms(text)
    except (ValueError, TypeError):
        raise ValueError(
            f"{text!r} is neither a time like 2026-01-05T09:30:00Z nor an age like 2h or 7d"
        ) from None


def letter_of(record: ConsumerRecord, *, with_value: bool = False) -> Letter | None:
    """The letter of a record of `dead-letters`; None where its headers do not say what it is.

    The resolver's headers begin with the last `topic`: what a producer sent under the same names
    stands before it.
    """
    headers = list(record.headers)
    tops = [index for index, (name, _) in enumerate(headers) if name == letters.TOPIC]
    own, ours = (headers[: tops[-1]], headers[tops[-1] :]) if tops else (headers, [])
    said = {
        name.removeprefix(letters.PREFIX): (value or b"").decode("utf-8", "replace")
        for name, value in ours
    }
    try:
        topic = said["topic"]
        partition, offset = int(said["partition"]), int(said["offset"])
        reason = said["exception.class.name"]
    except (KeyError, ValueError):
        return None
    # A producer may name a header like ours: only a pointer to the record itself is one.
    pointer = (letters.POINTER, place_of(topic, partition, offset).encode())
    is_pointer = record.value == b"" and own == [pointer]
    return Letter(
        partition=record.partition,
        offset=record.offset,
        at_ms=record.timestamp,
        topic=topic,
        source_partition=partition,
        source_offset=offset,
        reason=reason,
        detail=said.get("exception.message", ""),
        said=said,
        key=record.key,
        headers=[] if is_pointer else own,
        size=len(record.value or b""),
        is_pointer=is_pointer,
        value=record.value if with_value else None,
    )


async def letters_in(
    reader: TopicReader, selection: Selection, *, with_values: bool = False
) -> AsyncIterator[Letter]:
    """The selected letters, in the order of each partition's log."""
    topic = DEAD_LETTERS.name
    places = [place for text in selection.ids if (place := parse_id(text))]
    partitions = {p for p, _ in places} & set(range(await reader.partition_count(topic)))
    spans = await reader.spans(
        topic, partitions if selection.ids else None, since_ms=selection.since_ms
    )
    for partition, offsets in _by_partition(places).items():
        if partition in spans:
            start, end = spans[partition]
            spans[partition] = (max(start, min(offsets)), min(end, max(offsets) + 1))
    async for record in reader.records(topic, spans):
        letter = letter_of(record)
        if letter is not None and selection.has(letter):
            found = letter_of(record, with_value=True) if with_values else letter
            assert found
            yield found


def _by_partition(places: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for partition, offset in places:
        found.setdefault(partition, []).append(offset)
    return found


async def redriven_letters(reader: TopicReader) -> dict[str, tuple[Redriven, int]]:
    """Which refused records were sent again, by their place: the mark, and when it was made."""
    topic = REDRIVEN_LETTERS.name
    return {
        record.key.decode(): (_decode_mark(record.value), record.timestamp)
        async for record in reader.records(topic, await reader.spans(topic))
        if record.key and record.value
    }


def count_by_reason(counts: Counter[str]) -> list[tuple[str, int]]:
    """Reasons with how many letters, the most frequent first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


_MEND = "mend the body and send it again with `--edit` or `--file`"
_MEANINGS: dict[str, tuple[str, str]] = {
    "empty": ("The record has no value.", f"There is nothing to send: {_MEND}."),
    "json_invalid": (
        "The value is not JSON in UTF-8.",
        f"Let the producer write JSON; {_MEND}.",
    ),
    "time": ("Its time does not exist.", f"Let the producer write a real day and hour; {_MEND}."),
    "no_key": (
        "The record has no key, so nobody knows its conversation's partition.",
        "Let the producer key by tenant_id/conversation_id; `redrive --rekey` takes the key from "
        "the body.",
    ),
    "key": (
        "The record's key is not that of its body: tenant or conversation differ.",
        "Find out which is true. If the body is, `redrive --rekey` takes the key from it; "
        "else mend the body.",
    ),
    "wrong_partition": (
        "The producer does not partition by murmur2, so the record lies apart from its "
        "conversation.",
        "Set `partitioner=murmur2_random` in the producer (librdkafka); a redrive puts the record "
        "where it belongs.",
    ),
    "metadata": (
        "Its metadata is not finite JSON of at most 4 kB with integers of 64 bits.",
        f"Let the producer send less, or plainer values; {_MEND}.",
    ),
    "nul": (
        "A text holds the character U+0000, which Postgres cannot keep.",
        f"Let the producer leave it out; {_MEND}.",
    ),
    "future": (
        "It lies more than ten minutes ahead of the broker's time.",
        f"Set the producer's clock right; {_MEND}. Unchanged it can be redriven once its time has "
        "come.",
    ),
    "unknown_action_type": (
        "The policy version in force at its time does not know the action type.",
        "Name a type that it knows, or add a policy version that knows it and begins by then; a "
        "version may only begin after every event seen.",
    ),
    "unknown_outcome_type": (
        "The policy version in force at its time does not know this outcome type for the action "
        "type.",
        "Name one that it knows, or add a policy version that knows it and begins by then; a "
        "version may only begin after every event seen.",
    ),
    "unknown_confidence_label": (
        "The policy version in force at its time does not know this word for a confidence.",
        "State one of its `confidence_labels`, or add a policy version that knows the word and "
        "begins by then; a version may only begin after every event seen.",
    ),
    "conflict": (
        "Another record came first with the same event_id, or another action with the same "
        "action_id, and they differ.",
        f"If it is another event, give it an id of its own; {_MEND}. If it is the same, the first "
        "one counts and nothing is to be done.",
    ),
    "conversation_full": (
        "Its conversation holds 10,000 open actions or waiting interactions.",
        "See whether many conversations share one id; unchanged it can be redriven once some have "
        "settled.",
    ),
}
_OF_A_FIELD = (
    "A field breaks the contract.",
    f"`trueup check` names every bad field of a file before it is sent; {_MEND}.",
)


def meaning_of(reason: str) -> tuple[str, str]:
    """A reason in a sentence, and how to fix it; reasons without a name here are a field's."""
    return _MEANINGS.get(reason, _OF_A_FIELD)

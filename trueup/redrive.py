"""`trueup dead-letters redrive`: refused records sent to their topics again, each once.

The law: a record that is sent again and the mark that says so are one transaction, and whoever
sends has first fenced every other sender and then read all marks. So whatever was interrupted,
running it again sends what is missing and nothing twice. The mark is kept under the refused
record's own place, which outlives the dead letter and the state.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import msgspec
from aiokafka.errors import KafkaError

from agents_topics.codec import Decoded
from agents_topics.connection import Connection
from agents_topics.identifiers import key_of
from agents_topics.letters import REDRIVEN_FROM, Redriven, place_of
from agents_topics.policy import Policy
from agents_topics.rights import REDRIVE
from agents_topics.topics import CONTROL, REDRIVEN_LETTERS
from streams.clients import KafkaClients
from streams.partitioner import partitions_of
from streams.transactions import Out, TaskProducer
from trueup.dead_letters import source_of
from trueup.embedded.problems import EnvironmentProblem
from trueup.foresight import Fate, fate_of_control, foresight_into, read_event
from trueup.letters import JOINED, Letter, Selection, letters_in, redriven_letters
from trueup.plain_text import shown, utc
from trueup.topic_reader import TopicReader

LETTERS_MAX = 10_000
BYTES_MAX = 256 << 20
TRANSACTION_LETTERS_MAX = 500
TRANSACTION_BYTES_MAX = 4 << 20
HOUR_MS = 3_600_000

_encode = msgspec.json.Encoder().encode


class MendProblem(Exception):
    """A mended body cannot be had: says whose and why."""


class Mending(Protocol):
    """Where mended bodies come from."""

    def mend(self, letter: Letter, value: bytes | None) -> bytes | None:
        """The body to send for a letter with this body; None where there is none to be had."""
        ...

    def skip(self, letter: Letter, value: bytes | None) -> None:
        """A letter was sent again before, and needs no body any more."""
        ...

    def check(self) -> None:
        """Every letter was asked for.

        Raises:
            MendProblem: a body belongs to none of them.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How to redrive.

    Attributes:
        mending: Gives mended bodies; None: the records are sent as they were.
        rekey: The key is taken from the body.
        anyway: Also what would be late, refused or ignored again, or a duplicate.
        is_dry: Nothing is sent.
    """

    mending: Mending | None = None
    rekey: bool = False
    anyway: bool = False
    is_dry: bool = False


@dataclass(slots=True)
class Resend:
    """A letter, the record that it becomes, and what happens to it.

    `needless`: what it says is in the log already. `held`: it would be of no use.
    """

    letter: Letter
    does: Literal["send", "needless", "held", "redriven"]
    why: str
    key: bytes | None = None
    value: bytes | None = None
    partition: int = 0
    is_mended: bool = False
    at_ms: int = 0
    fate: Fate | None = None

    def to_json(self) -> dict[str, Any]:
        """For a program; no payload."""
        return {
            "id": self.letter.id,
            "record": self.letter.source,
            "reason": self.letter.reason,
            "does": self.does,
            "why": self.why,
            "topic": self.letter.topic,
            "partition": self.partition,
            "is_mended": self.is_mended,
        }


@dataclass(slots=True)
class Redrive:
    """What was done, or would be; `is_cut` where more letters were selected than one run takes."""

    resends: list[Resend]
    is_dry: bool
    is_cut: bool

    def count(self, does: str) -> int:
        """How many of them."""
        return sum(resend.does == does for resend in self.resends)


async def redrive(
    connection: Connection,
    policy: Policy,
    grace_ms: dict[str, int],
    selection: Selection,
    wishes: Wishes,
) -> Redrive:
    """Sends the selected letters again, or says what would become of them.

    Raises:
        EnvironmentProblem: no broker, or another redrive took over.
        MendProblem: a mended body cannot be had; nothing was sent.
        PolicyProblem: the state names a policy version that the policy lacks.
    """
    async with AsyncExitStack() as undo:
        producer = None
        if not wishes.is_dry:
            producer = TaskProducer(KafkaClients(connection), REDRIVE, "")
            undo.push_async_callback(producer.close)
            await producer.open()  # what another sender has begun has ended now
        reader = await undo.enter_async_context(TopicReader(connection))
        resends, is_cut = await _chosen(reader, selection, wishes)
        await _place(reader, resends)
        await _foresee(reader, resends, policy, grace_ms, wishes)
        if producer:
            await _send(connection, producer, [one for one in resends if one.does == "send"])
        return Redrive(resends, wishes.is_dry, is_cut)


async def _chosen(
    reader: TopicReader, selection: Selection, wishes: Wishes
) -> tuple[list[Resend], bool]:
    """The selected letters with the bodies to send, in event time."""
    marks = await redriven_letters(reader)
    resends: list[Resend] = []
    letters: list[Letter] = []
    size = 0
    is_cut = False
    async for letter in letters_in(reader, selection, with_values=True):
        if letter.source in marks:
            if wishes.mending:
                wishes.mending.skip(letter, letter.value)
            why = utc(marks[letter.source][1])
            resends.append(Resend(replace(letter, value=None), "redriven", why))
        elif len(letters) >= LETTERS_MAX or size >= BYTES_MAX:
            is_cut = True
        else:
            letters.append(letter)
            size += letter.size
    for letter in letters:
        source = await source_of(reader, letter) if letter.is_pointer else None
        if source is not None:
            letter = replace(letter, value=source.value, headers=list(source.headers))
        elif letter.is_pointer:
            why = "too large for a letter, and its topic has the bytes no more"
            resends.append(Resend(letter, "held", why))
            continue
        resends.append(_resend(letter, wishes))
    if wishes.mending:
        wishes.mending.check()
    return sorted(resends, key=lambda one: (one.at_ms, one.letter.at_ms, one.letter.source)), is_cut


def _resend(letter: Letter, wishes: Wishes) -> Resend:
    """The record that a letter becomes."""
    value = wishes.mending.mend(letter, letter.value) if wishes.mending else letter.value
    if wishes.mending and value is None:
        return Resend(replace(letter, value=None), "held", "there is no mended body for it")
    resend = Resend(
        letter, "send", "", letter.key, value, letter.source_partition,
        is_mended=value != letter.value,
    )  # fmt: skip
    if letter.topic in JOINED:
        if wishes.rekey and (own_key := _own_key(value)):
            resend.key = own_key
        event = read_event(letter.topic, resend.key, value, letter.headers)
        resend.at_ms = event.at_ms if isinstance(event, Decoded) else 0
    elif letter.topic != CONTROL.name:
        resend.does, resend.why = "held", f"{shown(letter.topic)} is no input topic"
    return resend


def _own_key(value: bytes | None) -> bytes | None:
    """The key that a body asks for; None where it does not tell."""
    try:
        body = msgspec.json.decode(value or b"")
        return key_of(body["tenant_id"], body["conversation_id"]).encode()
    except (msgspec.DecodeError, UnicodeError, KeyError, TypeError, RecursionError):
        return None


async def _place(reader: TopicReader, resends: Sequence[Resend]) -> None:
    """Each record of a joined topic goes where its key belongs."""
    keyed = [one for one in resends if one.letter.topic in JOINED and one.key is not None]
    by_topic: dict[str, list[Resend]] = defaultdict(list)
    for one in keyed:
        by_topic[one.letter.topic].append(one)
    for topic, group in by_topic.items():
        count = await reader.partition_count(topic)
        found = partitions_of([one.key or b"" for one in group], count)
        for one, partition in zip(group, found, strict=True):
            one.partition = partition


async def _foresee(
    reader: TopicReader,
    resends: Sequence[Resend],
    policy: Policy,
    grace_ms: dict[str, int],
    wishes: Wishes,
) -> None:
    """Holds back what would be of no use, or only says so where it is wished anyway."""
    by_partition: dict[int, list[Resend]] = defaultdict(list)
    for one in resends:
        if one.does == "send" and one.letter.topic in JOINED:
            by_partition[one.partition].append(one)
        elif one.does == "send":
            one.fate = fate_of_control(one.value)
    for partition, group in by_partition.items():
        keys = {one.key for one in group if one.key}
        foresight = await foresight_into(reader, partition, policy, grace_ms, keys)
        there = await _ids_there(reader, partition, group)
        for one in group:
            one.fate = foresight.of(one.letter.topic, one.key, one.value, one.letter.headers)
            place = there.get((one.letter.topic, one.key, event_id_of(one.value)))
            if one.fate.member == "admitted" and place is not None:
                one.fate = Fate("duplicate", detail=f"its event_id came again, at {place}")
    for one in resends:
        if one.fate is None:
            continue
        one.why = str(one.fate)
        if one.fate.member != "admitted" and not wishes.anyway:
            one.does = "needless" if one.fate.member == "duplicate" else "held"


async def _ids_there(
    reader: TopicReader, partition: int, group: Sequence[Resend]
) -> dict[tuple[str, bytes | None, str | None], str]:
    """Where an event with the id of one of these stands since, other than as a dead letter.

    A remembered id is found by the core. This finds those that were forgotten, and those that no
    worker has read yet: a producer may have mended and sent the event itself, with another time.
    """
    wanted = {(o.letter.topic, o.key, event_id_of(o.value)) for o in group if o.key}
    keys = {key for _, key, _ in wanted}
    since_ms = min(one.letter.at_ms for one in group) - HOUR_MS
    dead = {letter.source async for letter in letters_in(reader, Selection(since_ms=since_ms))}
    found: dict[tuple[str, bytes | None, str | None], str] = {}
    for topic in sorted({topic for topic, _, _ in wanted}):
        span = await reader.spans(topic, [partition], since_ms=since_ms)
        async for record in reader.records(topic, span):
            if record.key not in keys:
                continue
            name = (topic, record.key, event_id_of(record.value))
            if name in wanted and place_of(topic, partition, record.offset) not in dead:
                found[name] = f"{topic}[{partition}]@{record.offset}"
    return found


class _Identified(msgspec.Struct):
    event_id: str


_read_id = msgspec.json.Decoder(_Identified).decode


def event_id_of(value: bytes | None) -> str | None:
    """The event_id of a body that is JSON; None where it has none."""
    try:
        return _read_id(value or b"").event_id
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


async def _send(connection: Connection, producer: TaskProducer, resends: Sequence[Resend]) -> None:
    """Records and marks, some in each transaction.

    Raises:
        EnvironmentProblem: a transaction's result is unknown; running it again finds out.
    """
    for chunk in _chunks(resends):
        outputs: dict[tuple[str, int], list[Out]] = defaultdict(list)
        for one in chunk:
            letter = one.letter
            headers = [(n, v) for n, v in letter.headers if n != REDRIVEN_FROM]
            headers.append((REDRIVEN_FROM, letter.source.encode()))
            topic = connection.topic(letter.topic)
            outputs[topic, one.partition].append(Out(one.key, one.value, headers))
            mark = Redriven(
                letter=letter.id, topic=letter.topic, partition=one.partition,
                is_mended=one.is_mended,
            )  # fmt: skip
            marks = outputs[connection.topic(REDRIVEN_LETTERS.name), letter.partition]
            marks.append(Out(letter.source.encode(), _encode(mark)))
        try:
            await producer.commit(outputs, {})
        except (KafkaError, TimeoutError) as problem:
            raise EnvironmentProblem(
                f"A transaction failed ({type(problem).__name__}): another redrive took over, or "
                "the broker did not answer.",
                "Run it again: what was sent is known and is not sent twice.",
            ) from problem


def _chunks(resends: Sequence[Resend]) -> list[list[Resend]]:
    chunks: list[list[Resend]] = []
    size = 0
    for one in resends:
        own = len(one.value or b"") + sum(len(n) + len(v or b"") for n, v in one.letter.headers)
        is_full = bool(chunks) and (
            len(chunks[-1]) >= TRANSACTION_LETTERS_MAX or size + own > TRANSACTION_BYTES_MAX
        )
        if not chunks or is_full:
            chunks.append([])
            size = 0
        chunks[-1].append(one)
        size += own
    return chunks


_VERBS = {
    "send": ("would be sent", "sent"),
    "needless": ("needless", "needless, not sent"),
    "held": ("would be held back", "held back"),
    "redriven": ("already sent", "already sent"),
}


def redrive_lines(done: Redrive, lines_max: int = 200) -> list[str]:
    """What was done, as people read it."""
    verb = {does: dry if done.is_dry else wet for does, (dry, wet) in _VERBS.items()}
    lines = [
        f"{one.letter.id}  {shown(one.letter.reason)}: {verb[one.does]}"
        + (f" to {one.letter.topic}[{one.partition}]" if one.does == "send" else "")
        + (", mended" if one.is_mended else "")
        + (f"; {one.why}" if one.why else "")
        for one in done.resends[:lines_max]
    ]
    if len(done.resends) > lines_max:
        lines.append(f"… and {len(done.resends) - lines_max:,} more")
    counted = [f"{n:,} {verb[does]}" for does in _VERBS if (n := done.count(does))]
    lines.append((", ".join(counted) or "no letter is selected") + ".")
    if done.count("held"):
        lines.append("What is held back is so because it would count for nothing; --anyway sends.")
    if done.is_cut:
        lines.append(f"One run takes {LETTERS_MAX:,} letters: run it again for the rest.")
    return lines

"""`trueup dead-letters list` and `show`: what was refused and why. A list never shows payloads."""

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from agents_topics.connection import Connection
from agents_topics.events import LateEvent, to_timestamp
from agents_topics.letters import REDRIVEN_FROM, Redriven, place_of
from agents_topics.topics import DEAD_LETTERS, LATE_EVENTS
from trueup.letters import (
    Letter,
    Selection,
    count_by_reason,
    letter_of,
    letters_in,
    meaning_of,
    parse_id,
    redriven_letters,
)
from trueup.plain_text import duration, shown, utc
from trueup.topic_reader import TopicReader

KEY_LENGTH_MAX = 60
SHOWN_LENGTH_MAX = 8_000
_BEFORE_ITS_MARK_MS = 60_000

Row = tuple[str, str, str, str, str, str]

decode_late = msgspec.json.Decoder(LateEvent).decode


@dataclass(frozen=True, slots=True)
class Listing:
    """The newest of the selected letters, how many there are by reason, and what was redriven."""

    letters: list[Letter]
    counts: Counter[str]
    redriven: dict[str, tuple[Redriven, int]]


async def list_letters(connection: Connection, selection: Selection, limit: int) -> Listing:
    """Reads all the letters that the selection may mean; holds the newest `limit`."""
    counts: Counter[str] = Counter()
    newest: list[tuple[int, int, int, Letter]] = []
    async with TopicReader(connection) as reader:
        redriven = await redriven_letters(reader)
        async for letter in letters_in(reader, selection):
            counts[letter.reason] += 1
            entry = (letter.at_ms, letter.offset, letter.partition, letter)
            if len(newest) < limit:
                heapq.heappush(newest, entry)
            elif limit:
                heapq.heappushpop(newest, entry)
    return Listing([entry[3] for entry in sorted(newest, reverse=True)], counts, redriven)


def listing_lines(listing: Listing) -> list[str]:
    """The list as people read it."""
    lines = []
    if listing.letters:
        rows: list[Row] = [("id", "when", "reason", "record", "key", "")]
        rows += [_row(letter, listing.redriven) for letter in listing.letters]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            lines.append("  ".join([*cells, row[5]]).rstrip())
        lines.append("")
    total = sum(listing.counts.values())
    if not total:
        return ["No dead letter."]
    if total > len(listing.letters):
        lines.append(f"The newest {len(listing.letters):,} of {total:,}; --limit shows more.")
    for reason, count in count_by_reason(listing.counts):
        lines.append(f"{count:,}  {shown(reason)}: {meaning_of(reason)[0]}")
    return lines


def _row(letter: Letter, redriven: dict[str, tuple[Redriven, int]]) -> Row:
    mark = redriven.get(letter.source)
    return (
        letter.id,
        utc(letter.at_ms),
        shown(letter.reason, 40),
        f"{shown(letter.topic)}[{letter.source_partition}]@{letter.source_offset}",
        "no key" if letter.key is None else shown(letter.key, KEY_LENGTH_MAX),
        f"redriven {utc(mark[1])}" if mark else "",
    )


def listing_as_json(listing: Listing) -> dict[str, Any]:
    """The list for a program."""
    return {
        "letters": [_about(letter, listing.redriven) for letter in listing.letters],
        "count": sum(listing.counts.values()),
        "count_by_reason": dict(count_by_reason(listing.counts)),
    }


def _about(letter: Letter, redriven: dict[str, tuple[Redriven, int]]) -> dict[str, Any]:
    mark = redriven.get(letter.source)
    return {
        "id": letter.id,
        "at": to_timestamp(letter.at_ms),
        "topic": letter.topic,
        "partition": letter.source_partition,
        "offset": letter.source_offset,
        "reason": letter.reason,
        "tenant_id": letter.tenant_id,
        "value_bytes": letter.size,
        "is_pointer": letter.is_pointer,
        "redriven_at": to_timestamp(mark[1]) if mark else None,
    }


@dataclass(frozen=True, slots=True)
class Shown:
    """One letter with its bytes (None: not kept any more), and what became of its redrive."""

    letter: Letter
    value: bytes | None
    is_gone: bool
    mark: tuple[Redriven, int] | None
    sequel: str | None


async def show_letter(connection: Connection, letter_id: str) -> Shown | None:
    """The letter of an id; None where there is none."""
    place = parse_id(letter_id)
    if place is None:
        return None
    async with TopicReader(connection) as reader:
        record = await reader.record_at(DEAD_LETTERS.name, *place)
        letter = letter_of(record, with_value=True) if record else None
        if letter is None:
            return None
        source = await source_of(reader, letter) if letter.is_pointer else None
        value = source.value if source else letter.value
        mark = (await redriven_letters(reader)).get(letter.source)
        sequel = await _sequel(reader, letter, mark) if mark else None
        return Shown(letter, value, letter.is_pointer and source is None, mark, sequel)


async def source_of(reader: TopicReader, letter: Letter) -> ConsumerRecord | None:
    """The refused record itself, where its topic still has it."""
    return await reader.record_at(letter.topic, letter.source_partition, letter.source_offset)


async def _sequel(reader: TopicReader, letter: Letter, mark: tuple[Redriven, int]) -> str:
    """Where the record that was sent again stands, and what it became."""
    sent, at_ms = mark
    span = await reader.spans(
        sent.topic, [sent.partition], since_ms=at_ms - _BEFORE_ITS_MARK_MS, until_ms=at_ms
    )
    found = None
    async for record in reader.records(sent.topic, span):
        if (REDRIVEN_FROM, letter.source.encode()) in record.headers:
            found = record
    if found is None:
        return f"{sent.topic} does not hold it any more"
    where = f"{sent.topic}[{sent.partition}]@{found.offset}"
    source = place_of(sent.topic, sent.partition, found.offset)
    async for other in letters_in(reader, Selection(since_ms=at_ms)):
        if other.source == source:
            return f"{where}, and became dead letter {other.id}: {shown(other.reason)}"
    spans = await reader.spans(LATE_EVENTS.name, since_ms=at_ms)
    async for record in reader.records(LATE_EVENTS.name, spans):
        late = decode_late(record.value)
        if place_of(late.topic, late.partition, late.offset) == source:
            return f"{where}, and was late: it counts for nothing"
    applied = (await reader.applied("trueup")).get((sent.topic, sent.partition), 0)
    if applied <= found.offset:
        return f"{where}, which no worker has read yet"
    return f"{where}, neither late nor a dead letter again"


def shown_lines(found: Shown) -> list[str]:
    """The letter as people read it; nothing of it can steer the terminal."""
    letter = found.letter
    sentence, fix = meaning_of(letter.reason)
    lines = [
        f"Dead letter {letter.id}, written {utc(letter.at_ms)}.",
        f"{sentence} ({shown(letter.reason)}: {shown(letter.detail)})",
        f"To fix it: {fix}",
        "",
        f"record    {shown(letter.topic)}, partition {letter.source_partition}, offset "
        f"{letter.source_offset}",
        f"refused   by {shown(letter.said.get('connector.name', 'nobody'))}, task "
        f"{shown(letter.said.get('task.id', '?'))}, at {shown(letter.said.get('stage', '?'))}",
        f"key       {'none' if letter.key is None else shown(letter.key, SHOWN_LENGTH_MAX)}",
    ]
    for name, value in letter.headers[:50]:
        told = "null" if value is None else shown(value, 200)
        lines.append(f"header    {shown(name, 100)}: {told}")
    if len(letter.headers) > 50:
        lines.append(f"header    … and {len(letter.headers) - 50:,} more")
    lines += _redriven_lines(found)
    return [*lines, *_value_lines(found)]


def _redriven_lines(found: Shown) -> list[str]:
    if found.mark is None:
        return ["redriven  never"]
    mark, at_ms = found.mark
    how = "with a mended body" if mark.is_mended else "unchanged"
    after = duration(at_ms - found.letter.at_ms)
    return [f"redriven  {utc(at_ms)}, {after} later, {how}; it stands in {found.sequel}"]


def _value_lines(found: Shown) -> list[str]:
    if found.is_gone:
        return [f"value     too large for a letter, and {found.letter.topic} has it no more"]
    if found.value is None:
        return ["value     null"]
    size = f"{len(found.value):,} bytes"
    if found.letter.is_pointer:
        size += ", too large for a letter; read where the record stands"
    lines = [f"value     {size}"]
    start = found.value[:SHOWN_LENGTH_MAX]
    lines += [f"  {shown(line)}" for line in start.split(b"\n")]
    if len(found.value) > len(start):
        lines.append(f"  … and {len(found.value) - len(start):,} bytes more: --raw writes them all")
    return lines


def shown_as_json(found: Shown) -> dict[str, Any]:
    """The letter for a program: bytes as text with what is not UTF-8 escaped."""
    letter, mark = found.letter, found.mark
    sentence, fix = meaning_of(letter.reason)

    def text(value: bytes | None) -> str | None:
        return None if value is None else value.decode("utf-8", "backslashreplace")

    return {
        "id": letter.id,
        "at": to_timestamp(letter.at_ms),
        "reason": letter.reason,
        "detail": letter.detail,
        "meaning": sentence,
        "fix": fix,
        "connect": dict(letter.said),
        "key": text(letter.key),
        "headers": [[name, text(value)] for name, value in letter.headers],
        "value": text(found.value),
        "is_pointer": letter.is_pointer,
        "redriven_at": to_timestamp(mark[1]) if mark else None,
        "redriven_as": found.sequel,
    }

"""What was forgotten: the topic `forgotten` held to the forget records, and the lives it ends.

A record of a conversation below the offsets of an entry that means it is of a life that is over.
Here a life that is over has a key of its own, so that nothing in it meets what came later.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trueup.audit.contract import Event, Forget
from trueup.audit.progress import NEVER_MS, NOTHING, Note
from trueup.audit.reading import CONTROL, FORGOTTEN, JOINED, Logs, all_records
from trueup.audit.report import AuditReport

_OVER = "\0"
Name = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """A task has forgotten a conversation, or a tenant where that is None."""

    partition: int
    forget: Forget
    offsets: Mapping[str, int]
    settled_until_ms: int

    def means(self, key: str) -> bool:
        """Whether it is about a conversation's key."""
        tenant_id, conversation_id = self.forget.tenant_id, self.forget.conversation_id
        if conversation_id is None:
            return key.startswith(f"{tenant_id}/")
        return key == f"{tenant_id}/{conversation_id}"


class Lives:
    """Every entry, in the order of its partition."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = list(entries)

    def of_partition(self, partition: int) -> list[Entry]:
        """What a task has forgotten, in order."""
        return [entry for entry in self._entries if entry.partition == partition]

    def numbered(self, partition: int) -> list[tuple[int, Entry]]:
        """The same, each with the number of the lives that it ends."""
        return [pair for pair in enumerate(self._entries) if pair[1].partition == partition]

    def life_of(self, topic: str, partition: int, offset: int, event: Event) -> Event:
        """The event under the key of its life."""
        for number, entry in enumerate(self._entries):
            is_before = entry.partition == partition and offset < entry.offsets.get(topic, 0)
            if is_before and entry.means(event.key):
                return replace(event, key=f"{event.key}{_OVER}{number}")
        return event

    def counted(self, settled: Mapping[Name, dict[str, Any]]) -> list[dict[str, Any]]:
        """Of outcomes of lives that are over those that the bins have."""
        return [
            outcome
            for name, outcome in settled.items()
            if is_over(name[0]) and self._is_counted(name[0], outcome["settled_at"])
        ]

    def _is_counted(self, life: str, settled_at: int) -> bool:
        key, number = life.split(_OVER)
        entry = self._entries[int(number)]
        is_gone = any(
            later.partition == entry.partition
            and later.forget.conversation_id is None
            and later.means(key)
            for later in self._entries[int(number) :]
        )
        return settled_at <= entry.settled_until_ms and not is_gone


def is_over(key: str) -> bool:
    """Whether a key is that of a life that is over."""
    return _OVER in key


def number_of(key: str) -> int:
    """The number of a life that is over."""
    return int(key.split(_OVER)[1])


def ended(name: Name, entry: Entry, number: int) -> Name:
    """The name of an outcome once an entry has ended the lives that it means."""
    if is_over(name[0]) or not entry.means(name[0]):
        return name
    return (f"{name[0]}{_OVER}{number}", *name[1:])


def living(
    settled: Mapping[Name, dict[str, Any]], open_names: set[Name]
) -> tuple[dict[Name, dict[str, Any]], set[Name]]:
    """What of both is of no life that is over."""
    shown = {name: outcome for name, outcome in settled.items() if not is_over(name[0])}
    return shown, {name for name in open_names if not is_over(name[0])}


def plain(key: str) -> str:
    """A conversation's key, whichever life."""
    return key.split(_OVER)[0]


def read_lives(logs: Logs, report: AuditReport) -> Lives:
    """All entries of the topic `forgotten`."""
    entries = []
    for record in all_records(logs):
        try:
            said = json.loads(record.value)
            forget = Forget(said["forget_id"], said["tenant_id"], said["conversation_id"])
            entry = Entry(
                record.partition, forget, dict(said["offsets"]), int(said["settled_until_ms"])
            )
        except (TypeError, ValueError, KeyError):
            place = f"{record.topic}[{record.partition}]@{record.offset}"
            report.differ(place, FORGOTTEN, "what was forgotten", record.value)
            continue
        if said["partition"] != record.partition:
            report.differ(_told(entry), FORGOTTEN, record.partition, said["partition"])
        entries.append(entry)
    return Lives(entries)


def check_entries(
    entries: Sequence[Entry],
    applied: Sequence[tuple[int, Forget]],
    notes: Sequence[Note],
    partition: int,
    report: AuditReport,
) -> None:
    """Each forget record that a task has applied was forgotten once, where it then stood.

    `applied`: their offsets in `control`, and what they are.
    """
    expected, found = [forget for _, forget in applied], [entry.forget for entry in entries]
    if expected != found:
        report.differ(f"partition {partition}", FORGOTTEN, expected, found)
        return
    for (offset, _), entry in zip(applied, entries, strict=True):
        before = [note for note in notes if note.offsets.get(CONTROL, 0) <= offset]
        after = [note for note in notes if note.offsets.get(CONTROL, 0) > offset]
        _check_place(entry, before[-1] if before else NOTHING, after[0], report)


def _check_place(entry: Entry, before: Note, after: Note, report: AuditReport) -> None:
    """An entry lies between what the task had noted before and after it."""
    for topic in JOINED:
        least, most = before.offsets.get(topic, 0), after.offsets.get(topic, 0)
        found = entry.offsets.get(topic, 0)
        if not least <= found <= most:
            report.differ(f"{_told(entry)}, {topic}", FORGOTTEN, f"from {least} to {most}", found)
    if after.grace_ms:
        least_ms, most_ms = (
            max(note.settled_ms(after.grace_ms), NEVER_MS) for note in (before, after)
        )
        if not least_ms <= entry.settled_until_ms <= most_ms:
            what, span = f"{_told(entry)}, settled until", f"from {least_ms} to {most_ms}"
            report.differ(what, FORGOTTEN, span, entry.settled_until_ms)


def _told(entry: Entry) -> str:
    return f"forgetting {entry.forget.id} in partition {entry.partition}"

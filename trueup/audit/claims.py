"""What the late ledger and the dead letters claim, each claim read and held to its record.

A claim stands under the place of its record until that record is found; a second one for the same
place, and one that nobody can read, are differences.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord

from trueup.audit.contract import Broken, Event
from trueup.audit.reading import DEAD_LETTERS, LATE_EVENTS, Logs, all_records
from trueup.audit.report import AuditReport

Place = tuple[str, int, int]
"""Topic, partition, offset of an input record."""

_ERRORS = "__connect.errors."
_POINTER = "trueup.pointer"
# Beyond these a dead letter may hold a pointer instead of the bytes.
_VALUE_BYTES_MAX, _RECORD_BYTES_MAX = 1_000_000, 1_016_384


@dataclass(frozen=True, slots=True)
class Late:
    """An entry of the late ledger."""

    said: Mapping[str, Any]
    written_ms: int

    @property
    def reason(self) -> Any:
        """`behind` or `after_silence`."""
        return self.said.get("reason")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter with the reason it gives."""

    reason: str
    record: ConsumerRecord


@dataclass(slots=True)
class Claims:
    """Every claim whose record was not found yet."""

    late: dict[Place, Late]
    dead: dict[Place, DeadLetter]

    def take(self, place: Place) -> tuple[Late | None, DeadLetter | None]:
        """What is claimed of a record."""
        return self.late.pop(place, None), self.dead.pop(place, None)


def read_claims(logs: Mapping[str, Logs], report: AuditReport) -> Claims:
    """All claims, by the place they name."""
    claims = Claims({}, {})
    for record in all_records(logs[LATE_EVENTS]):
        try:
            said = json.loads(record.value)
            place = (str(said["topic"]), int(said["partition"]), int(said["offset"]))
        except (TypeError, ValueError, KeyError):
            report.differ(_own_place(record), LATE_EVENTS, "an entry", record.value)
            continue
        if place in claims.late:
            report.differ(told(place), LATE_EVENTS, "one entry", "two")
        claims.late[place] = Late(said, record.timestamp)
    for record in all_records(logs[DEAD_LETTERS]):
        says = {
            name.removeprefix(_ERRORS): (value or b"").decode("utf-8", "replace")
            for name, value in record.headers
            if name.startswith(_ERRORS)
        }
        try:
            place = (says["topic"], int(says["partition"]), int(says["offset"]))
            letter = DeadLetter(says["exception.class.name"], record)
        except (ValueError, KeyError):
            report.differ(_own_place(record), DEAD_LETTERS, "where it came from and why", says)
            continue
        if place in claims.dead:
            report.differ(told(place), DEAD_LETTERS, "one letter", "two")
        claims.dead[place] = letter
    return claims


def _own_place(record: ConsumerRecord) -> str:
    return told((record.topic, record.partition, record.offset))


def told(place: Place) -> str:
    """A place as people write it."""
    topic, partition, offset = place
    return f"{topic}[{partition}]@{offset}"


def check_letter(
    place: Place,
    record: ConsumerRecord,
    broken: Broken,
    letter: DeadLetter | None,
    report: AuditReport,
) -> None:
    """A broken record has its letter, with its bytes and its reason."""
    if letter is None:
        report.differ(told(place), DEAD_LETTERS, f"a letter: {broken.reason}", "nothing")
        return
    check_copy(place, record, letter, report)
    if not broken.is_told_as(letter.reason):
        report.differ(told(place), DEAD_LETTERS, broken.reason, letter.reason)


def check_copy(
    place: Place, record: ConsumerRecord, letter: DeadLetter, report: AuditReport
) -> None:
    """A dead letter holds its record's bytes; an oversize one says where they are."""
    copy = letter.record
    size = len(record.value or b"") + sum(len(n) + len(v or b"") for n, v in record.headers)
    is_oversize = len(record.value or b"") > _VALUE_BYTES_MAX or size > _RECORD_BYTES_MAX
    if is_oversize:
        topic, partition, offset = place
        value, headers = b"", [(_POINTER, f"{topic}/{partition}/{offset}".encode())]
    else:
        value, headers = record.value, list(record.headers)
    is_same = (copy.key, copy.value) == (record.key, value)
    if not is_same or list(copy.headers)[: len(headers)] != headers:
        what = "a pointer to the bytes" if is_oversize else "the record's bytes"
        report.differ(told(place), DEAD_LETTERS, what, "other bytes")


def check_entry(
    place: Place, event: Event, entry: Late, grace_ms: int, report: AuditReport
) -> None:
    """A late entry says of its record what the record says."""
    truth = {
        "tenant_id": event.body.tenant_id,
        "conversation_id": event.body.conversation_id,
        "event_id": event.body.event_id,
        "occurred_at_ms": event.at,
        "grace_ms": grace_ms,
    }
    for name, value in truth.items():
        if entry.said.get(name) != value:
            report.differ(f"{told(place)}, {name}", LATE_EVENTS, value, entry.said.get(name))

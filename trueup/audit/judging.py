"""Admission of one topic-partition, retold record after record: each is in one of five classes.

The order is that of docs/semantics.md: dead letter (the first step), late, ignored, duplicate, dead
letter `conflict`, dead letter `conversation_full`, admitted. Where the topics alone decide, a claim
must say what they say and must not be missing. Where the task decided once (silence, clock records,
what it had forgotten by then), a claim must be possible, and must not be missing where it is sure.
Then a record is in the class that was claimed, so that one false claim is one difference and not a
hundred.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from trueup.audit.claims import (
    Claims,
    DeadLetter,
    Late,
    Place,
    check_copy,
    check_entry,
    check_letter,
    told,
)
from trueup.audit.contract import Broken, Event
from trueup.audit.forgetting import Lives
from trueup.audit.reading import DEAD_LETTERS, INTERACTIONS, LATE_EVENTS
from trueup.audit.remembering import Remembered
from trueup.audit.report import AuditReport
from trueup.audit.rules import Rules
from trueup.audit.times import TopicTime

Read = tuple[ConsumerRecord, Event | Broken]
"""A record, and what the first step of admission finds in it."""


@dataclass(slots=True)
class Judge:
    """Judges one topic-partition, in the order of its log."""

    topic: str
    partition: int
    is_plain: bool
    time: TopicTime
    remembered: Remembered
    claims: Claims
    lives: Lives
    rules: Rules
    report: AuditReport
    counts: Counter[str] = field(default_factory=Counter)

    def all_of(self, read: Sequence[Read]) -> list[Event]:
        """The admitted events of the log; everything is counted."""
        admitted = []
        for record, found in read:
            place = (self.topic, self.partition, record.offset)
            entry, letter = self.claims.take(place)
            if entry and letter:
                self.report.differ(told(place), LATE_EVENTS, "one class", "late and dead")
            if isinstance(found, Broken):
                self._check_broken(place, record, found, entry, letter)
                self.time.move_to(record.offset, record.timestamp if self.is_plain else None)
                self.time.on_any(record.timestamp)
                self.counts["dead"] += 1
                continue
            if letter is not None:
                check_copy(place, record, letter, self.report)
            found = self.lives.life_of(*place, found)
            member = self._class_of(place, record, found, entry, letter)
            self.time.on_record(min(found.at, record.timestamp), record.timestamp)
            self.counts[member] += 1
            if member == "admitted":
                self.remembered.on_admitted(found)
                admitted.append(found)
        self.time.end()
        return admitted

    def _check_broken(
        self,
        place: Place,
        record: ConsumerRecord,
        broken: Broken,
        entry: Late | None,
        letter: DeadLetter | None,
    ) -> None:
        if entry is not None:
            self.report.differ(told(place), LATE_EVENTS, f"a letter: {broken.reason}", "an entry")
        if letter is not None or entry is None:
            check_letter(place, record, broken, letter, self.report)

    def _class_of(
        self,
        place: Place,
        record: ConsumerRecord,
        event: Event,
        entry: Late | None,
        letter: DeadLetter | None,
    ) -> str:
        now_ms = record.timestamp if self.is_plain else entry.written_ms if entry else None
        self.time.move_to(record.offset, now_ms)
        if entry is not None:
            check_entry(place, event, entry, self.rules.grace_ms[self.topic], self.report)
            self._check_late(place, event, entry)
            return "late"
        closes_ms = event.at + self.rules.grace_ms[self.topic]
        for reason, at_ms in (("behind", self.time.log_ms), ("after_silence", self.time.least_ms)):
            if closes_ms <= at_ms:
                self.report.differ(
                    told(place), LATE_EVENTS, f"an entry: {reason}, its topic was at {at_ms}",
                    letter.reason if letter else "nothing",
                )  # fmt: skip
                return "late"
        self.time.on_time(event.at)
        kinds = self.rules.policy.kinds_at(event.at)
        if self.topic == INTERACTIONS and event.body.kind not in kinds:
            return self._agree(place, {"ignored"}, "ignored", letter)
        claimed = letter.reason if letter else "admitted"
        classes = self.remembered.classes_of(event, claimed)
        if letter is None and classes == {"duplicate"}:
            claimed = "duplicate"
        return self._agree(place, classes, claimed, letter)

    def _agree(
        self, place: Place, classes: set[str], claimed: str, letter: DeadLetter | None
    ) -> str:
        """The class of a record that may be in `classes` and is said to be in `claimed`."""
        if letter is not None:
            if letter.reason not in classes:
                expected = " or ".join(sorted(classes))
                self.report.differ(told(place), DEAD_LETTERS, expected, letter.reason)
            return "dead"
        if claimed not in classes:
            expected = " or ".join(sorted(classes))
            self.report.differ(told(place), DEAD_LETTERS, f"a letter: {expected}", "nothing")
            return "dead"
        return claimed

    def _check_late(self, place: Place, event: Event, entry: Late) -> None:
        """The time an entry was compared with is its topic's, and the record lies behind it."""
        closes_ms = event.at + self.rules.grace_ms[self.topic]
        compared_ms, log_ms = entry.said.get("compared_ms"), self.time.log_ms
        is_behind = closes_ms <= log_ms
        expected = None
        if is_behind != (entry.reason == "behind"):
            expected = f"behind: {is_behind}, its topic was at {log_ms}"
        elif is_behind:
            if compared_ms != log_ms:
                expected = f"compared with {log_ms}"
        elif entry.reason != "after_silence" or type(compared_ms) is not int:
            expected = "behind or after_silence, and the time compared"
        elif closes_ms > compared_ms:
            expected = "no entry: it is not later than the grace"
        elif not self.time.was(compared_ms):
            expected = f"a time from {self.time.least_ms} to {self.time.most_ms}"
        if expected:
            found = f"{entry.reason}, compared with {compared_ms}"
            self.report.differ(told(place), LATE_EVENTS, expected, found)

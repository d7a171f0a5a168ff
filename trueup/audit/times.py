"""The time W of one topic in one task, retold from its log: what is sure of it at each record.

The part that the log alone decides is known exactly (`log_ms`). The part that silence and clock
records move is decided once by the task and cannot be recomputed, so it is held between two bounds
(`least_ms`, `most_ms`), and whatever the task says of it must lie between them:

* it never goes back, and it is what the task's notes say, as far as compaction has left them;
* a record that was not late came before it reached that record's time plus the grace;
* no clock record of the partition, written by then, goes further;
* it moves at the pace of the broker's clock: by no more than the broker's time that passed since
  the topic's last record, less the quiet of `idle_after_ms`, from where it stood. "By then" is the
  next record's own broker time, since a topic with a record left to apply is not silent; where
  records come in transactions they are seen later than they were written, and then it is the time
  of the ledger's entry or of the task's next note.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from trueup.audit.progress import NEVER_MS, NOTHING, Note
from trueup.audit.report import AuditReport
from trueup.audit.rules import Rules

SKEW_MS = 1_000
"""How far brokers' clocks may differ, and how long a written record may be unseen."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clock records of a partition: broker times, and the furthest jump up to each."""

    written_ms: Sequence[int] = ()
    until_ms: Sequence[int] = ()

    @classmethod
    def of(cls, records: Sequence[tuple[int, int]]) -> "Clocks":
        """From (broker time, until) of each."""
        ordered = sorted(records)
        return cls([at for at, _ in ordered], list(accumulate((u for _, u in ordered), max)))

    def furthest_ms(self, now_ms: int) -> int:
        """The furthest jump that a task may have made by then."""
        count = bisect_right(self.written_ms, now_ms)
        return self.until_ms[count - 1] if count else NEVER_MS


@dataclass(frozen=True, slots=True)
class First:
    """A topic's first record that moved the time: the start of one that has none yet."""

    capped_ms: int
    broker_ms: int


class TopicTime:
    """One topic of one task; is told its records in the order of the log."""

    def __init__(
        self,
        name: str,
        topic: str,
        notes: Sequence[Note],
        clocks: Clocks,
        other_first: First | None,
        rules: Rules,
        report: AuditReport,
    ) -> None:
        self.log_ms = self.least_ms = self.most_ms = NEVER_MS
        self.before, self.after = NOTHING, notes[0] if notes else NOTHING
        self._name, self._topic, self._report = name, topic, report
        self._notes, self._next = notes, 0
        self._clocks = clocks
        self._grace_ms, self._idle_after_ms = rules.grace_ms[topic], rules.idle_after_ms
        # Where W stood at the topic's last record, at most, and that record's broker time; before
        # the first one, that of whatever gave the task a time.
        self._stood_ms = other_first.capped_ms if other_first else NEVER_MS
        began_ms = [*clocks.written_ms[:1], *([other_first.broker_ms] if other_first else ())]
        self._broker_ms = min(began_ms, default=None)

    @property
    def sure_ms(self) -> int:
        """W is at least this."""
        return max(self.log_ms, self.least_ms)

    @property
    def furthest_ms(self) -> int:
        """W is at most this."""
        return max(self.log_ms, self.most_ms)

    def move_to(self, offset: int, now_ms: int | None) -> None:
        """The record at `offset` is judged next.

        Args:
            offset: Its place in the log.
            now_ms: The broker's time by which it was judged; None: not before the next note.
        """
        while self._next < len(self._notes) and self._applied(self._notes[self._next]) <= offset:
            self._pass(self._notes[self._next])
        if self._next < len(self._notes):
            self.after = self._notes[self._next]
        self._widen(self.after.written_ms if now_ms is None else now_ms)
        self.most_ms = max(min(self.most_ms, self.after.pushed_ms(self._topic)), self.least_ms)

    def on_record(self, capped_ms: int, broker_ms: int) -> None:
        """A record has passed the first step of admission."""
        self.log_ms = max(self.log_ms, capped_ms)
        self.on_any(broker_ms)

    def on_any(self, broker_ms: int) -> None:
        """A record came, whatever it is: silence is counted from here."""
        self._broker_ms = broker_ms
        if self.furthest_ms > NEVER_MS:
            self._stood_ms = self.furthest_ms

    def on_time(self, at_ms: int) -> None:
        """A record of that time was not late."""
        self.most_ms = max(min(self.most_ms, at_ms + self._grace_ms - 1), self.least_ms)

    def was(self, pushed_ms: int) -> bool:
        """Takes over where the task says that silence had moved it; whether that can be."""
        is_possible = self.least_ms <= pushed_ms <= self.most_ms
        if is_possible:
            self.least_ms = self.most_ms = pushed_ms
            if self.log_ms > NEVER_MS:
                self._stood_ms = min(self._stood_ms, self.furthest_ms)
        return is_possible

    def end(self) -> None:
        """The log has ended: the notes that are left are held to it."""
        for note in self._notes[self._next :]:
            self._pass(note)
        held_ms = self.before.grace_ms.get(self._topic, self._grace_ms)
        if held_ms != self._grace_ms:
            self._differ("grace", self._grace_ms, held_ms)

    def _applied(self, note: Note) -> int:
        return note.offsets.get(self._topic, 0)

    def _pass(self, note: Note) -> None:
        self._next += 1
        self.before = note
        self._widen(note.written_ms)
        if note.log_ms(self._topic) != self.log_ms:
            self._differ("greatest time seen", self.log_ms, note.log_ms(self._topic))
        if not self.was(pushed_ms := note.pushed_ms(self._topic)):
            bounds = f"{self.least_ms} to {self.most_ms}"
            self._differ("time moved by silence or clock", bounds, pushed_ms)

    def _differ(self, what: str, expected: object, found: object) -> None:
        self._report.differ(f"{self._name}, {what}", "changelog", expected, found)

    def _widen(self, now_ms: int) -> None:
        """By `now_ms` silence and clock records may have moved the time up to here."""
        now_ms += SKEW_MS
        jumped_ms = self._clocks.furthest_ms(now_ms)
        self.most_ms = max(self.most_ms, jumped_ms)
        if self._broker_ms is not None:
            paced_ms = now_ms - self._broker_ms - self._idle_after_ms
            if paced_ms > 0:
                self.most_ms = max(self.most_ms, max(self._stood_ms, jumped_ms) + paced_ms)

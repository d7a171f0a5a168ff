"""What a task notes about itself under `p` of its changelog, with the broker's time of the note.

Of a note only these are read: the next offsets, the topics' times (log, pushed), the policy
versions that had begun, the graces, the counts by class, where a rebuild began to write it and,
from a calibrator, its promises. Compaction keeps the last note, and some before it. What was noted
before a rebuild is no claim of the task that goes on from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from trueup.audit.reading import Log, Logs

NEVER_MS = -(2**62)


class _Row(msgspec.Struct):
    offsets: dict[str, int] = {}
    times: dict[str, list[int]] = {}
    counts: dict[str, int] = {}
    promises: dict[int, int] = {}
    policy: list[str] = []
    grace_ms: dict[str, int] = {}
    begins: int = 0


@dataclass(frozen=True, slots=True)
class Note:
    """Where a task stood when it wrote this."""

    written_ms: int
    offsets: Mapping[str, int]
    times: Mapping[str, list[int]]
    counts: Mapping[str, int]
    promises: Mapping[int, int]
    policy: Sequence[str] = ()
    grace_ms: Mapping[str, int] = field(default_factory=dict)

    def log_ms(self, topic: str) -> int:
        """The greatest capped time seen in a topic."""
        return self.times[topic][0] if topic in self.times else NEVER_MS

    def pushed_ms(self, topic: str) -> int:
        """Where silence or a clock record had moved a topic's time."""
        return self.times[topic][1] if topic in self.times else NEVER_MS

    def time_ms(self, topic: str) -> int:
        """W of a topic."""
        return max(self.log_ms(topic), self.pushed_ms(topic))

    def settled_ms(self, grace_ms: Mapping[str, int]) -> int:
        """Every outcome with a settle time up to here was settled."""
        return min(self.time_ms(topic) - grace_ms[topic] for topic in grace_ms)


NOTHING = Note(NEVER_MS, {}, {}, {}, {})
"""What a task without a note stands at."""


def notes_of(changelog: Logs) -> dict[int, list[Note]]:
    """The notes that are left of each task, in order."""
    return {partition: _notes_of(log) for partition, log in changelog.items()}


_decode = msgspec.msgpack.Decoder(_Row, strict=False).decode


def _notes_of(log: Log) -> list[Note]:
    noted = [(record, _decode(record.value)) for record in log.records if record.key == b"p"]
    begins = noted[-1][1].begins if noted else 0
    return [
        Note(
            record.timestamp,
            row.offsets,
            row.times,
            row.counts,
            row.promises,
            row.policy,
            row.grace_ms,
        )
        for record, row in noted
        if record.offset >= begins
    ]

"""Is a stream miscalibrated? The test that may be looked at after every record.

E_raw asks whether the stated probability is right and is never reset by an adjustment: alarm,
verdict and flags rest on it. E_map asks whether the map in force is right; without a map it is
E_raw. An adopted map begins a new epoch, E_map = 1, in which only records acted on since count.
The law: lead records come in the order (settle time, action time, action_id, conversation_id). The
result depends on it, so tests of parts never merge. A new agent version or policy begins a new one.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tables.calibration_map import IDENTITY, CalibrationMap
from tables.evidence import Evidence, below_half
from tables.evidence_increments import increments, said_by
from tables.stream_sums import Settled

FORESEEN_MIN = 4
"""Fewer are as cheap one by one."""


@dataclass(slots=True)
class Epoch:
    """A map in force, the event time of its adoption, and what speaks against it since."""

    map: CalibrationMap
    adopted_at_ms: int
    evidence: Evidence = field(default_factory=Evidence)


class MiscalibrationTest:
    """The test of one stream.

    Args:
        alpha: The chance that a calibrated stream ever gives an alarm is at most this.

    >>> test = MiscalibrationTest()
    >>> for at_ms in range(40): test.update(900_000, at_ms % 2, at_ms)
    >>> test.alarm_n, test.raw.log_nanos() // 10**9
    (11, 16)
    """

    __slots__ = ("_quiet_nanos", "alarm_n", "alpha", "epoch", "peak_nanos", "raw")

    def __init__(self, alpha: float = 0.05) -> None:
        self.alpha = alpha
        self.raw = Evidence()
        self.epoch: Epoch | None = None
        self.peak_nanos = 0
        self.alarm_n: int | None = None
        self._quiet_nanos = below_half(0)

    @property
    def of_map(self) -> Evidence:
        """What speaks against the map in force."""
        return self.raw if self.epoch is None else self.epoch.evidence

    def update(self, millionths: int, y: int | None, created_at_ms: int) -> None:
        """Takes a settled lead record by its action time; y is None where it is excluded."""
        self.raw.update(increments(millionths, IDENTITY), y)
        epoch = self.epoch
        if epoch is not None and created_at_ms >= epoch.adopted_at_ms:
            epoch.evidence.update(increments(millionths, epoch.map), y)
        self._look()

    def foresee(self, coming: deque[Settled]) -> None:
        """Works out together what the lead records say that are updated next, as far as they are
        known; it changes no bit.
        """
        if len(coming) < FORESEEN_MIN:
            return
        _foresee(self.raw, coming, IDENTITY)
        epoch = self.epoch
        if epoch is not None and coming[0].created_at_ms >= epoch.adopted_at_ms:
            since_ms = epoch.adopted_at_ms
            own = (one for one in coming if one.created_at_ms >= since_ms)
            _foresee(epoch.evidence, own, epoch.map)

    def _look(self) -> None:
        """Keeps the greatest E so far and the number of the record that opened the alarm."""
        if self.raw.greatest_nanos >= self._quiet_nanos:
            self.peak_nanos = max(self.peak_nanos, self.raw.log_nanos())
            self._quiet_nanos = below_half(self.peak_nanos)
        if self.alarm_n is None and self.raw.is_alarm(self.alpha):
            self.alarm_n = self.raw.n

    def adopt(self, adopted: CalibrationMap, at_ms: int) -> None:
        """Puts a map in force from an event time on."""
        self.epoch = Epoch(adopted, at_ms)

    def row(self) -> list[Any]:
        """Plain integers for the changelog."""
        epoch: list[Any] = []
        if self.epoch is not None:
            epoch = [*self.epoch.map, self.epoch.adopted_at_ms, self.epoch.evidence.row()]
        return [self.raw.row(), self.peak_nanos, self.alarm_n or 0, epoch]

    @classmethod
    def of_row(cls, row: list[Any], alpha: float = 0.05) -> "MiscalibrationTest":
        """The test whose row this is."""
        made = cls(alpha)
        raw, made.peak_nanos, alarm_n, epoch = row
        made.raw, made.alarm_n = Evidence.of_row(raw), alarm_n or None
        made._quiet_nanos = below_half(made.peak_nanos)
        if epoch:
            a, b, adopted_at_ms, evidence = epoch
            made.epoch = Epoch(CalibrationMap(a, b), adopted_at_ms, Evidence.of_row(evidence))
        return made


def _foresee(evidence: Evidence, coming: Iterable[Settled], base: CalibrationMap) -> None:
    if count := evidence.foreseeable_count:
        some = ((one.millionths, one.y) for one in islice(coming, count))
        evidence.foresee(said_by(some, base))

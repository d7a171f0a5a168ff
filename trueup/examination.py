"""What a file's records say of calibration: verdict, evidence, errors without bins, direction.

The law: evidence has an order. Where times are named that is theirs, at equal times the file's;
else the file's. Each row is taken as a record of its own: rows that share their luck, say of one
account, make the evidence too strong. Of a row nothing is kept, but its time, confidence and
outcome until all are read where times are named.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tables.calibration_bins import Sums
from tables.calibration_map import IDENTITY
from tables.direction import direction
from tables.evidence import Evidence
from tables.evidence_increments import increments_of_many
from tables.evidence_odds import NANO
from tables.recalibration import recalibration
from tables.smooth_error import ResidualGrid, smooth_error
from tables.verdict import Verdict, verdict
from trueup.calibration_words import error_json, error_words, verdict_words
from trueup.standing_words import evidence_words

ALPHA = 0.05
CHUNK_ROWS = 2_000
_EXCLUDED = -1


@dataclass(slots=True)
class Examination:
    """Records in the order of their evidence, and what they came to once it is finished."""

    evidence: Evidence = field(default_factory=Evidence)
    grid: ResidualGrid = field(default_factory=ResidualGrid)
    alarm_n: int | None = None
    _moments: "array[float]" = field(default_factory=lambda: array("d"))
    _confidences: "array[int]" = field(default_factory=lambda: array("l"))
    _outcomes: "array[int]" = field(default_factory=lambda: array("b"))

    def update(self, millionths: int, y: int | None, at: datetime | None) -> None:
        """Takes a record; without a time it counts at once, else when all have come."""
        if at is not None:
            self._moments.append(at.timestamp())
        self._confidences.append(millionths)
        self._outcomes.append(_EXCLUDED if y is None else y)
        if at is None and len(self._confidences) >= CHUNK_ROWS:
            self.finish()

    def finish(self) -> None:
        """Lets every record that waits count, by time."""
        moments, confidences, outcomes = self._moments, self._confidences, self._outcomes
        order: Sequence[int] = range(len(confidences))
        if moments:
            order = sorted(order, key=moments.__getitem__)
        for start in range(0, len(order), CHUNK_ROWS):
            chunk = order[start : start + CHUNK_ROWS]
            self._count([confidences[k] for k in chunk], [outcomes[k] for k in chunk])
        self._moments, self._confidences, self._outcomes = array("d"), array("l"), array("b")

    def _count(self, confidences: list[int], outcomes: list[int]) -> None:
        said = increments_of_many(confidences, IDENTITY)
        for millionths, y, increments in zip(confidences, outcomes, said, strict=True):
            self.evidence.update(increments, None if y == _EXCLUDED else y)
            if self.alarm_n is None and self.evidence.is_alarm(ALPHA):
                self.alarm_n = self.evidence.n
            if y != _EXCLUDED:
                self.grid.update(millionths, y)

    def verdict(self, bins: Sequence[Sums]) -> Verdict:
        """The verdict on these sums and this evidence."""
        return verdict(bins, self.evidence, ALPHA)


def examination_words(bins: Sequence[Sums], examined: Examination, ascii_only: bool) -> list[str]:
    """The verdict, both errors and the evidence."""
    said, smooth = examined.verdict(bins), smooth_error(examined.grid)
    return [
        verdict_words(said, bins),
        error_words(said.error, smooth, ascii_only),
        f"{evidence_words(said.log_evidence_nanos, said.n)}{_alarm(examined)}",
    ]


def _alarm(examined: Examination) -> str:
    if examined.alarm_n is None:
        return f", no alarm (1 : {1 / ALPHA:g})"
    return f", alarm (1 : {1 / ALPHA:g}) at action {examined.alarm_n:,}"


def examination_json(bins: Sequence[Sums], examined: Examination) -> dict[str, Any]:
    """The same in plain values; ln_e is in nats."""
    said, fitted = examined.verdict(bins), recalibration(bins)
    named = direction(bins, fitted)
    return {
        "calibration": {
            "verdict": said.word,
            "alpha": ALPHA,
            "delta": said.delta,
            "is_calibrated": said.is_calibrated,
        },
        "ece2": error_json(said.error),
        "smooth_ece": smooth_error(examined.grid),
        "evidence": {
            "ln_e": said.log_evidence_nanos / NANO,
            "n": examined.evidence.n,
            "alarm_n": examined.alarm_n,
        },
        "direction": {"on_average": named.on_average, "shape": named.shape},
        "map": {"a": fitted.map.a, "b": fitted.map.b},
    }

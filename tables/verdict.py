"""What may be said of a stream's calibration: one of four words, with what it rests on.

No alarm is not calibration, and with millions of records trifles are significant: so
"miscalibrated" needs evidence and size, "calibrated" an upper end of the error, and between them
stand "insufficient" and "no evidence".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tables.calibration_bins import Sums
from tables.debiased_error import DebiasedError, debiased_error
from tables.evidence import Evidence, bound_nanos

MISCALIBRATED = "miscalibrated"
INSUFFICIENT = "insufficient"
CALIBRATED = "calibrated"
NO_EVIDENCE = "no evidence"

ALPHA = 0.05
"""Evidence of 1/α is an alarm: who is right about itself has one in at most α of cases."""
DELTA = 0.05
"""How large an error may be called calibrated."""
ERROR_MIN = 0.02
RECORDS_MIN = 100
RARER_MIN = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """The word, δ, the number of lead records, ⌊10⁹ ln E⌋ and the error with its interval."""

    word: str
    delta: float
    n: int
    log_evidence_nanos: int
    error: DebiasedError | None

    @property
    def is_calibrated(self) -> bool:
        """Whether the error is shown to be at most δ."""
        return self.word == CALIBRATED

    def __str__(self) -> str:
        return f"{self.word} within {self.delta:g}" if self.is_calibrated else self.word


def has_enough(bins: Sequence[Sums]) -> bool:
    """Whether there are 100 records with 20 of the rarer outcome."""
    n, sy = sum(b.n for b in bins), sum(b.sy for b in bins)
    return n >= RECORDS_MIN and min(sy, n - sy) >= RARER_MIN


def verdict(
    bins: Sequence[Sums], evidence: Evidence, alpha: float = ALPHA, delta: float = DELTA
) -> Verdict:
    """The first that holds of miscalibrated, insufficient, calibrated, no evidence.

    Args:
        bins: Lead sums: those of records that share no conversation's luck.
        evidence: E_raw of the same records.
        alpha: Evidence of 1/α is an alarm.
        delta: How large an error may be called calibrated.

    >>> str(verdict([], Evidence()))
    'insufficient'
    """
    error = debiased_error(bins)
    n, log_nanos = sum(b.n for b in bins), evidence.log_nanos()
    if error and evidence.is_alarm(alpha) and error.root >= ERROR_MIN:
        word = MISCALIBRATED
    elif not has_enough(bins):
        word = INSUFFICIENT
    elif error and log_nanos < bound_nanos(alpha) and error.high <= delta:
        word = CALIBRATED
    else:
        word = NO_EVIDENCE
    return Verdict(word, delta, n, log_nanos, error)

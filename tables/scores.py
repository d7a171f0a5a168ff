"""Scores of a calibration from the sums of its bins: Brier, ECE, MCE.

Notation: of a bin n, f̄ = Σp/n, ō = Σy/n; N = Σn. Confidences are in millionths in the sums and in
[0, 1] in what is returned. A score of nothing is None.
"""

from collections.abc import Sequence
from fractions import Fraction

from tables.calibration_bins import UNIT, Sums

MCE_RECORDS_MIN = 20


def brier_score(bins: Sequence[Sums]) -> float | None:
    """Σ(Σp² - 2Σpy + Σy)/N: exact from the sums, not from midpoints (Brier 1950).

    >>> one = Sums(); one.update(800_000, 1); one.update(600_000, 0)
    >>> brier_score([one])
    0.2
    """
    count = sum(b.n for b in bins)
    if not count:
        return None
    return float(sum((brier_contribution(b) for b in bins), Fraction()) / count)


def brier_contribution(sums: Sums) -> Fraction:
    """A bin's sum of squared gaps: Σp² - 2Σpy + Σy."""
    return Fraction(sums.spp - 2 * sums.spy * UNIT + sums.sy * UNIT * UNIT, UNIT * UNIT)


def expected_calibration_error(bins: Sequence[Sums]) -> float | None:
    """Σ(n/N)|f̄ - ō|. Its plug-in value is .10 for a perfect source at N = 100: never decide on it.

    >>> one = Sums(); one.update(800_000, 1); one.update(600_000, 0)
    >>> expected_calibration_error([one])
    0.2
    """
    count = sum(b.n for b in bins)
    if not count:
        return None
    return float(sum((abs(Fraction(b.sp, UNIT) - b.sy) for b in bins), Fraction()) / count)


def maximum_calibration_error(bins: Sequence[Sums]) -> float | None:
    """The largest |f̄ - ō| over bins with at least 20 records."""
    gaps = [
        abs(Fraction(b.sp, UNIT * b.n) - Fraction(b.sy, b.n))
        for b in bins
        if b.n >= MCE_RECORDS_MIN
    ]
    return float(max(gaps)) if gaps else None

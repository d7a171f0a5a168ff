"""Scores of a calibration from the sums of its bins: Brier and its parts, skill, ECE, MCE.

Notation: of a bin n, f̄ = Σp/n, ō = Σy/n; N = Σn. Confidences are in millionths in the sums and in
[0, 1] in what is returned. A score of nothing is None.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
    return Fraction(squared_gaps(sums), UNIT * UNIT)


def squared_gaps(sums: Sums) -> int:
    """The same in square millionths."""
    return sums.spp - 2 * sums.spy * UNIT + sums.sy * UNIT * UNIT


def gap(sums: Sums) -> Fraction:
    """f̄ - ō of a bin that has records: positive where more was stated than came true."""
    return Fraction(sums.sp - sums.sy * UNIT, UNIT * sums.n)


@dataclass(frozen=True, slots=True)
class BrierParts:
    """Brier = reliability - resolution + uncertainty + within_variance - within_covariance.

    Stephenson, Coelho, Jolliffe 2008 (REL, RES, UNC, WBV, WBC): the last two are what the bins'
    width adds to the three parts of Murphy 1973.
    """

    reliability: Fraction
    resolution: Fraction
    uncertainty: Fraction
    within_variance: Fraction
    within_covariance: Fraction

    @property
    def brier(self) -> Fraction:
        """The score that the parts make, exactly."""
        return (
            self.reliability
            - self.resolution
            + self.uncertainty
            + self.within_variance
            - self.within_covariance
        )


def brier_parts(bins: Sequence[Sums]) -> BrierParts | None:
    """The parts of the Brier score, exact.

    >>> one = Sums(); one.update(800_000, 1); one.update(600_000, 0)
    >>> parts = brier_parts([one])
    >>> [float(p) for p in (parts.reliability, parts.uncertainty, parts.within_covariance)]
    [0.04, 0.25, 0.1]
    >>> float(parts.brier)
    0.2
    """
    occupied = [b for b in bins if b.n]
    count = sum(b.n for b in occupied)
    if not count:
        return None
    rate = Fraction(sum(b.sy for b in occupied), count)
    parts = BrierParts(Fraction(), Fraction(), rate * (1 - rate), Fraction(), Fraction())
    for sums in occupied:
        parts = _with_bin(parts, sums, Fraction(sums.n, count), rate)
    return parts


def _with_bin(parts: BrierParts, sums: Sums, weight: Fraction, rate: Fraction) -> BrierParts:
    stated, actual = Fraction(sums.sp, UNIT * sums.n), Fraction(sums.sy, sums.n)
    variance = Fraction(sums.spp, UNIT * UNIT * sums.n) - stated**2
    covariance = Fraction(sums.spy, UNIT * sums.n) - stated * actual
    return BrierParts(
        parts.reliability + weight * (stated - actual) ** 2,
        parts.resolution + weight * (actual - rate) ** 2,
        parts.uncertainty,
        parts.within_variance + weight * variance,
        parts.within_covariance + 2 * weight * covariance,
    )


def brier_skill(bins: Sequence[Sums]) -> float | None:
    """1 - Brier/UNC: 0 for who always states the mean rate; None where all outcomes are alike.

    >>> one = Sums(); one.update(800_000, 1); one.update(600_000, 0)
    >>> brier_skill([one])
    0.2
    """
    parts = brier_parts(bins)
    if parts is None or not parts.uncertainty:
        return None
    return float(1 - parts.brier / parts.uncertainty)


def expected_calibration_error(bins: Sequence[Sums]) -> float | None:
    """Σ(n/N)|f̄ - ō|. Its plug-in value is .10 for a perfect source at N = 100: never decide on it.

    >>> one = Sums(); one.update(800_000, 1); one.update(600_000, 0)
    >>> expected_calibration_error([one])
    0.2
    """
    count = sum(b.n for b in bins)
    if not count:
        return None
    return float(sum((abs(gap(b)) * b.n for b in bins if b.n), Fraction()) / count)


def maximum_calibration_error(bins: Sequence[Sums]) -> float | None:
    """The largest |f̄ - ō| over bins with at least 20 records."""
    gaps = [abs(gap(b)) for b in bins if b.n >= MCE_RECORDS_MIN]
    return float(max(gaps)) if gaps else None

"""The debiased calibration error ECE₂ from the sums of the bins (Kumar, Liang, Ma 2019).

The plug-in error of a perfect source is not 0 but grows as the bins get emptier; here each bin's
squared gap loses what chance alone puts into it. The signed square is unbiased, its shown root is
not (perfect source: .033 at 100 records, .011 at 1,000). Errors of segments do not add up to that
of the whole: opposite ones cancel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

from tables.calibration_bins import Sums
from tables.scores import brier_contribution, gap

INTERVAL_Z = 1.96


@dataclass(frozen=True, slots=True)
class DebiasedError:
    """The signed square with its standard error, and the share of records alone in their bin.

    A bin with one record has no variance to take off, and counts for nothing.
    """

    square: float
    standard_error: float
    lone_share: float

    @property
    def root(self) -> float:
        """The figure that is shown: √max(0, square)."""
        return sqrt(max(0.0, self.square))

    @property
    def low(self) -> float:
        """The lower end of the root's 95 % interval at a fixed time."""
        return sqrt(max(0.0, self.square - INTERVAL_Z * self.standard_error))

    @property
    def high(self) -> float:
        """The upper end of the root's 95 % interval at a fixed time."""
        return sqrt(max(0.0, self.square + INTERVAL_Z * self.standard_error))


def debiased_error(bins: Sequence[Sums]) -> DebiasedError | None:
    """ECE₂² = Σ_{n>1}(n/N)(d² - v) with d = f̄ - ō, v = [(Σp² - 2Σpy + Σy)/n - d²]/(n - 1).

    None where nothing was seen.

    >>> one = Sums(); one.update(800_000, 1); one.update(600_000, 0)
    >>> error = debiased_error([one])
    >>> error.square, round(error.standard_error, 4), error.root, round(error.high, 4)
    (-0.12, 0.2263, 0.0, 0.5688)
    """
    count = sum(b.n for b in bins)
    if not count:
        return None
    square, variance = Fraction(), 0.0
    for sums in (b for b in bins if b.n > 1):
        excess, noise = _excess_and_noise(sums)
        square += Fraction(sums.n, count) * excess
        share, e, v = sums.n / count, float(excess), float(noise)
        variance += share * share * (4 * max(e, 0.0) * v + 2 * v * v)
    lone_count = sum(b.n == 1 for b in bins)
    return DebiasedError(float(square), sqrt(variance), lone_count / count)


def _excess_and_noise(sums: Sums) -> tuple[Fraction, Fraction]:
    """d² - v and v of a bin with at least two records."""
    d_square = gap(sums) ** 2
    noise = (brier_contribution(sums) / sums.n - d_square) / (sums.n - 1)
    return d_square - noise, noise

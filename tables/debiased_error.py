"""The debiased calibration error ECE₂ from the sums of the bins (Kumar, Liang, Ma 2019).

The plug-in error of a perfect source is not 0 but grows as the bins get emptier; here each bin's
squared gap loses what chance alone puts into it. The signed square is unbiased, its shown root is
not (perfect source: .033 at 100 records, .011 at 1,000). Errors of segments do not add up to that
of the whole: opposite ones cancel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from tables.calibration_bins import UNIT, Sums
from tables.scores import squared_gaps

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


def debiased_error(
    bins: Sequence[Sums], worth: Sequence[float] | None = None
) -> DebiasedError | None:
    """ECE₂² = Σ_{n>1}(n/N)(d² - v) with d = f̄ - ō, v = [(Σp² - 2Σpy + Σy)/n - d²]/(n - 1).

    None where nothing was seen.

    Args:
        bins: The sums.
        worth: In the place of the n in n > 1 and n - 1, where records have weights: their n_eff.

    >>> one = Sums(); one.update(800_000, 1); one.update(600_000, 0)
    >>> error = debiased_error([one])
    >>> error.square, round(error.standard_error, 4), error.root, round(error.high, 4)
    (-0.12, 0.2263, 0.0, 0.5688)
    """
    count = sum(b.n for b in bins)
    if not count:
        return None
    square, unit, variance, lone_count = 0, 1, 0.0, 0
    for sums, n in zip(bins, worth or [b.n for b in bins], strict=True):
        if n <= 1:
            lone_count += sums.n
            continue
        excess, noise, of = _excess_and_noise(sums, n)
        square, unit = square * of + sums.n * excess * unit, unit * of
        share, e, v = sums.n / count, excess / of, noise / of
        variance += share * share * (4 * max(e, 0.0) * v + 2 * v * v)
    return DebiasedError(square / (unit * count), sqrt(variance), lone_count / count)


def _excess_and_noise(sums: Sums, n: float) -> tuple[int, int, int]:
    """d² - v and v of a bin that is worth more than one record, and what both are divided by.

    Integers, whose quotients Python rounds as it does those of fractions, at a tenth of their cost.
    """
    whole, part = n.as_integer_ratio()
    d_square = (sums.sp - sums.sy * UNIT) ** 2
    noise = (squared_gaps(sums) * sums.n - d_square) * part
    of = (UNIT * sums.n) ** 2 * (whole - part)
    return d_square * (whole - part) - noise, noise, of

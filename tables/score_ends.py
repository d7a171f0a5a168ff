"""Both ends of rates and scores, whatever the excluded records would have been.

Excluded records have a confidence and no outcome: ambiguous ones, and expired ones where confidence
means success given a signal. Each figure is shown as it would be if all their outcomes were such
that it is least, and such that it is most. Where an expired one counts as a failure it is not
excluded; `silence_ends` is how far the rate rests on that.

References:
    Manski, C. (2003). Partial Identification of Probability Distributions. Springer. Chapter 1.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from tables.calibration_bins import BIN_COUNT, UNIT, Sums
from tables.scores import brier_contribution

Ends = tuple[float, float]
_SETTLED = ("positive", "negative", "ambiguous", "expired")


def rate_ends(sums: Sums) -> Ends | None:
    """The actual rate of a bin: all of the excluded failed, or all succeeded.

    >>> one = Sums(); one.update(800_000, 1); one.update(600_000, 0); one.update(700_000, None)
    >>> [round(end, 4) for end in rate_ends(one)]
    [0.3333, 0.6667]
    """
    count = sums.n + sums.excluded_n
    if not count:
        return None
    return sums.sy / count, (sums.sy + sums.excluded_n) / count


def silence_ends(counts: Mapping[str, int | None]) -> Ends | None:
    """The rate if all that is ambiguous or expired failed, and if all of it succeeded.

    Args:
        counts: How many by status; what is pending is in neither.

    >>> [round(end, 4) for end in silence_ends({"positive": 5, "negative": 2, "expired": 3})]
    [0.5, 0.8]
    >>> silence_ends({"pending": 4}) is None
    True
    """
    positive, negative, ambiguous, expired = (counts.get(status) or 0 for status in _SETTLED)
    unsaid = ambiguous + expired
    count = positive + negative + unsaid
    return (positive / count, (positive + unsaid) / count) if count else None


def error_ends(bins: Sequence[Sums]) -> Ends | None:
    """The calibration error ECE, the excluded with their confidences in their bins.

    >>> one = Sums(); one.update(800_000, 1); one.update(600_000, 0); one.update(800_000, None)
    >>> [round(end, 4) for end in error_ends([one])]
    [0.0667, 0.4]
    """
    count = sum(b.n + b.excluded_n for b in bins)
    if not count:
        return None
    ends = [_gap_ends(b) for b in bins]
    least, most = sum((e[0] for e in ends), Fraction()), sum((e[1] for e in ends), Fraction())
    return float(least / count), float(most / count)


def _gap_ends(sums: Sums) -> tuple[Fraction, Fraction]:
    """The least and most |Σp - Σy| of a bin, for any share of the excluded."""
    stated = Fraction(sums.sp + sums.excluded_sp, UNIT)
    below, above = stated - sums.sy, stated - sums.sy - sums.excluded_n
    is_inside = above <= 0 <= below
    least = Fraction() if is_inside else min(abs(below), abs(above))
    return least, max(abs(below), abs(above))


def brier_ends(bins: Sequence[Sums]) -> Ends | None:
    """The Brier score of ten bins, each excluded outcome nearest to and farthest from its p.

    >>> ten = [Sums() for _ in range(10)]; ten[8].update(800_000, 1); ten[8].update(800_000, None)
    >>> [round(end, 4) for end in brier_ends(ten)]
    [0.04, 0.34]
    """
    count = sum(b.n + b.excluded_n for b in bins)
    if not count:
        return None
    known = sum((brier_contribution(b) for b in bins), Fraction())
    failed = [Fraction(b.excluded_spp, UNIT * UNIT) for b in bins]
    succeeded = [
        square - Fraction(2 * b.excluded_sp, UNIT) + b.excluded_n
        for square, b in zip(failed, bins, strict=True)
    ]
    middle = BIN_COUNT // 2  # no bin straddles ½
    least = sum(failed[:middle] + succeeded[middle:], known)
    most = sum(succeeded[:middle] + failed[middle:], known)
    return float(least / count), float(most / count)

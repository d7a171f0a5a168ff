"""The provisional rate: what open windows show already, by how much of it should have come.

Positives come early, negatives only when the window closes: open actions are weighed by F̂(age),
the share of good news that has come by their age. It cannot see a change of the delays themselves,
so it stands beside its own last check and is withheld where that failed. No alarm or adjustment
rests on it.

References:
    Lawless, J. F. (1994). Adjustments for Reporting Delays and the Prediction of Occurred but Not
    Reported Events. Canadian Journal of Statistics 22.
    Chapelle, O. (2014). Modeling Delayed Feedback in Display Advertising. KDD 20.
    Wilson, E. B. (1927). Probable Inference, the Law of Succession, and Statistical Inference.
    JASA 22. The interval inverts the score in the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

SHARE_MIN = 0.05
INTERVAL_Z = 1.96
CHECK_MIN, CHECK_MAX = 0.8, 1.25


class Cohort(NamedTuple):
    """Actions of one bin and age: F̂ of the age, how many there are, how many have their signal."""

    share: float
    n: int
    seen: int


@dataclass(frozen=True, slots=True)
class ProvisionalRate:
    """The rate with its 95 % interval, and the maturity: the mean F̂ of all its actions."""

    rate: float
    low: float
    high: float
    maturity: float


def provisional_rate(cohorts: Sequence[Cohort]) -> ProvisionalRate | None:
    """θ̂ = S/F₁ over F̂ > .05; None where nothing is old enough.

    The interval's ends are the roots of (F₁²+z²F₂)θ² - (2SF₁+z²F₁)θ + S² = 0, F₁ = ΣF̂, F₂ = ΣF̂²:
    the rates from which S lies z standard deviations away.

    >>> found = provisional_rate([Cohort(0.5, 100, 20), Cohort(1.0, 50, 20), Cohort(0.01, 40, 0)])
    >>> [round(x, 4) for x in (found.rate, found.low, found.high, found.maturity)]
    [0.4, 0.3049, 0.51, 0.5284]
    """
    old = [cohort for cohort in cohorts if cohort.share > SHARE_MIN]
    first = sum(c.n * c.share for c in old)
    if not first:
        return None
    second = sum(c.n * c.share**2 for c in old)
    seen = sum(c.seen for c in old)
    z_square = INTERVAL_Z**2
    leading, linear = first**2 + z_square * second, (2 * seen + z_square) * first
    root = sqrt(max(0.0, linear**2 - 4 * leading * seen**2))
    low, high = (min((linear + sign * root) / (2 * leading), 1.0) for sign in (-1, 1))
    maturity = sum(c.n * c.share for c in cohorts) / sum(c.n for c in cohorts)
    return ProvisionalRate(min(seen / first, 1.0), max(0.0, low), high, maturity)


def rate_given_signal(
    positive: ProvisionalRate | None, negative: ProvisionalRate | None
) -> ProvisionalRate | None:
    """The share of positives among signals, from the rates of both kinds, each by its own delays.

    The interval takes both at their far ends, and so is wider than it need be.

    >>> found = rate_given_signal(
    ...     ProvisionalRate(0.3, 0.2, 0.4, 0.9), ProvisionalRate(0.1, 0.05, 0.2, 0.8)
    ... )
    >>> [round(x, 4) for x in (found.rate, found.low, found.high, found.maturity)]
    [0.75, 0.5, 0.8889, 0.8]
    """
    if positive is None or negative is None or not positive.rate + negative.rate:
        return None
    return ProvisionalRate(
        positive.rate / (positive.rate + negative.rate),
        positive.low / (positive.low + negative.high),
        positive.high / (positive.high + negative.low),
        min(positive.maturity, negative.maturity),
    )


@dataclass(frozen=True, slots=True)
class DelayCheck:
    """What the last closed cohort's provisional rate was, over what it came to."""

    ratio: float | None

    @property
    def is_withheld(self) -> bool:
        """Whether provisional rates are not to be shown: the delays are not what they were."""
        return self.ratio is None or not CHECK_MIN <= self.ratio <= CHECK_MAX


def delay_check(provisional: float, settled: float) -> DelayCheck:
    """The check of a cohort that has closed; without a success it says nothing.

    >>> delay_check(0.45, 0.5).is_withheld, delay_check(0.35, 0.5).is_withheld
    (False, True)
    """
    return DelayCheck(provisional / settled if settled else None)

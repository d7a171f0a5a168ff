"""A calibration map g(p) = σ(a + b·logit p): from what is stated to what comes true.

a > 0 says that more comes true than is stated; b < 1 that the source is too extreme, b > 1 that it
is too timid. Both are kept in millionths, so that a map is the same on every machine.
"""

from decimal import Decimal, localcontext
from math import exp, inf, log
from typing import NamedTuple

from tables.calibration_bins import UNIT

_DIGITS = 28


class CalibrationMap(NamedTuple):
    """The two coefficients, in millionths; the slope b is positive.

    >>> timid = CalibrationMap(-238_100, 1_426_600)
    >>> round(timid.of(0.6815), 3), round(timid.inverse(0.7), 4)
    (0.7, 0.6815)
    """

    a_millionths: int
    b_millionths: int

    @property
    def a(self) -> float:
        """The intercept, in nats."""
        return self.a_millionths / UNIT

    @property
    def b(self) -> float:
        """The slope."""
        return self.b_millionths / UNIT

    def of(self, confidence: float) -> float:
        """What comes true where `confidence` is stated."""
        return logistic(self.a + self.b * logit(confidence))

    def inverse(self, rate: float) -> float:
        """The confidence to state, or to ask for, where `rate` is to come true."""
        return logistic((logit(rate) - self.a) / self.b)

    def inverse_millionths(self, rate_millionths: int) -> int:
        """The same by decimals, in millionths of (0, 1) exclusive: equal on every machine.

        >>> CalibrationMap(-238_100, 1_426_600).inverse_millionths(700_000)
        681534
        """
        with localcontext(prec=_DIGITS):
            odds = Decimal(rate_millionths) / (UNIT - rate_millionths)
            stated = (UNIT * odds.ln() - self.a_millionths) / self.b_millionths
            found = int((UNIT / (1 + (-stated).exp())).to_integral_value())
        return min(max(found, 1), UNIT - 1)


IDENTITY = CalibrationMap(0, UNIT)
"""What is stated comes true."""


def logit(probability: float) -> float:
    """ln(p/(1-p)); infinite at 0 and 1.

    >>> logit(0.5), logit(1.0)
    (0.0, inf)
    """
    if probability in (0.0, 1.0):
        return inf if probability else -inf
    return log(probability / (1 - probability))


def logistic(x: float) -> float:
    """1/(1+e^-x).

    >>> logistic(0.0), logistic(-1e9)
    (0.5, 0.0)
    """
    if x >= 0:
        return 1 / (1 + exp(-x))
    grown = exp(x)
    return grown / (1 + grown)

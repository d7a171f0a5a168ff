"""How many of the actions that still wait will succeed, with an interval.

An action that has been silent up to an age is less likely to succeed than it was: π = g(1-F)/(1-gF)
with g its calibrated probability and F the share of good news that would have come. The interval
holds the luck of the outcomes and the error of the fitted map, which all of them share.

References:
    Berkson, J., Gage, R. P. (1952). Survival Curve for Cancer Patients Following Treatment. JASA
    47. Some never have the event: what a silence says of that is Bayes' rule.
    Farewell, V. T. (1982). The Use of Mixture Models for the Analysis of Survival Data with
    Long-Term Survivors. Biometrics 38.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from tables.calibration_bins import UNIT
from tables.calibration_map import logistic, logit
from tables.recalibration import END, Recalibration

INTERVAL_Z = 1.96


class Waiting(NamedTuple):
    """Actions without a signal: their confidence in millionths, F̂ of their age, how many."""

    millionths: int
    share: float
    n: int = 1


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected number of successes of `count` actions, and its 95 % interval."""

    expected: float
    low: float
    high: float
    count: int

    def covers(self, succeeded: int) -> bool:
        """Whether what came lies in the interval."""
        return self.low <= succeeded <= self.high


def forecast(waiting: Sequence[Waiting], fitted: Recalibration) -> Forecast:
    """M = Σπ, m ± 1.96√V ± ½ with V = Σπ(1-π) + GᵀH⁻¹G, G the slope of m in (a, ln b).

    >>> from tables.recalibration import recalibration
    >>> waiting = [Waiting(700_000, 0.0, 100), Waiting(700_000, 0.9, 100)]
    >>> found = forecast(waiting, recalibration([]))
    >>> round(found.expected, 2), found.high <= 200
    (88.92, True)
    """
    a, b = fitted.map.a, fitted.map.b
    expected = luck = by_a = by_log_b = 0.0
    for millionths, share, n in waiting:
        stated = logit(min(max(millionths, END), UNIT - END) / UNIT)
        rate = logistic(a + b * stated)
        unseen = 1 - rate * share
        chance = rate * (1 - share) / unseen
        slope = n * rate * (1 - rate) * (1 - share) / unseen**2
        expected += n * chance
        luck += n * chance * (1 - chance)
        by_a += slope
        by_log_b += slope * b * stated
    map_error = (
        by_a**2 * fitted.variance_a
        + 2 * by_a * by_log_b * fitted.covariance
        + by_log_b**2 * fitted.variance_log_b
    )
    spread = INTERVAL_Z * sqrt(luck + map_error) + 0.5
    count = sum(one.n for one in waiting)
    return Forecast(
        expected, max(0.0, expected - spread), min(expected + spread, float(count)), count
    )


def past_coverage(scored: Sequence[tuple[Forecast, int]]) -> float | None:
    """The share of past forecasts, all of whose windows have closed, that covered what came.

    >>> past_coverage([(Forecast(5.0, 3.0, 7.0, 9), 4), (Forecast(5.0, 3.0, 7.0, 9), 8)])
    0.5
    """
    if not scored:
        return None
    return sum(made.covers(succeeded) for made, succeeded in scored) / len(scored)

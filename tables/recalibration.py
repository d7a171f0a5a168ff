"""The calibration map that the lead records ask for, fitted from the sums of their bins.

g(p) = σ(a + b·logit p), the posterior mode under a ~ N(0, 1), ln b ~ N(0, ½²): with few records the
map stays near the identity, and no further shrinking is needed. Each bin counts as n records at its
mean confidence, kept within [.005, .995] like the ends of the test. By Newton's method in decimal
numbers, rounded to 1e-6: the same map on every machine.

References:
    Cox, D. R. (1958). Two Further Applications of a Model for Binary Regression. Biometrika 45.
    Platt, J. (1999). Probabilistic Outputs for Support Vector Machines. Advances in Large Margin
    Classifiers.
    Kull, M., Silva Filho, T., Flach, P. (2017). Beta Calibration. AISTATS 20.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import NamedTuple

from tables.calibration_bins import UNIT, Sums
from tables.calibration_map import CalibrationMap, logit

DIGITS = 28
STEPS_MAX = 1_000
STEP_MAX = Decimal("0.5")
CONVERGED = Decimal("1e-12")
END = 5_000
PRECISION_A = Decimal(1)
PRECISION_LOG_B = Decimal(4)


class _Group(NamedTuple):
    """A bin as the fit sees it."""

    logit: Decimal
    n: int
    sy: int


class _Slopes(NamedTuple):
    """Gradient of the log posterior in (a, ln b), its negative Hessian, and Fisher's ln b entry."""

    a: Decimal
    log_b: Decimal
    aa: Decimal
    ab: Decimal
    bb: Decimal
    bb_expected: Decimal


@dataclass(frozen=True, slots=True)
class Recalibration:
    """A fitted map and the covariance of (a, ln b): the inverse of the posterior's curvature."""

    map: CalibrationMap
    variance_a: float
    variance_log_b: float
    covariance: float

    @property
    def log_b_standard_error(self) -> float:
        """How sure the slope is."""
        return float(self.variance_log_b**0.5)

    def threshold(self, target: float) -> float:
        """τ* = g⁻¹(ρ): from which stated confidence on `target` of the actions come true."""
        return self.map.inverse(target)

    def threshold_standard_error(self, target: float) -> float:
        """√(∇ᵀH⁻¹∇) with ∇ = τ*(1-τ*)(-1/b, -(logit ρ - a)/b), by the delta method.

        >>> found = recalibration([Sums(n=400, sp=400 * 820_000, sy=264)])
        >>> round(found.threshold(0.7), 4), round(found.threshold_standard_error(0.7), 4)
        (0.8494, 0.02)
        """
        threshold = self.threshold(target)
        by_a, by_log_b = -1 / self.map.b, -(logit(target) - self.map.a) / self.map.b
        square = (
            by_a**2 * self.variance_a
            + 2 * by_a * by_log_b * self.covariance
            + by_log_b**2 * self.variance_log_b
        )
        return float(threshold * (1 - threshold) * square**0.5)


def recalibration(bins: Sequence[Sums]) -> Recalibration:
    """The map of these bins; without records the identity, as unsure as the priors.

    >>> from tables.calibration_bins import Sums
    >>> ten = [Sums() for _ in range(10)]
    >>> for y in (1, 1, 1, 0, 0) * 40: ten[8].update(820_000, y)
    >>> found = recalibration(ten)
    >>> found.map, round(found.map.of(0.82), 3)
    (CalibrationMap(a_millionths=-778660, b_millionths=791622), 0.604)
    """
    with localcontext(prec=DIGITS):
        groups = [_group_of(sums) for sums in bins if sums.n]
        a, log_b = _mode_of(groups)
        slopes = _slopes_at(a, log_b, groups)
        determinant = slopes.aa * slopes.bb - slopes.ab**2
        return Recalibration(
            CalibrationMap(_rounded(a), max(1, _rounded(log_b.exp()))),
            float(slopes.bb / determinant),
            float(slopes.aa / determinant),
            float(-slopes.ab / determinant),
        )


def _rounded(value: Decimal) -> int:
    return int((value * UNIT).to_integral_value())


def _group_of(sums: Sums) -> _Group:
    total = UNIT * sums.n
    stated = min(max(sums.sp, END * sums.n), total - END * sums.n)
    return _Group((Decimal(stated) / (total - stated)).ln(), sums.n, sums.sy)


def _mode_of(groups: Sequence[_Group]) -> tuple[Decimal, Decimal]:
    """Newton's steps, Fisher's where the posterior is not curved as at a mode, none too long."""
    a = log_b = Decimal()
    for _ in range(STEPS_MAX):
        slopes = _slopes_at(a, log_b, groups)
        is_curved = slopes.aa * slopes.bb > slopes.ab**2
        bb = slopes.bb if is_curved else slopes.bb_expected
        determinant = slopes.aa * bb - slopes.ab**2
        step_a = (bb * slopes.a - slopes.ab * slopes.log_b) / determinant
        step_b = (slopes.aa * slopes.log_b - slopes.ab * slopes.a) / determinant
        size = max(abs(step_a), abs(step_b))
        shrink = min(Decimal(1), STEP_MAX / size) if size else Decimal(1)
        a, log_b = a + shrink * step_a, log_b + shrink * step_b
        if size < CONVERGED:
            break
    return a, log_b


def _slopes_at(a: Decimal, log_b: Decimal, groups: Sequence[_Group]) -> _Slopes:
    b = log_b.exp()
    by_a, by_b = -PRECISION_A * a, -PRECISION_LOG_B * log_b
    aa, ab, bb, residuals = PRECISION_A, Decimal(), PRECISION_LOG_B, Decimal()
    for group in groups:
        moved = b * group.logit
        rate = 1 / (1 + (-a - moved).exp())
        residual, weight = group.sy - group.n * rate, group.n * rate * (1 - rate)
        by_a += residual
        by_b += residual * moved
        residuals += residual * moved
        aa += weight
        ab += weight * moved
        bb += weight * moved * moved
    return _Slopes(by_a, by_b, aa, ab, bb - residuals, bb)

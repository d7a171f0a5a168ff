"""How a stream is miscalibrated, by name.

The alternative with most evidence names the wrong thing whenever the slope is off: a stream may be
over-confident on average and under-confident where it acts. So average, threshold and shape each
have a name of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from tables.calibration_bins import UNIT, Sums
from tables.recalibration import Recalibration

OVER_CONFIDENT = "over-confident"
UNDER_CONFIDENT = "under-confident"
EVEN = "even"
TOO_EXTREME = "too extreme"
TOO_TIMID = "too timid"
SURE_STANDARD_ERRORS = 2


@dataclass(frozen=True, slots=True)
class Direction:
    """Over- or under-confident or even, on average and at the threshold; the shape if sure."""

    on_average: str
    at_threshold: str | None
    shape: str | None


def direction(
    bins: Sequence[Sums], fitted: Recalibration, threshold: float | None = None
) -> Direction:
    """The names for lead bins and the map fitted to them.

    >>> from tables.recalibration import recalibration
    >>> ten = [Sums() for _ in range(10)]
    >>> for y in (1, 1, 1, 0, 0) * 40: ten[8].update(820_000, y)
    >>> direction(ten, recalibration(ten), 0.8)
    Direction(on_average='over-confident', at_threshold='over-confident', shape=None)
    """
    excess = sum(b.sp for b in bins) - UNIT * sum(b.sy for b in bins)
    at_threshold = None if threshold is None else _named(threshold - fitted.map.of(threshold))
    return Direction(_named(excess), at_threshold, _shape_of(fitted))


def _named(excess: float) -> str:
    if not excess:
        return EVEN
    return OVER_CONFIDENT if excess > 0 else UNDER_CONFIDENT


def _shape_of(fitted: Recalibration) -> str | None:
    slope = log(fitted.map.b)
    if abs(slope) < SURE_STANDARD_ERRORS * fitted.log_b_standard_error:
        return None
    return TOO_EXTREME if slope < 0 else TOO_TIMID

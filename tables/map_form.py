"""Whether two coefficients suffice for a calibration map, and what to expect by bin.

Pearson's χ² of the occupied bins against the logistic map, two degrees for its coefficients: where
it is too great the map is told as rates by bin that never fall. In decimals, so that every machine
finds the same.
"""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Literal, NamedTuple

from tables.calibration_bins import UNIT, Sums
from tables.calibration_map import CalibrationMap
from tables.isotonic import isotonic_rates
from tables.recalibration import DIGITS, END

RECORDS_MIN = 30
CRITICAL = tuple(
    map(Decimal, ("6.635", "9.210", "11.345", "13.277", "15.086", "16.812", "18.475", "20.090"))
)
"""χ² that a logistic stream exceeds once in a hundred times, with 1, 2, … 8 degrees of freedom."""
COEFFICIENTS = 2


class MapForm(NamedTuple):
    """How a map is told, and by bin the success to expect in millionths; None if unobserved."""

    form: Literal["logistic", "monotone"]
    rates: list[int | None]


def map_form(bins: Sequence[Sums], found: CalibrationMap) -> MapForm:
    """The form of a map that was fitted to these bins.

    >>> from tables.recalibration import recalibration
    >>> ten = [Sums() for _ in range(10)]
    >>> for index, rarer in ((5, 2), (7, 5), (9, 2)):
    ...     for n in range(500): ten[index].update(100_000 * index + 50_000, int(n % 10 < rarer))
    >>> found = map_form(ten, recalibration(ten).map)
    >>> found.form, found.rates[5:]
    ('monotone', [200000, None, 350000, None, 350000])
    """
    if is_logistic(bins, found):
        return MapForm("logistic", [_expected_millionths(sums, found) for sums in bins])
    pooled = isotonic_rates([(sums.n, sums.sy) for sums in bins])
    return MapForm("monotone", [None if rate is None else round(rate * UNIT) for rate in pooled])


def is_logistic(bins: Sequence[Sums], found: CalibrationMap) -> bool:
    """Whether the bins with 30 records do not speak against the logistic form, at one in 100."""
    told = [sums for sums in bins if sums.n >= RECORDS_MIN]
    degrees = len(told) - COEFFICIENTS
    if degrees < 1:
        return True
    with localcontext(prec=DIGITS):
        total = sum((_distance(sums, _expected(sums, found)) for sums in told), Decimal())
        return total < CRITICAL[degrees - 1]


def _distance(sums: Sums, rate: Decimal) -> Decimal:
    return (sums.sy - sums.n * rate) ** 2 / (sums.n * rate * (1 - rate))


def _expected(sums: Sums, found: CalibrationMap) -> Decimal:
    """What the map expects at a bin's mean confidence, kept within the ends like the fit's."""
    total = UNIT * sums.n
    stated = min(max(sums.sp, END * sums.n), total - END * sums.n)
    logit = (Decimal(stated) / (total - stated)).ln()
    return 1 / (1 + (-(found.a_millionths + found.b_millionths * logit) / UNIT).exp())


def _expected_millionths(sums: Sums, found: CalibrationMap) -> int | None:
    if not sums.n:
        return None
    with localcontext(prec=DIGITS):
        return int((UNIT * _expected(sums, found)).to_integral_value())

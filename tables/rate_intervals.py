"""Intervals of a rate at one fixed time: Wilson's, and the band in which a perfect source lies.

What is watched needs `watched_interval`: a Wilson interval looked at again and again misses the
truth in 35-44 % of runs.
"""

from math import exp, lgamma, log, log1p, sqrt
from statistics import NormalDist

from tables.calibration_bins import UNIT, Sums

NORMAL_RECORDS_MIN = 30
NORMAL_EXPECTED_MIN = 5


def normal_quantile(probability: float) -> float:
    """Φ⁻¹.

    >>> round(normal_quantile(0.975), 4)
    1.96
    """
    return NormalDist().inv_cdf(probability)


def wilson_interval(successes: float, count: float, alpha: float = 0.05) -> tuple[float, float]:
    """The interval of a rate after `successes` of `count` (Wilson 1927); (0, 1) for nothing seen.

    Where records have weights, `count` is n_eff, and neither need be whole.

    >>> [round(end, 4) for end in wilson_interval(40, 100)]
    [0.3094, 0.498]
    """
    if not 0 <= successes <= count:
        raise ValueError(f"successes must be in 0..{count}, not {successes}")
    if not count:
        return 0.0, 1.0
    z = normal_quantile(1 - alpha / 2)
    middle = (successes + z * z / 2) / (count + z * z)
    spread = z * sqrt(successes * (count - successes) / count + z * z / 4) / (count + z * z)
    low = max(0.0, middle - spread) if successes else 0.0
    high = min(1.0, middle + spread) if successes < count else 1.0
    return low, high


def consistency_band(
    sums: Sums, occupied_count: int, alpha: float = 0.05
) -> tuple[float, float] | None:
    """Where a perfect source's actual rate lies, all bins together (Bröcker, Smith 2007).

    f̄ ± z√(Σp - Σp²)/n with z = Φ⁻¹(1 - α/2K), K = `occupied_count`; Binomial(n, f̄) quantiles where
    n < 30 or n·min(f̄, 1-f̄) < 5. None for a bin without records.

    >>> one = Sums()
    >>> for _ in range(100): one.update(600_000, 1)
    >>> [round(end, 4) for end in consistency_band(one, 1)]
    [0.504, 0.696]
    """
    if not sums.n:
        return None
    stated = sums.sp / UNIT / sums.n
    tail = alpha / (2 * occupied_count)
    if sums.n < NORMAL_RECORDS_MIN or sums.n * min(stated, 1 - stated) < NORMAL_EXPECTED_MIN:
        low = binomial_quantile(tail, sums.n, stated) / sums.n
        return low, binomial_quantile(1 - tail, sums.n, stated) / sums.n
    variance = (sums.sp * UNIT - sums.spp) / (UNIT * UNIT)
    spread = normal_quantile(1 - tail) * sqrt(variance) / sums.n
    return max(0.0, stated - spread), min(1.0, stated + spread)


def binomial_quantile(probability: float, count: int, rate: float) -> int:
    """The least k with P(K ≤ k) ≥ probability, K ~ Binomial(count, rate).

    >>> binomial_quantile(0.025, 20, 0.9), binomial_quantile(0.975, 20, 0.9)
    (15, 20)
    """
    if rate in (0.0, 1.0):
        return round(count * rate)
    total, odds = lgamma(count + 1), (log(rate), log1p(-rate))
    below = 0.0
    for k in range(count):
        ways = total - lgamma(k + 1) - lgamma(count - k + 1)
        below += exp(ways + k * odds[0] + (count - k) * odds[1])
        if below >= probability:
            return k
    return count

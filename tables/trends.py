"""Is a metric getting better or worse: a direction that slides, and evidence that may be watched.

The direction compares the newer half of the latest samples with the older one, and names what lies
beyond ±5 %; alone it names something most of the time when nothing has changed. So evidence
stands beside it: halves of fresh samples, each compared once with the one before, the k-th
comparison at α_k = α/(k(k+1)), so that all together are false in about α. Loops act on supported
trends only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import exp, log, sqrt

from tables.calibration_bins import UNIT
from tables.rate_intervals import normal_quantile, wilson_interval

STABLE_PERCENT = 5.0
HALF_SAMPLES_MIN = 30
NANO = 10**9

IMPROVING, STABLE, DECLINING = "improving", "stable", "declining"
SUPPORTED, UNSUPPORTED, INSUFFICIENT = "supported", "unsupported", "insufficient"


class Metric(StrEnum):
    """What a sample is; of latency and cost less is better."""

    SUCCESS_RATE = "success_rate"
    QUALITY_SCORE = "quality_score"
    LATENCY_MS = "latency_ms"
    COST_USD = "cost_usd"

    @property
    def is_less_better(self) -> bool:
        """Whether a fall is an improvement."""
        return self in (Metric.LATENCY_MS, Metric.COST_USD)


@dataclass(frozen=True, slots=True)
class Change:
    """Means of both halves, the change in percent (None from nought), and its name."""

    previous_mean: float
    current_mean: float
    change_percent: float | None
    direction: str


def change(metric: Metric, samples: Sequence[float]) -> Change:
    """The newer half against the older one, samples in order of time; an odd one is newer.

    >>> change(Metric.LATENCY_MS, [100, 100, 90, 90, 90])
    Change(previous_mean=100.0, current_mean=90.0, change_percent=-10.0, direction='improving')
    >>> change(Metric.SUCCESS_RATE, [])
    Change(previous_mean=0.0, current_mean=0.0, change_percent=0.0, direction='stable')
    """
    middle = len(samples) // 2
    older, newer = samples[:middle], samples[middle:]
    if not older:
        mean = sum(newer) / len(newer) if newer else 0.0
        return Change(0.0, mean, 0.0, STABLE)
    previous, current = sum(older) / len(older), sum(newer) / len(newer)
    if not previous:
        return Change(previous, current, None if current else 0.0, _named(metric, current, 0.0))
    percent = 100 * (current - previous) / abs(previous)
    return Change(previous, current, percent, _named(metric, percent, STABLE_PERCENT))


def _named(metric: Metric, difference: float, limit: float) -> str:
    if abs(difference) <= limit:
        return STABLE
    return IMPROVING if (difference > 0) != metric.is_less_better else DECLINING


@dataclass(slots=True)
class Half:
    """Exact sums of one half's samples: n, Σx, Σx²; x in millionths, or nano-nats of a logarithm.

    Latency and cost count by their logarithm, so that what is compared is the typical ratio; what
    is not positive counts as a millionth.
    """

    n: int = 0
    total: int = 0
    square: int = 0

    def update(self, metric: Metric, sample: float) -> None:
        """Counts a sample."""
        if metric.is_less_better:
            x = round(NANO * log(max(sample, 1 / UNIT)))
        else:
            x = round(UNIT * sample)
        self.n += 1
        self.total += x
        self.square += x * x


@dataclass(frozen=True, slots=True)
class TrendEvidence:
    """What the last two full halves show.

    Low and high are the interval of the difference of rates or scores, or of the ratio of typical
    latencies or costs, newer against older.
    """

    word: str
    direction: str
    low: float | None
    high: float | None


NO_TREND_EVIDENCE = TrendEvidence(INSUFFICIENT, STABLE, None, None)


@dataclass(slots=True)
class TrendTest:
    """Tumbling halves of one metric: the one that fills, the last full one, how many comparisons.

    >>> test = TrendTest(Metric.SUCCESS_RATE, half_size=100)
    >>> for n in range(200): test.update(n % 10 < (9 if n < 100 else 5))
    >>> test.evidence.word, test.evidence.direction, round(test.evidence.high, 3)
    ('supported', 'declining', -0.26)
    """

    metric: Metric
    half_size: int
    alpha: float = 0.05
    compared_count: int = 0
    filling: Half = field(default_factory=Half)
    full: Half | None = None
    evidence: TrendEvidence = NO_TREND_EVIDENCE

    def update(self, sample: float) -> None:
        """Counts a sample; when the half is full it is compared with the one before, once."""
        self.filling.update(self.metric, sample)
        if self.filling.n < self.half_size:
            return
        if self.full is not None:
            self.compared_count += 1
            spent = self.alpha / (self.compared_count * (self.compared_count + 1))
            self.evidence = trend_evidence(self.metric, self.full, self.filling, spent)
        self.full, self.filling = self.filling, Half()


def trend_evidence(metric: Metric, older: Half, newer: Half, alpha: float) -> TrendEvidence:
    """Whether the newer half differs from the older one, at the error `alpha` of this look."""
    if min(older.n, newer.n) < HALF_SAMPLES_MIN:
        return NO_TREND_EVIDENCE
    if metric == Metric.SUCCESS_RATE:
        low, high = rate_difference(
            (newer.total // UNIT, newer.n), (older.total // UNIT, older.n), alpha
        )
    else:
        low, high = _mean_difference(metric, older, newer, alpha)
    is_shown = low > 0 or high < 0
    direction = _named(metric, low + high, 0.0) if is_shown else STABLE
    if metric.is_less_better:
        low, high = exp(low), exp(high)
    return TrendEvidence(SUPPORTED if is_shown else UNSUPPORTED, direction, low, high)


def rate_difference(
    newer: tuple[int, int], older: tuple[int, int], alpha: float = 0.05
) -> tuple[float, float]:
    """The interval of newer - older rate, by Wilson's intervals (Newcombe 1998; Donner, Zou 2012).

    >>> [round(end, 4) for end in rate_difference((56, 70), (48, 80))]
    [0.0524, 0.3339]
    """
    (low_1, high_1), (low_2, high_2) = (wilson_interval(*pair, alpha) for pair in (newer, older))
    rate_1, rate_2 = newer[0] / newer[1], older[0] / older[1]
    difference = rate_1 - rate_2
    return (
        difference - sqrt((rate_1 - low_1) ** 2 + (high_2 - rate_2) ** 2),
        difference + sqrt((high_1 - rate_1) ** 2 + (rate_2 - low_2) ** 2),
    )


def _mean_difference(metric: Metric, older: Half, newer: Half, alpha: float) -> tuple[float, float]:
    """Welch's interval of the difference of means, by the normal quantile."""
    unit = NANO if metric.is_less_better else UNIT
    difference = (newer.total / newer.n - older.total / older.n) / unit
    spread = sqrt(_variance_of_mean(older) + _variance_of_mean(newer)) / unit
    z = normal_quantile(1 - alpha / 2)
    return difference - z * spread, difference + z * spread


def _variance_of_mean(half: Half) -> float:
    return (half.n * half.square - half.total**2) / (half.n**2 * (half.n - 1))

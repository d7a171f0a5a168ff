"""Is a metric getting better or worse: a direction that slides, and evidence that may be watched.

The direction compares the newer half of the latest samples with the older one, and names what lies
beyond ±5 %; alone it names something most of the time when nothing has changed. So evidence
stands beside it: halves of fresh samples, each compared once with the one before, the k-th
comparison at α_k = α/(k(k+1)), so that all together are false in about α. Loops act on supported
trends only.

Of most metrics more, or less, is better. A gap is best at 0: it declines where it has moved away
from there, to either side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import exp, log, sqrt

from tables.calibration_bins import UNIT
from tables.rate_intervals import normal_quantile, wilson_interval

STABLE_PERCENT = 5.0
STABLE_GAP = 0.05
"""A percentage of a gap near 0 means nothing: it is stable where it has moved so much nearer to 0,
or farther, at most.
"""
HALF_SAMPLES_MIN = 30
NANO = 10**9

IMPROVING, STABLE, DECLINING = "improving", "stable", "declining"
SUPPORTED, UNSUPPORTED, INSUFFICIENT = "supported", "unsupported", "insufficient"


class Metric(StrEnum):
    """What a sample is; of latency and cost less is better, and a gap is best at 0.

    A sample of the calibration gap is the stated confidence less what came of it, 1 or 0; its mean
    is above 0 where an agent is over-confident.
    """

    SUCCESS_RATE = "success_rate"
    QUALITY_SCORE = "quality_score"
    LATENCY_MS = "latency_ms"
    COST_USD = "cost_usd"
    CALIBRATION_GAP = "calibration_gap"

    @property
    def is_less_better(self) -> bool:
        """Whether a fall is an improvement."""
        return self in (Metric.LATENCY_MS, Metric.COST_USD)

    @property
    def is_gap(self) -> bool:
        """Whether it is best at 0."""
        return self == Metric.CALIBRATION_GAP


@dataclass(frozen=True, slots=True)
class Change:
    """Means of both halves, the change in percent (None from nought, and of a gap), its name."""

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
    previous = sum(older) / len(older) if older else None
    return change_of_means(metric, previous, sum(newer) / len(newer) if newer else 0.0)


def change_of_means(metric: Metric, previous: float | None, current: float) -> Change:
    """The change from one mean to another; None where there was no sample before.

    >>> change_of_means(Metric.CALIBRATION_GAP, 0.02, -0.09).direction
    'declining'
    """
    if metric.is_gap:
        named = _gap_named(previous or 0.0, current, STABLE_GAP)
        return Change(previous or 0.0, current, None, STABLE if previous is None else named)
    if previous is None:
        return Change(0.0, current, 0.0, STABLE)
    if not previous:
        return Change(previous, current, None if current else 0.0, _named(metric, current, 0.0))
    percent = 100 * (current - previous) / abs(previous)
    return Change(previous, current, percent, _named(metric, percent, STABLE_PERCENT))


def _named(metric: Metric, difference: float, limit: float) -> str:
    if abs(difference) <= limit:
        return STABLE
    return IMPROVING if (difference > 0) != metric.is_less_better else DECLINING


def _gap_named(previous: float, current: float, limit: float) -> str:
    """By how far from 0 a gap lies; rounded, so that .15 + .05 is no more than .2.

    >>> [_gap_named(*gaps, 0.05) for gaps in ((0.15, -0.2), (0.02, -0.08), (-0.2, 0.1))]
    ['stable', 'declining', 'improving']
    """
    farther = round(abs(current) - abs(previous), 9)
    if abs(farther) <= limit:
        return STABLE
    return DECLINING if farther > 0 else IMPROVING


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

    Low and high are the interval of the difference of rates, scores or gaps, or of the ratio of
    typical latencies or costs, newer against older. Supported is a difference that is shown; a
    gap's has a direction only where it is also shown to lie nearer to 0, or farther.
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
    elif metric.is_gap:
        return _gap_evidence(older, newer, alpha)
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


def _gap_evidence(older: Half, newer: Half, alpha: float) -> TrendEvidence:
    """The difference of two gaps, and whether the newer one is shown to lie nearer to 0.

    |newer| > |older| where difference and sum of the two have the same sign. So the direction takes
    both to be shown, at α each: of a false word one of them is wrong.
    """
    before, after = (half.total / half.n / UNIT for half in (older, newer))
    z = normal_quantile(1 - alpha / 2)
    spread = z * sqrt(_gap_variance(older, z) + _gap_variance(newer, z))
    difference, both = after - before, after + before
    is_shown, is_sure = abs(difference) > spread, abs(both) > spread
    direction = STABLE
    if is_shown and is_sure:
        direction = DECLINING if (difference > 0) == (both > 0) else IMPROVING
    word = SUPPORTED if is_shown else UNSUPPORTED
    return TrendEvidence(word, direction, difference - spread, difference + spread)


def _gap_variance(half: Half, z: float) -> float:
    """Welch's variance of a mean, beside z² imagined samples of the greatest variance, ¼.

    Wilson's interval imagines them too. Without, a half in which all came true varies by nothing,
    and whoever says .99 and then .999, rightly, has a trend in every third comparison.
    """
    square = (half.n * half.square - half.total**2) / (half.n * UNIT**2)
    return (square + z * z / 4) / (half.n * (half.n + z * z))


def _variance_of_mean(half: Half) -> float:
    return (half.n * half.square - half.total**2) / (half.n**2 * (half.n - 1))

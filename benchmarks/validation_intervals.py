"""How often an interval holds the truth: rows of docs/validation.md."""

from collections.abc import Iterator
from math import sqrt

import numpy as np

from benchmarks.simulated import Random, Row, bins_of, records, share
from tables.calibration_bins import bin_index_of, millionths_of
from tables.debiased_error import debiased_error
from tables.delay_curve import BUCKET_COUNT, DelayCurve
from tables.evidence import Evidence
from tables.forecast import Waiting, forecast
from tables.provisional import Cohort, provisional_rate
from tables.rate_intervals import consistency_band, wilson_interval
from tables.recalibration import recalibration
from tables.running_mean import RunningMean
from tables.stream import Stream
from tables.stream_sums import Settled
from tables.stream_trends import HALF_SAMPLES, METRICS, StreamTrends
from tables.trends import Metric, TrendTest
from tables.verdict import CALIBRATED, verdict
from tables.watched_interval import watched_interval


def true_error(pairs: list[tuple[int, int]], a: float, b: float) -> float:
    """√Σ(n/N)d² of the true probabilities of these very records."""
    square = 0.0
    for index in range(10):
        p = np.array([p for p, _ in pairs if bin_index_of(p) == index]) / 1e6
        if len(p) > 1:
            truth = 1 / (1 + np.exp(-a - b * np.log(p / (1 - p))))
            square += len(p) / len(pairs) * (p.mean() - truth.mean()) ** 2
    return sqrt(square)


def error_intervals(random: Random) -> Iterator[Row]:
    """How often the interval of ECE₂ holds the truth, and how often its upper end does."""
    runs = 400
    for shape, a, n in (
        ("uniform", 0.0, 300), ("uniform", 0.0, 1_200), ("uniform", -0.4, 300),
        ("uniform", -0.4, 1_200), ("always .9", -0.48, 120), ("always .9", -0.48, 1_200),
    ):  # fmt: skip
        inside = above = called = 0
        for _ in range(runs):
            pairs = records(random, shape, n, a)
            error, truth = debiased_error(bins_of(pairs)), true_error(pairs, a, 1.0)
            assert error is not None
            inside += error.low <= truth <= error.high
            above += truth > error.high
            called += verdict(bins_of(pairs), Evidence()).word == CALIBRATED
        yield Row(
            f"ECE₂ interval holds the truth ({truth:.3f}), {shape}",
            f"{runs} × {n:,}",
            f"{share(inside, runs)}; truth above it {share(above, runs)};"
            f" called calibrated within .05 {share(called, runs)}",
        )


def watched_intervals(random: Random) -> Iterator[Row]:
    """Intervals of a rate that are looked at again and again, and trends of nothing."""
    runs, truth, missed = 300, 0.7, [0, 0]
    for _ in range(runs):
        seen = np.cumsum(random.random(1_000) < truth)
        for k, interval in enumerate((watched_interval, wilson_interval)):
            ends = [interval(int(seen[n - 1]), n) for n in range(10, 1_001, 15)]
            missed[k] += any(not low <= truth <= high for low, high in ends)
    for name, count in zip(("watched", "Wilson's"), missed, strict=True):
        yield Row(f"{name} interval ever misses", f"{runs} × 1,000", share(count, runs))
    for metric in (Metric.SUCCESS_RATE, Metric.LATENCY_MS):
        runs, false = 150, 0
        for _ in range(runs):
            test, samples = TrendTest(metric, half_size=50), random.lognormal(5, 1, 5_000)
            chosen = samples < 250 if metric == Metric.SUCCESS_RATE else samples
            for sample in chosen.tolist():
                test.update(sample)
                if test.evidence.word == "supported":
                    false += 1
                    break
        yield Row(
            f"trend of nothing ever supported, {metric}", f"{runs} × 5,000", share(false, runs)
        )


def stream_trends(random: Random) -> Iterator[Row]:
    """Agents that stay as they are, or as right as they were, and the trends of their streams."""
    runs, length = 150, 5_000
    stream = Stream("t", "qualify", "deal_progression", 1, "judge")
    turns = np.where(np.arange(length) // HALF_SAMPLES % 2, 0.999, 0.99)
    for name, stated, share_right, metrics in (
        ("over-confident", None, 0.85, METRICS),
        ("right, states .99 and .999 by turns", turns, 1.0, (Metric.CALIBRATION_GAP,)),
    ):
        false = dict.fromkeys(METRICS, 0)
        for _ in range(runs):
            p = random.beta(4, 2, length) if stated is None else stated
            came = random.random(length) < share_right * p
            for metric in _ever_shown(stream, p.tolist(), came.tolist()):
                false[metric] += 1
        for metric in metrics:
            what = f"stream's trend of nothing ever supported, {metric}, {name}"
            yield Row(
                f"{what} (about 5 % at most)", f"{runs} × {length:,}", share(false[metric], runs)
            )


def _ever_shown(stream: Stream, stated: list[float], came: list[bool]) -> set[Metric]:
    """The trends that a comparison of them has ever supported."""
    trends, shown = StreamTrends(stream), set[Metric]()
    for at, (p, y) in enumerate(zip(stated, came, strict=True)):
        lead = Settled(at, at, millionths_of(p), int(y), "positive", True, "v")
        shown |= {Metric(told.metric) for told in trends.update(lead)}
    return shown


def delayed(random: Random, rate: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of some actions come true, and after which share of the window."""
    return random.random(n) < rate, random.beta(1, 3, n)


def shares_of(random: Random, rate: float, n: int) -> list[float]:
    """F̂ of so many closed windows, by 48ths of the window."""
    came, delays = delayed(random, rate, n)
    curve = DelayCurve()
    for delay in delays[came].tolist():
        curve.update(9, int(delay * BUCKET_COUNT))
    shares = curve.shares(9)
    assert shares
    return shares


def provisional_rates(random: Random) -> Iterator[Row]:
    """Open windows by the delays of closed ones."""
    runs, rate, ages = 600, 0.6, np.arange(BUCKET_COUNT)
    for closed, n in ((400, 5), (4_000, 5), (4_000, 40)):
        inside = 0
        for _ in range(runs):
            shares, cohorts = shares_of(random, rate, closed), []
            for age in ages.tolist():
                came, delays = delayed(random, rate, n)
                seen = int((came & (delays <= (age + 0.5) / BUCKET_COUNT)).sum())
                cohorts.append(Cohort(shares[age], n, seen))
            found = provisional_rate(cohorts)
            assert found
            inside += found.low <= rate <= found.high
        yield Row(
            f"provisional interval holds the rate, {n * BUCKET_COUNT:,} open actions",
            f"{runs} × F̂ of {closed:,} closed windows",
            share(inside, runs),
        )


def forecasts(random: Random) -> Iterator[Row]:
    """How many of the waiting actions come true, by a map and delays that were estimated."""
    runs, waiting_n = 300, 200
    for closed in (400, 2_000):
        inside = 0
        for _ in range(runs):
            fitted = recalibration(bins_of(records(random, "uniform", closed, -0.4)))
            shares = shares_of(random, 0.5, closed)
            pairs = records(random, "uniform", waiting_n, -0.4)
            ages = random.random(waiting_n)
            came = np.array([y == 1 for _, y in pairs])
            is_open = ~(came & (random.beta(1, 3, waiting_n) <= ages))
            waiting = [
                Waiting(p, shares[int(age * BUCKET_COUNT)])
                for (p, _), age, still in zip(pairs, ages, is_open, strict=True)
                if still
            ]
            inside += forecast(waiting, fitted).covers(int((came & is_open).sum()))
        yield Row(
            f"forecast's interval holds what comes, map of {closed:,} records",
            f"{runs} × {waiting_n} actions",
            share(inside, runs),
        )


def bands_and_means(random: Random) -> Iterator[Row]:
    """The band of a perfect source, all bins at once; and means that are looked at for ever."""
    runs = 500
    for n in (100, 1_000):
        outside = 0
        for _ in range(runs):
            bins = bins_of(records(random, "uniform", n))
            occupied = sum(one.n > 0 for one in bins)
            bands = [(one, consistency_band(one, occupied)) for one in bins]
            outside += any(band and not band[0] <= one.sy / one.n <= band[1] for one, band in bands)
        yield Row(
            "a perfect source leaves the consistency band", f"{runs} × {n:,}", share(outside, runs)
        )
    runs, missed = 300, 0
    for _ in range(runs):
        mean, logs = RunningMean(), np.rint(1e6 * random.normal(7, 1, 2_000)).astype(int)
        for n, sample in enumerate(logs.tolist()):
            mean.update(sample)
            ends = mean.interval() if n % 20 == 0 else None
            if ends and not ends[0] <= 7e6 <= ends[1]:
                missed += 1
                break
    yield Row("running mean of logs ever misses", f"{runs} × 2,000", share(missed, runs))

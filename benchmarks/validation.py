"""What the statistics promise, against simulated sources whose truth is known; prints a page.

python -m benchmarks.validation SEED > docs/validation.md
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np

from tables.calibration_bins import Sums, bin_index_of
from tables.debiased_error import debiased_error
from tables.evidence import Evidence
from tables.evidence_increments import NANO
from tables.flags import flagged
from tables.miscalibration_test import MiscalibrationTest
from tables.rate_intervals import wilson_interval
from tables.scores import expected_calibration_error
from tables.trends import Metric, TrendTest
from tables.verdict import CALIBRATED, verdict
from tables.watched_interval import watched_interval

GRID = 2_500
"""Stated confidences are multiples of .0025, so that what one says is looked up."""
Random = np.random.Generator
Stated = Callable[[Random, int], np.ndarray]
SHAPES: dict[str, Stated] = {
    "uniform": lambda random, n: random.random(n),
    "mostly sure": lambda random, n: random.beta(2, 1, n),
    "at both ends": lambda random, n: random.beta(0.3, 0.3, n),
    "always .9": lambda _, n: np.full(n, 0.9),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the page: what was asked, how, and what was found."""

    question: str
    how: str
    found: str


def records(
    random: Random, shape: str, n: int, a: float = 0.0, b: float = 1.0
) -> list[tuple[int, int]]:
    """Stated confidences and outcomes, true probability σ(a + b·logit p)."""
    stated = np.clip(np.rint(SHAPES[shape](random, n) * 1e6 / GRID), 1, 399) * GRID
    logit = np.log(stated / (1e6 - stated))
    came = random.random(n) < 1 / (1 + np.exp(-a - b * logit))
    return list(zip(stated.astype(int).tolist(), came.astype(int).tolist(), strict=True))


def tested(pairs: list[tuple[int, int]], stops: bool = True) -> MiscalibrationTest:
    """The test after each record, until it gives an alarm."""
    test = MiscalibrationTest()
    for n, (p, y) in enumerate(pairs):
        test.update(p, y, n)
        if stops and test.alarm_n is not None:
            break
    return test


def bins_of(pairs: list[tuple[int, int]]) -> list[Sums]:
    """Ten bins."""
    bins = [Sums() for _ in range(10)]
    for p, y in pairs:
        bins[bin_index_of(p)].update(p, y)
    return bins


def share(count: int, of: int) -> str:
    """A share with its standard error, in percent."""
    rate = count / of
    return f"{100 * rate:.1f} % ± {100 * sqrt(rate * (1 - rate) / of):.1f}"


def false_alarms(random: Random) -> Iterator[Row]:
    """Calibrated streams, looked at after every record."""
    runs, length = 520, 1_000
    total = 0
    for shape in SHAPES:
        alarms = sum(
            tested(records(random, shape, length)).alarm_n is not None for _ in range(runs)
        )
        total += alarms
        yield Row(f"false alarm ever, {shape}", f"{runs} × {length:,}", share(alarms, runs))
    all_runs = runs * len(SHAPES)
    yield Row(
        "false alarm ever, all (at most 5 %)", f"{all_runs:,} streams", share(total, all_runs)
    )


def delays(random: Random) -> Iterator[Row]:
    """Miscalibrated streams: how many are found, and after how many records."""
    for a, b in ((-0.3, 1.0), (-0.6, 1.0), (0.5, 1.0), (0.0, 0.6), (0.0, 1.6)):
        found = [tested(records(random, "uniform", 2_000, a, b)).alarm_n for _ in range(60)]
        at = [n for n in found if n is not None]
        yield Row(
            f"found, a {a:+g}, b {b:g}",
            "60 × 2,000, uniform",
            f"{share(len(at), 60)}, median at {int(np.median(at)):,}",
        )
    runs = 24
    after = []
    for _ in range(runs):
        drift = records(random, "uniform", 3_000) + records(random, "uniform", 3_000, -0.6)
        at_n = tested(drift).alarm_n
        after.append((at_n or 6_000) - 3_000)
    late = int(np.median([n for n in after if n > 0]))
    yield Row("a -0.6 after 3,000 good records", f"{runs} × 6,000", f"median {late:,} later")


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


def flags(random: Random) -> Iterator[Row]:
    """e-BH beside "ECE > .05" on 200 streams, a fifth of them miscalibrated."""
    repeats, false_shares, powers = 6, ([], []), ([], [])
    for _ in range(repeats):
        logs, large = [], []
        for index in range(200):
            a = -0.8 if index < 40 else 0.0
            pairs = records(random, "uniform", int(random.integers(150, 1_000)), a)
            logs.append(tested(pairs, stops=False).raw.log_nanos() / NANO)
            if (expected_calibration_error(bins_of(pairs)) or 0) > 0.05:
                large.append(index)
        for k, chosen in enumerate((flagged(logs, 0.1), large)):
            false_shares[k].append(sum(i >= 40 for i in chosen) / max(len(chosen), 1))
            powers[k].append(sum(i < 40 for i in chosen) / 40)
    for k, name in enumerate(("e-BH at .1", "ECE > .05")):
        yield Row(
            f"flags of 200 streams, {name}",
            f"{repeats} looks, 150-1,000 records",
            f"false {100 * np.mean(false_shares[k]):.1f} %, found {100 * np.mean(powers[k]):.1f} %",
        )


def page(seed: int) -> Iterator[str]:
    """The page, line by line."""
    yield "# Validation\n"
    yield f"Made by `make validate SEED={seed}`; every source is simulated and its truth known. A"
    yield "share stands with its standard error. a and b: the truth is σ(a + b·logit p). The test"
    yield "is looked at after every record, intervals of a rate after every fifteenth. The interval"
    yield "of ECE₂ is one for a fixed time, and short of its 95 % in few bins.\n"
    yield "| question | runs | found |"
    yield "|---|---|---|"
    for part in (false_alarms, delays, error_intervals, watched_intervals, flags):
        for row in part(np.random.default_rng(seed)):
            yield f"| {row.question} | {row.how} | {row.found} |"


if __name__ == "__main__":
    for line in page(int(sys.argv[1])):
        print(line, flush=True)

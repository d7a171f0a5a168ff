"""Nominal beside measured coverage of what is told at one moment, or of one bin of ten."""

from collections.abc import Iterator

import numpy as np

from benchmarks.simulated import Random, Row, bins_of, records, share
from tables.calibration_bins import Sums
from tables.calibration_map import CalibrationMap
from tables.day_curve import WEIGHT_UNIT, WeightedSums, bin_to_name
from tables.rate_intervals import wilson_interval
from tables.recalibration import recalibration
from tables.trends import rate_difference
from tables.verdict import has_enough
from tables.watched_interval import sentence_interval

NOMINAL = "95 % nominal"


def rates_at_one_moment(random: Random) -> Iterator[Row]:
    """Wilson's interval, of plain counts and of days that weigh less the older they are."""
    runs = 4_000
    for rate, n in ((0.7, 30), (0.7, 300), (0.95, 30), (0.95, 300)):
        came = random.binomial(n, rate, runs).tolist()
        ends = [wilson_interval(successes, n) for successes in came]
        inside = sum(low <= rate <= high for low, high in ends)
        yield Row(
            f"Wilson's interval at one moment holds the rate {rate:g} ({NOMINAL})",
            f"{runs:,} × {n}",
            share(inside, runs),
        )
    days, a_day = 60, 20
    for rate, half_life in ((0.7, 2.0), (0.7, 14.0), (0.95, 2.0), (0.95, 14.0)):
        weights = [round(WEIGHT_UNIT * 2 ** (-age / half_life)) for age in range(days)]
        inside, worth = 0, 0.0
        for successes in random.binomial(a_day, rate, (runs, days)).tolist():
            held = WeightedSums()
            for sy, weight in zip(successes, weights, strict=True):
                held.update(Sums(n=a_day, sy=sy), weight)
            low, high = held.wilson_interval()
            inside, worth = inside + (low <= rate <= high), held.n_effective
        yield Row(
            f"decayed interval, half-life {half_life:g} days, holds the rate {rate:g} ({NOMINAL})",
            f"{runs:,} × {days} days of {a_day}, n_eff {worth:,.0f}",
            share(inside, runs),
        )


def sentences(random: Random) -> Iterator[Row]:
    """How often a sentence names a bin of a perfect source, at one moment and ever."""
    for is_of_one_moment, runs, length in ((True, 2_000, 1_000), (False, 250, 1_000)):
        named = 0
        for _ in range(runs):
            pairs = records(random, "uniform", length)
            looks = [length] if is_of_one_moment else range(20, length + 1, 20)
            named += any(_names_a_bin(pairs[:n], is_of_one_moment) for n in looks)
        how = "at one moment" if is_of_one_moment else "ever, looked at after every twentieth"
        yield Row(
            f"a sentence names a bin of a perfect source, {how} (at most 5 %)",
            f"{runs:,} × {length:,}",
            share(named, runs),
        )
    runs, n, rate, missed = 400, 1_000, 0.7, 0
    for _ in range(runs):
        seen = np.cumsum(random.random(n) < rate).tolist()
        ends = (sentence_interval(seen[k - 1], k) for k in range(10, n + 1, 15))
        missed += any(not low <= rate <= high for low, high in ends)
    yield Row(
        "the interval of the α/10 sentence ever misses its bin's rate (at most .5 %)",
        f"{runs} × {n:,}",
        share(missed, runs),
    )


def _names_a_bin(pairs: list[tuple[int, int]], is_of_one_moment: bool) -> bool:
    held = [WeightedSums(sums, sums.n, sums.n) for sums in bins_of(pairs)]
    return bin_to_name(held, is_of_one_moment) is not None


def rate_differences(random: Random) -> Iterator[Row]:
    """MOVER: the interval of a difference of two rates that do differ."""
    runs = 4_000
    for newer, older, n in ((0.7, 0.6, 50), (0.7, 0.6, 400), (0.95, 0.8, 50), (0.5, 0.1, 50)):
        pairs = random.binomial(n, (newer, older), (runs, 2)).tolist()
        ends = [rate_difference((one, n), (other, n)) for one, other in pairs]
        inside = sum(low <= newer - older <= high for low, high in ends)
        yield Row(
            f"MOVER holds the difference {newer:g} - {older:g} ({NOMINAL})",
            f"{runs:,} × 2 × {n}",
            share(inside, runs),
        )


def thresholds_wanted(random: Random) -> Iterator[Row]:
    """Whether τ* ± 1.96 standard errors holds where success is the target, .70."""
    runs, target = 400, 0.7
    for a, b, n in ((-0.6, 1.0, 300), (-0.6, 1.0, 2_000), (0.4, 0.7, 300), (0.4, 0.7, 2_000)):
        truth = CalibrationMap(round(a * 1e6), round(b * 1e6)).inverse(target)
        wanted, errors, inside = list[float](), list[float](), 0
        for _ in range(runs):
            bins = bins_of(records(random, "uniform", n, a, b))
            assert has_enough(bins)
            fitted = recalibration(bins)
            found, error = fitted.threshold(target), fitted.threshold_standard_error(target)
            inside += abs(found - truth) <= 1.96 * error
            wanted.append(found)
            errors.append(error)
        yield Row(
            f"τ* ± 1.96 standard errors holds τ = {truth:.3f}, a {a:+g}, b {b:g} ({NOMINAL})",
            f"{runs} × {n:,}",
            f"{share(inside, runs)}; error told {np.mean(errors):.4f}, spread {np.std(wanted):.4f}",
        )

"""Simulated sources whose truth is known, and how a line of the page is told."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np

from tables.calibration_bins import Sums, bin_index_of
from tables.miscalibration_test import MiscalibrationTest

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
STATED = SHAPES | {"in twentieths": lambda random, n: np.rint(random.random(n) * 20) / 20}


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
    stated = np.clip(np.rint(STATED[shape](random, n) * 1e6 / GRID), 1, 399) * GRID
    logit = np.log(stated / (1e6 - stated))
    came = random.random(n) < 1 / (1 + np.exp(-a - b * logit))
    return list(zip(stated.astype(int).tolist(), came.astype(int).tolist(), strict=True))


def watched_test(pairs: list[tuple[int, int]], stops: bool = True) -> MiscalibrationTest:
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

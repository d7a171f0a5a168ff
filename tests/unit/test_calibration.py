"""Bins, scores and intervals against numpy and against published numbers."""

import copy
import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.calibration_bins import Sums, bin_index_of, millionths_of
from tables.calibration_curve import calibration_curve
from tables.scores import (
    brier_score,
    expected_calibration_error,
    maximum_calibration_error,
)
from tables.watched_interval import watched_interval

DATA = Path(__file__).parents[3] / "shared" / "data"
records = st.lists(st.tuples(st.integers(0, 1_000_000), st.integers(0, 1)), min_size=1)


def bins_of(pairs):
    bins = [Sums() for _ in range(10)]
    for p, y in pairs:
        bins[bin_index_of(p)].update(p, y)
    return bins


@given(records)
def test_scores_are_those_of_the_whole_data(pairs):
    p = np.array([p / 1e6 for p, _ in pairs])
    y = np.array([y for _, y in pairs], dtype=float)
    index = np.minimum(np.array([p for p, _ in pairs]) // 100_000, 9)
    gaps = [
        abs(p[index == k].mean() - y[index == k].mean()) for k in range(10) if (index == k).any()
    ]
    weights = [(index == k).mean() for k in range(10) if (index == k).any()]

    bins = bins_of(pairs)

    assert brier_score(bins) == pytest.approx(np.mean((p - y) ** 2), abs=1e-12)
    assert expected_calibration_error(bins) == pytest.approx(np.dot(gaps, weights), abs=1e-12)
    assert sum(calibration_curve("a", bins).counts) == len(pairs)


@given(records, st.randoms())
def test_merging_in_any_order_and_reverting_is_exact(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    left, right = bins_of(shuffled[::2]), bins_of(shuffled[1::2])
    for one, other in zip(left, right, strict=True):
        one.merge(other)

    assert left == bins_of(pairs)
    for p, y in shuffled:
        left[bin_index_of(p)].revert(p, y)
    assert left == [Sums() for _ in range(10)]


def test_sums_stay_exact_where_64_bits_end():
    sums = Sums(n=10**7, spp=10**19)
    sums.update(999_999, 1)

    assert sums.spp == 10**19 + 999_999**2


def test_a_billion_records_have_the_scores_of_one_of_each_and_go_out_again_exactly():
    few = bins_of([(0, 0), (1, 1), (999_999, 1), (1_000_000, 0), (550_001, 1), (549_999, 0)])
    many = [copy.copy(one) for one in few]
    for _ in range(28):
        for one in many:
            one.merge(copy.copy(one))

    assert sum(one.n for one in many) == 6 * 2**28 > 10**9
    assert brier_score(many) == brier_score(few)
    assert expected_calibration_error(many) == expected_calibration_error(few)
    before = copy.copy(many[9])
    many[9].update(987_654, 1)
    many[9].revert(987_654, 1)
    assert many[9] == before


def test_mce_looks_at_bins_with_twenty_records_only():
    few = bins_of([(950_000, 0)] * 19)
    enough = bins_of([(950_000, 0)] * 20)

    assert maximum_calibration_error(few) is None
    assert maximum_calibration_error(enough) == 0.95


@pytest.mark.parametrize(
    ("successes", "count", "alpha", "expected"),
    [
        (40, 100, 0.05, (0.2486, 0.5657)),
        (0, 20, 0.05, (0, 0.2240)),
        (20, 20, 0.05, (0.7760, 1)),
        (40, 100, 0.005, (0.2233, 0.5966)),
        (0, 0, 0.05, (0, 1)),
    ],
)
def test_the_watched_interval_has_its_published_ends(successes, count, alpha, expected):
    assert watched_interval(successes, count, alpha) == pytest.approx(expected, abs=5e-5)


def test_the_watched_interval_covers_while_it_is_watched():
    random = np.random.default_rng(5)
    missed = 0
    for _ in range(200):
        draws = np.cumsum(random.random(300) < 0.6)
        missed += any(
            not low <= 0.6 <= high
            for n in range(1, 301, 7)
            for low, high in [watched_interval(int(draws[n - 1]), n)]
        )

    assert missed <= 20  # 5 % of 200 and three standard errors


@pytest.mark.parametrize(
    ("name", "count", "brier", "ece"),
    [("nfl_games.csv", 1882, 0.22083, 0.03230), ("nhl_games.csv", 1401, 0.23126, 0.04440)],
)
def test_real_forecasts_have_their_golden_numbers(name, count, brier, ece):
    if not (DATA / name).exists():
        pytest.skip(f"the real data are not here: {name}")
    with (DATA / name).open() as lines:
        rows = [(r["prob1"], float(r["prob1_outcome"])) for r in csv.DictReader(lines)]
    pairs = [(millionths_of(float(p)), int(y)) for p, y in rows if y in (0, 1)]

    bins = bins_of(pairs)

    assert len(pairs) == count
    assert brier_score(bins) == pytest.approx(brier, abs=5e-6)
    assert expected_calibration_error(bins) == pytest.approx(ece, abs=5e-6)

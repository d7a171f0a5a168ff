"""Scores and intervals against the slow obvious versions: fractions, enumeration, scipy, numpy."""

from collections import Counter
from fractions import Fraction
from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from scipy.stats import binomtest as exact_rate

from tables.calibration_bins import Sums, y_of
from tables.debiased_error import debiased_error
from tables.rate_intervals import binomial_quantile, consistency_band, wilson_interval
from tables.score_ends import brier_ends, error_ends, rate_ends, silence_ends
from tables.scores import (
    brier_contribution,
    brier_parts,
    brier_score,
    brier_skill,
    expected_calibration_error,
    maximum_calibration_error,
)
from tables.smooth_error import CELL_COUNT, SHOWN_MIN, ResidualGrid, smooth_error
from tables.watched_interval import sentence_interval, watched_interval
from tests.hunt import examples
from tests.real_data import games, ten_bins

confidences = st.integers(0, 1_000_000) | st.integers(0, 20).map(lambda k: k * 50_000)
records = st.lists(st.tuples(confidences, st.integers(0, 1)), min_size=1, max_size=60)
with_excluded = st.lists(
    st.tuples(confidences, st.sampled_from((0, 1, None))), min_size=1, max_size=25
)


def by_bin(pairs):
    """The records of each occupied bin, as fractions."""
    found = {}
    for p, y in pairs:
        found.setdefault(min(p // 100_000, 9), []).append((Fraction(p, 10**6), y))
    return list(found.values())


def mean(values):
    values = list(values)
    return sum(values, Fraction()) / len(values)


@given(records)
def test_the_parts_make_the_brier_score_exactly(pairs):
    parts = brier_parts(ten_bins(pairs))

    assert parts.brier == mean((Fraction(p, 10**6) - y) ** 2 for p, y in pairs)


@given(records)
def test_each_part_is_that_of_its_definition(pairs):
    rate, count = mean(y for _, y in pairs), len(pairs)
    groups = [(g, mean(p for p, _ in g), mean(y for _, y in g)) for g in by_bin(pairs)]

    parts = brier_parts(ten_bins(pairs))

    assert parts.reliability == sum(len(g) * (f - o) ** 2 for g, f, o in groups) / count
    assert parts.resolution == sum(len(g) * (o - rate) ** 2 for g, _, o in groups) / count
    assert parts.uncertainty == rate * (1 - rate)
    assert parts.within_variance == sum((p - f) ** 2 for g, f, _ in groups for p, _ in g) / count
    assert (
        parts.within_covariance
        == 2 * sum((p - f) * (y - o) for g, f, o in groups for p, y in g) / count
    )


def test_skill_is_nought_for_the_mean_rate_and_nothing_where_all_outcomes_are_alike():
    assert brier_skill(ten_bins([(250_000, 1)] + [(250_000, 0)] * 3)) == 0
    assert brier_skill(ten_bins([(0, 0), (1_000_000, 1)])) == 1
    assert brier_skill(ten_bins([(900_000, 1)] * 3)) is None
    assert brier_skill([]) is None


@given(st.lists(st.tuples(confidences, st.integers(0, 1)), min_size=1, max_size=300))
def test_the_largest_gap_is_that_of_the_bins_with_twenty_records(pairs):
    gaps = [
        abs(mean(p for p, _ in group) - mean(y for _, y in group))
        for group in by_bin(pairs)
        if len(group) >= 20
    ]

    assert maximum_calibration_error(ten_bins(pairs)) == (float(max(gaps)) if gaps else None)


# --- the debiased error ------------------------------------------------------------------------


@given(records)
def test_the_debiased_error_is_that_of_single_residuals(pairs):
    square, variance = 0.0, 0.0
    for group in (g for g in by_bin(pairs) if len(g) > 1):
        residuals = np.array([float(p - y) for p, y in group])
        share, noise = len(group) / len(pairs), residuals.var(ddof=1) / len(group)
        excess = residuals.mean() ** 2 - noise
        square += share * excess
        variance += share**2 * (4 * max(excess, 0) * noise + 2 * noise**2)

    found = debiased_error(ten_bins(pairs))

    assert found.square == pytest.approx(square, abs=1e-12)
    assert found.standard_error == pytest.approx(sqrt(variance), abs=1e-12)
    assert found.low <= found.root <= found.high
    assert found.lone_share == sum(len(g) == 1 for g in by_bin(pairs)) / len(pairs)


@given(records, st.lists(st.floats(1.0, 80.0), min_size=10, max_size=10) | st.none())
def test_the_debiased_error_is_that_of_fractions_to_the_bit(pairs, worth):
    bins = ten_bins(pairs)
    square, variance = Fraction(), 0.0
    for sums, n in zip(bins, worth or [one.n for one in bins], strict=True):
        if n > 1 and sums.n:
            stated, actual = Fraction(sums.sp, 10**6 * sums.n), Fraction(sums.sy, sums.n)
            noise = (brier_contribution(sums) / sums.n - (stated - actual) ** 2) / (Fraction(n) - 1)
            excess, share = (stated - actual) ** 2 - noise, Fraction(sums.n, len(pairs))
            square += share * excess
            e, v = float(excess), float(noise)
            variance += float(share) * float(share) * (4 * max(e, 0.0) * v + 2 * v * v)

    found = debiased_error(
        bins, worth and [n if b.n else 0.0 for b, n in zip(bins, worth, strict=True)]
    )

    assert (found.square, found.standard_error) == (float(square), sqrt(variance))


def test_the_debiased_square_of_a_perfect_source_is_nought_on_average():
    random = np.random.default_rng(8)
    squares, plain, covered = [], [], 0
    for _ in range(400):
        p = random.integers(50_000, 950_000, 200)
        y = (random.random(200) < p / 1e6).astype(int)
        bins = ten_bins(list(zip(p.tolist(), y.tolist(), strict=True)))
        found = debiased_error(bins)
        squares.append(found.square)
        plain.append(expected_calibration_error(bins))
        covered += found.low == 0

    assert abs(np.mean(squares)) < 4 * np.std(squares) / sqrt(400)
    assert np.mean(plain) > 0.06
    assert covered >= 370


# --- the ends of what was excluded -------------------------------------------------------------


@given(with_excluded.filter(lambda pairs: sum(y is None for _, y in pairs) <= 7))
def test_the_ends_hold_every_answer_the_excluded_could_have_given(pairs):
    excluded_count = sum(y is None for _, y in pairs)
    briers, errors = [], []
    for answers in product((0, 1), repeat=excluded_count):
        given_answers = iter(answers)
        full = [(p, next(given_answers) if y is None else y) for p, y in pairs]
        briers.append(brier_score(ten_bins(full)))
        errors.append(expected_calibration_error(ten_bins(full)))
    bins = ten_bins(pairs)

    least, most = error_ends(bins)

    assert brier_ends(bins) == (min(briers), max(briers))
    assert most == max(errors)
    assert least <= min(errors) <= least + 10 / len(pairs)  # whole answers only, one a bin


@given(
    st.lists(
        st.sampled_from(["positive", "negative", "ambiguous", "expired", "pending"]), max_size=9
    )
)
def test_the_ends_of_silence_hold_every_answer_of_what_was_ambiguous_or_expired(statuses):
    settled = [status for status in statuses if status != "pending"]
    could = [{"positive": (1,), "negative": (0,)}.get(status, (0, 1)) for status in settled]

    found = silence_ends({status: statuses.count(status) for status in statuses})

    rates = [sum(ys) / len(settled) for ys in product(*could)] if settled else []
    assert found == ((min(rates), max(rates)) if rates else None)


@given(records, st.booleans())
def test_where_expired_ones_are_excluded_both_kinds_of_ends_are_the_same(pairs, expired_counts):
    """By the policy's word: success in the window, or success given a signal."""
    sums, counts = Sums(), Counter()
    for place, (p, y) in enumerate(pairs):
        status = ("positive" if y else "negative", "ambiguous", "expired")[place % 3]
        counts[status] += 1
        sums.update(p, y_of(status, expired_counts))

    found, silent = rate_ends(sums), silence_ends(counts)
    assert silent == found if not expired_counts else silent[1] >= found[1]
    assert silent[0] == found[0]


def test_without_excluded_records_both_ends_are_the_score_itself():
    bins = ten_bins([(820_000, 1), (130_000, 1), (990_000, 0)])

    assert brier_ends(bins) == (brier_score(bins),) * 2
    assert error_ends(bins) == (expected_calibration_error(bins),) * 2
    assert rate_ends(bins[8]) == (1, 1)
    assert (brier_ends([]), error_ends([]), rate_ends(bins[4])) == (None, None, None)


# --- the smooth error --------------------------------------------------------------------------


def grid_of(pairs):
    grid = ResidualGrid()
    for p, y in pairs:
        grid.update(p, y)
    return grid


def smooth_error_of_points(pairs):
    """Every residual at its own place, 2,001 points, images to both sides: slow and obvious."""
    p, y = np.array([p / 1e6 for p, _ in pairs]), np.array([y for _, y in pairs])
    t = np.linspace(0, 1, 2001)[:, None]

    def size(width):
        images = np.concatenate([s * p + 2 * k for k in range(-4, 5) for s in (1, -1)])
        smoothed = norm.pdf(t, images, width) @ np.tile(p - y, 18) / len(p)
        return np.trapezoid(abs(smoothed), t[:, 0])

    low, high = 1e-3, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) > middle else (low, middle)
    return high


@settings(max_examples=examples(8))
@given(records)
def test_the_smooth_error_is_that_of_the_points_themselves(pairs):
    found, expected = smooth_error(grid_of(pairs)), smooth_error_of_points(pairs)

    assert found == pytest.approx(expected, abs=1e-3) or max(found, expected) < SHOWN_MIN


@given(records)
def test_the_grid_keeps_mass_and_place_and_merges_and_reverts(pairs):
    grid = grid_of(pairs[::2])
    grid.merge(grid_of(pairs[1::2]))

    assert grid == grid_of(pairs)
    assert sum(grid.mass) == sum((p - 10**6 * y) * 5000 for p, y in pairs)
    assert sum(k * m for k, m in enumerate(grid.mass)) == sum(p * (p - 10**6 * y) for p, y in pairs)
    for p, y in pairs:
        grid.update(p, y, -1)
    assert grid == ResidualGrid()


def test_the_last_cell_takes_the_full_confidence_and_nothing_has_no_error():
    grid = grid_of([(1_000_000, 0)])

    assert grid.mass[CELL_COUNT - 1] == 5000 * 10**6
    assert smooth_error(ResidualGrid()) is None
    assert smooth_error(grid_of([(1_000_000, 1)])) < SHOWN_MIN


# --- intervals ---------------------------------------------------------------------------------


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_is_scipys(pair):
    expected = exact_rate(*pair).proportion_ci(0.95, "wilson")

    assert wilson_interval(*pair) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_intervals_have_their_published_ends():
    assert wilson_interval(40, 100) == pytest.approx((0.3094, 0.4980), abs=5e-5)
    assert wilson_interval(0, 0) == (0, 1)
    assert sentence_interval(40, 100) == watched_interval(40, 100, 0.005)


def test_more_successes_than_records_are_a_mistake():
    with pytest.raises(ValueError, match=r"0\.\.3, not 4"):
        wilson_interval(4, 3)


@given(
    st.integers(1, 29) | st.integers(30, 400),
    st.integers(0, 10**6).map(lambda p: p / 1e6),
    st.floats(0.0005, 0.9995),
)
def test_the_binomial_quantile_is_scipys(count, rate, probability):
    found = binomial_quantile(probability, count, rate)

    assert binom.cdf(found, count, rate) >= probability - 1e-9
    assert found == 0 or binom.cdf(found - 1, count, rate) <= probability + 1e-9


@given(st.lists(st.integers(300_000, 399_999), min_size=1, max_size=120), st.integers(1, 10))
def test_the_consistency_band_is_normal_where_there_is_enough(stated, occupied_count):
    sums = ten_bins([(p, 0) for p in stated])[3]
    p, n = np.array(stated) / 1e6, len(stated)
    tail = 0.05 / (2 * occupied_count)

    low, high = consistency_band(sums, occupied_count)

    if n < 30:
        assert [low * n, high * n] == pytest.approx(binom.ppf([tail, 1 - tail], n, p.mean()))
    else:
        half = norm.isf(tail) * sqrt((p * (1 - p)).sum()) / n
        assert (low, high) == pytest.approx((p.mean() - half, p.mean() + half), abs=1e-9)


def test_a_rare_rate_has_a_band_of_whole_counts_and_an_empty_bin_none():
    (sums, *_, empty) = ten_bins([(10_000, 0)] * 100)

    low, high = consistency_band(sums, 1)

    assert (low, high) == (0, 0.03)
    assert consistency_band(empty, 1) is None


# --- other people's forecasts ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rate", "root", "smooth", "parts"),
    [
        ("nfl_games.csv", 0.5473, 0.02529, 0.03173, (0.00155, 0.02816, 0.24776, 0.00079, 0.00112)),
        ("nhl_games.csv", 0.5410, 0.05328, 0.04040, (0.00399, 0.02013, 0.24832, 0.00078, 0.00170)),
    ],
)
def test_real_forecasts_have_their_published_scores(name, rate, root, smooth, parts):
    pairs = games(name)
    bins = ten_bins(pairs)

    found = brier_parts(bins)

    assert sum(y for _, y in pairs) / len(pairs) == pytest.approx(rate, abs=5e-5)
    assert debiased_error(bins).root == pytest.approx(root, abs=5e-6)
    assert smooth_error(grid_of(pairs)) == pytest.approx(smooth, abs=5e-6)
    assert [float(getattr(found, part)) for part in found.__slots__] == pytest.approx(
        parts, abs=5e-6
    )

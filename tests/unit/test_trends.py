"""Trends: the direction by its definition, the evidence by scipy and statsmodels' formulas."""

from itertools import product
from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm, ttest_ind_from_stats

from tables.rate_intervals import wilson_interval
from tables.running_mean import RunningMean
from tables.trends import (
    DECLINING,
    IMPROVING,
    STABLE,
    Change,
    Half,
    Metric,
    TrendTest,
    change,
    change_of_means,
    rate_difference,
    trend_evidence,
)
from tests.hunt import examples

positive = st.floats(0.5, 1e5)
IN_PERCENT = [metric for metric in Metric if not metric.is_gap]
GAP = Metric.CALIBRATION_GAP
stated = st.integers(0, 10**6)


def half_of(metric, samples):
    half = Half()
    for sample in samples:
        half.update(metric, sample)
    return half


# --- the direction -----------------------------------------------------------------------------


@given(st.sampled_from(IN_PERCENT), st.lists(positive, min_size=2, max_size=31))
def test_the_direction_is_that_of_the_newer_halfs_mean(metric, samples):
    older, newer = np.array_split(samples[::-1], 2)[::-1]  # the newer half takes the odd one
    percent = 100 * (newer.mean() / older.mean() - 1)

    found = change(metric, samples)

    assert len(newer) - len(older) == len(samples) % 2
    assert found.change_percent == pytest.approx(percent, abs=1e-6)
    if abs(abs(percent) - 5) > 1e-6:
        better = (percent > 5, percent < -5)
        words = (IMPROVING, DECLINING) if not metric.is_less_better else (DECLINING, IMPROVING)
        expected = words[0] if better[0] else words[1] if better[1] else STABLE
        assert found.direction == expected


def test_five_percent_is_still_stable_and_nothing_is_stable_with_nought():
    assert change(Metric.QUALITY_SCORE, [100, 105]).direction == STABLE
    assert change(Metric.QUALITY_SCORE, [100, 94]).direction == DECLINING
    assert change(Metric.COST_USD, []).direction == STABLE
    assert change(Metric.COST_USD, [3]).change_percent == 0


def test_from_nought_there_is_a_direction_but_no_percentage():
    found = change(Metric.SUCCESS_RATE, [0, 0, 1, 1])

    assert (found.change_percent, found.direction) == (None, IMPROVING)
    assert change(Metric.SUCCESS_RATE, [0, 0]).change_percent == 0


gaps = st.floats(-1, 1)


@given(st.lists(gaps, min_size=2, max_size=31))
def test_a_gaps_direction_is_away_from_nought_or_towards_it_by_more_than_five_hundredths(samples):
    older, newer = np.array_split(samples[::-1], 2)[::-1]
    farther = abs(newer.mean()) - abs(older.mean())

    found = change(GAP, samples)

    assert found.change_percent is None
    assert (found.previous_mean, found.current_mean) == pytest.approx((older.mean(), newer.mean()))
    if abs(abs(farther) - 0.05) > 1e-8:
        word = DECLINING if farther > 0.05 else IMPROVING if farther < -0.05 else STABLE
        assert found.direction == word


def test_a_gap_of_about_nought_has_no_percentage_and_hundredths_of_it_are_stable():
    assert change_of_means(GAP, 0.001, 0.004) == Change(0.001, 0.004, None, STABLE)
    assert change_of_means(GAP, 0.0, 0.06) == Change(0.0, 0.06, None, DECLINING)
    assert change_of_means(GAP, 0.15, 0.2).direction == STABLE
    assert change_of_means(GAP, None, 0.4) == Change(0.0, 0.4, None, STABLE)


def test_a_gap_that_goes_across_nought_is_as_far_from_it_as_before_or_not():
    assert change_of_means(GAP, 0.1, -0.1).direction == STABLE
    assert change_of_means(GAP, 0.1, -0.2).direction == DECLINING
    assert change_of_means(GAP, -0.2, 0.1).direction == IMPROVING


# --- the evidence ------------------------------------------------------------------------------


def test_the_interval_of_two_rates_has_its_published_ends():
    assert rate_difference((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert rate_difference((10, 10), (0, 20)) == pytest.approx((0.6791, 1.0), abs=5e-5)


@given(st.tuples(st.integers(1, 200), st.integers(1, 200)), st.data())
def test_the_interval_of_two_rates_holds_what_one_alone_could_be(counts, data):
    pairs = [(data.draw(st.integers(0, n)), n) for n in counts]

    low, high = rate_difference(*pairs, 0.01)

    (newer, n), (older, m) = pairs
    assert -1 - 1e-9 <= low <= newer / n - older / m <= high <= 1 + 1e-9
    assert rate_difference(pairs[1], pairs[0], 0.01) == pytest.approx((-high, -low))
    assert high <= wilson_interval(newer, n, 0.01)[1] - wilson_interval(older, m, 0.01)[0] + 1e-9


@given(
    st.sampled_from((Metric.QUALITY_SCORE, Metric.LATENCY_MS)),
    st.lists(positive, min_size=30, max_size=60),
    st.lists(positive, min_size=30, max_size=60),
)
def test_means_are_compared_as_by_welch_and_skewed_ones_by_their_logarithms(metric, older, newer):
    taken = [np.log(s) if metric.is_less_better else np.array(s) for s in (newer, older)]
    difference = taken[0].mean() - taken[1].mean()
    error = sqrt(sum(s.var(ddof=1) / len(s) for s in taken))
    ends = (difference - norm.isf(0.01) * error, difference + norm.isf(0.01) * error)
    if metric.is_less_better:
        ends = tuple(map(exp, ends))

    found = trend_evidence(metric, half_of(metric, older), half_of(metric, newer), 0.02)

    assert (found.low, found.high) == pytest.approx(ends, rel=1e-6, abs=2e-6)
    if error:
        statistic = ttest_ind_from_stats(
            *(f(s) for s in taken for f in (np.mean, lambda v: v.std(ddof=1), len)), equal_var=False
        ).statistic
        if abs(abs(statistic) - norm.isf(0.01)) > 1e-3:
            assert (found.word == "supported") == (abs(statistic) > norm.isf(0.01))


pairs = st.lists(st.tuples(stated, st.integers(0, 1)), min_size=30, max_size=40)


def gap_interval(pairs, alpha):
    """Mean of p - y, and what it may be off by: z² more outcomes are imagined, at even odds."""
    z, x = norm.isf(alpha / 2), np.array([p / 1e6 - y for p, y in pairs])
    squares = ((x - x.mean()) ** 2).sum() + z**2 * 0.25
    return x.mean(), z**2 * squares / (len(x) + z**2) / len(x)


@settings(max_examples=examples(40))
@given(pairs, pairs, st.floats(1e-4, 0.2))
def test_gaps_are_compared_as_by_welch_with_wilsons_imagined_outcomes(older, newer, alpha):
    (before, wide), (after, wide_too) = (gap_interval(some, alpha) for some in (older, newer))
    spread = sqrt(wide + wide_too)
    low, high = after - before - spread, after - before + spread

    found = trend_evidence(GAP, *(half_of(GAP, gaps_of(some)) for some in (older, newer)), alpha)

    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    if min(abs(low), abs(high)) > 1e-9:
        assert (found.word == "supported") == (low > 0 or high < 0)
    if found.direction != STABLE:
        assert found.word == "supported"
        assert abs(before + after) >= spread - 1e-9
        assert found.direction == (DECLINING if abs(after) > abs(before) else IMPROVING)


def gaps_of(pairs):
    return [p / 1e6 - y for p, y in pairs]


def gap_evidence(older, newer, alpha=0.025):
    """Of halves given as confidence and how many of a hundred came true."""
    halves = ([p - (n < came) for n in range(100)] for p, came in (older, newer))
    return trend_evidence(GAP, *(half_of(GAP, samples) for samples in halves), alpha)


def test_a_gap_that_is_shown_to_change_sides_alone_is_supported_without_a_direction():
    found = gap_evidence((0.6, 45), (0.6, 74))

    assert (found.word, found.direction) == ("supported", STABLE)
    assert found.high < -0.1


def test_a_gap_is_better_nearer_to_nought_from_either_side():
    assert gap_evidence((0.9, 50), (0.9, 88)).direction == IMPROVING
    assert gap_evidence((0.3, 80), (0.3, 35)).direction == IMPROVING
    assert gap_evidence((0.3, 35), (0.3, 80)).direction == DECLINING
    assert gap_evidence((0.9, 88), (0.9, 50)).direction == DECLINING
    assert gap_evidence((0.5, 60), (0.5, 10)).direction == DECLINING


def share_shown(before, after, truth=None, is_shown=lambda found: found.word == "supported"):
    """Of an agent that states `before` and then `after`, the chance of a first comparison that is
    shown; all is as stated where no other truth is given. Exact.
    """
    rates = truth or (before, after)
    likely = [[n for n in range(101) if binom.pmf(n, 100, rate) > 1e-5] for rate in rates]
    return sum(
        binom.pmf(m, 100, rates[0]) * binom.pmf(n, 100, rates[1])
        for m, n in product(*likely)
        if is_shown(gap_evidence((before, m), (after, n)))
    )


@pytest.mark.parametrize("stated", [(0.99, 0.999), (0.9, 0.999), (0.95, 0.99), (0.5, 0.8)])
def test_an_agent_that_is_right_and_states_something_else_has_no_trend(stated):
    """By Welch's own variance .99 and then .999 has one in every third comparison."""
    assert share_shown(*stated) <= 0.025 * 1.2


def test_a_mirrored_gap_seldom_has_a_direction():
    def has_direction(found):
        return found.direction != STABLE

    assert share_shown(0.6, 0.6, (0.5, 0.7), has_direction) <= 0.025


def test_fewer_than_thirty_a_half_are_insufficient():
    few, enough = half_of(Metric.LATENCY_MS, [5] * 29), half_of(Metric.LATENCY_MS, [9] * 30)

    assert trend_evidence(Metric.LATENCY_MS, few, enough, 0.05).word == "insufficient"
    assert trend_evidence(Metric.LATENCY_MS, enough, few, 0.05).word == "insufficient"


def test_a_rise_in_latency_is_a_decline():
    older = half_of(Metric.LATENCY_MS, [100 + n % 7 for n in range(50)])
    newer = half_of(Metric.LATENCY_MS, [150 + n % 7 for n in range(50)])

    found = trend_evidence(Metric.LATENCY_MS, older, newer, 0.05)

    assert (found.word, found.direction) == ("supported", DECLINING)
    assert 1.4 < found.low < found.high < 1.6


def test_each_half_is_compared_once_with_the_one_before_at_its_share_of_alpha():
    random = np.random.default_rng(6)
    samples = (random.random(4 * 40) < 0.8).tolist()
    test, seen = TrendTest(Metric.SUCCESS_RATE, half_size=40), []
    for sample in samples:
        before = test.evidence
        test.update(sample)
        if test.evidence is not before:
            seen.append((test.evidence.low, test.evidence.high))

    halves = [(sum(samples[k : k + 40]), 40) for k in range(0, 160, 40)]
    spent = (0.05 / 2, 0.05 / 6, 0.05 / 12)
    assert seen == [rate_difference(halves[k + 1], halves[k], spent[k]) for k in range(3)]


@pytest.mark.parametrize("metric", Metric)
def test_where_nothing_changes_evidence_is_seldom_ever_false(metric):
    random = np.random.default_rng(21)
    false_count = 0
    for _ in range(120):
        test, ever = TrendTest(metric, half_size=40), False
        samples = random.lognormal(3, 0.8, 600)
        if metric == Metric.SUCCESS_RATE:
            samples = samples < 35
        elif metric.is_gap:
            samples = np.clip(samples / 60, 0, 1)
            samples = samples - (random.random(600) < samples)
        for sample in samples.tolist():
            test.update(sample)
            ever = ever or test.evidence.word == "supported"
        false_count += ever

    assert false_count <= 13  # 5.7 % of 120 and three standard errors


def test_a_fall_of_the_rate_is_found():
    test = TrendTest(Metric.SUCCESS_RATE, half_size=100)
    for n in range(400):
        test.update(n % 20 < (17 if n < 200 else 10))
        if n == 299:
            found = test.evidence

    assert (found.word, found.direction) == ("supported", DECLINING)
    assert test.evidence.word == "unsupported"
    assert test.evidence.direction == STABLE


# --- a mean since a fixed start ----------------------------------------------------------------


@given(st.lists(st.integers(-(10**9), 10**9), min_size=30, max_size=90), st.floats(0.01, 0.2))
def test_the_running_interval_is_that_of_its_formula(samples, alpha):
    t, rho2 = len(samples), (-2 * log(alpha) + log(1 - 2 * log(alpha))) / 100
    values = np.array(samples, dtype=float)
    half = values.std(ddof=1) * sqrt(
        2 * (t * rho2 + 1) / (t**2 * rho2) * log(sqrt(t * rho2 + 1) / alpha)
    )
    mean, left, right = RunningMean(), RunningMean(), RunningMean()
    for n, sample in enumerate(samples):
        mean.update(sample)
        (left if n % 2 else right).update(sample)
    left.merge(right)

    ends = (values.mean() - half, values.mean() + half)
    assert mean.interval(alpha) == pytest.approx(ends, rel=1e-9, abs=1e-3)
    assert left == mean


def test_the_running_interval_holds_while_it_is_watched():
    random, missed = np.random.default_rng(9), 0
    for _ in range(150):
        mean, ever = RunningMean(), False
        for sample in random.normal(5_000, 1_000, 600).astype(int).tolist():
            mean.update(sample)
            if mean.n % 5 == 0 and (ends := mean.interval()):
                ever = ever or not ends[0] <= 4_999.5 <= ends[1]
        missed += ever

    assert missed <= 15  # 5 % of 150 and three standard errors
    assert RunningMean(n=29).interval() is None

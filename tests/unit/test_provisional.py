"""Delays, provisional rates and forecasts against simulation and the equations they solve."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.calibration_map import logistic, logit
from tables.delay_curve import BUCKET_COUNT, DelayCurve, age_bucket
from tables.forecast import Waiting, forecast, past_coverage
from tables.provisional import Cohort, delay_check, provisional_rate, rate_given_signal
from tables.recalibration import recalibration
from tests.hunt import examples
from tests.real_data import ten_bins

WINDOW_MS = 48_000
cohorts = st.lists(
    st.builds(
        lambda share, n, seen: Cohort(share, n, round(seen * n)),
        st.floats(0, 1), st.integers(1, 300), st.floats(0, 1),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


# --- the delays --------------------------------------------------------------------------------


@settings(max_examples=examples(30))
@given(st.lists(st.integers(0, WINDOW_MS - 1), min_size=100, max_size=130))
def test_the_curve_is_the_share_of_delays_that_an_age_has_seen(delays_ms):
    curve = DelayCurve()
    for delay_ms in delays_ms:
        curve.update(0, age_bucket(delay_ms, WINDOW_MS))
    ages_ms = np.arange(BUCKET_COUNT) * WINDOW_MS // BUCKET_COUNT
    before = [np.mean(np.array(delays_ms) < age) for age in ages_ms]
    after = [*before[1:], 1.0]

    assert curve.shares(0) == pytest.approx(np.mean([before, after], axis=0))


def test_thirds_of_confidence_have_their_own_curves_only_where_each_has_enough():
    curve = DelayCurve()
    for bin_index, bucket, count in ((0, 0, 100), (5, 20, 100), (9, 40, 99)):
        for _ in range(count):
            curve.update(bin_index, bucket)

    pooled = curve.shares(0)
    curve.update(9, 40)

    assert pooled[10] == pytest.approx(100 / 299)
    assert curve.shares(0)[10] == 1
    assert curve.shares(9)[39] == 0
    curve.update(9, 40, sign=-1)
    assert curve.shares(9) == pooled


def test_with_fewer_than_a_hundred_there_is_no_curve():
    one, other = DelayCurve(), DelayCurve()
    for _ in range(99):
        one.update(3, 7)
    other.update(9, 7)

    assert one.shares(3) is None
    one.merge(other)
    assert one.shares(3) is not None


# --- the provisional rate ----------------------------------------------------------------------


@given(cohorts)
def test_the_ends_are_the_rates_from_which_what_was_seen_is_as_far_as_it_may_be(some):
    found = provisional_rate(some)

    old = [c for c in some if c.share > 0.05]
    assert (found is None) == (not old)
    if found is None:
        return
    seen = sum(c.seen for c in old)
    first = sum(c.n * c.share for c in old)
    for end in (found.low, found.high):
        if 0 < end < 1:
            variance = sum(c.n * c.share * end - c.n * (c.share * end) ** 2 for c in old)
            distance = (seen - first * end) ** 2
            assert distance == pytest.approx(1.96**2 * variance, rel=1e-6, abs=1e-6)
    assert 0 <= found.low <= found.rate + 1e-9
    assert found.rate <= found.high + 1e-9 or found.high == 1


def simulated(random, theta, count=400):
    """Actions of all ages in an open window, exponential delays; cohorts by the true F."""
    ages = random.random(count)
    delays = random.exponential(0.3, count)
    share = 1 - np.exp(-np.arange(BUCKET_COUNT) / BUCKET_COUNT / 0.3 - 1 / 96 / 0.3)
    is_seen = (random.random(count) < theta) & (delays <= ages)
    buckets = (ages * BUCKET_COUNT).astype(int)
    return [
        Cohort(float(share[k]), int((buckets == k).sum()), int(is_seen[buckets == k].sum()))
        for k in range(BUCKET_COUNT)
    ]


@pytest.mark.parametrize("theta", [0.1, 0.5, 0.9])
def test_the_provisional_interval_covers_where_the_delays_hold(theta):
    random = np.random.default_rng(3)
    found = [provisional_rate(simulated(random, theta)) for _ in range(400)]

    covered = np.mean([one.low <= theta <= one.high for one in found])

    assert np.mean([one.rate for one in found]) == pytest.approx(theta, abs=0.02)
    assert 0.92 <= covered <= 0.99


def test_maturity_is_the_mean_share_of_the_news_also_of_the_youngest():
    found = provisional_rate([Cohort(0.0, 30, 0), Cohort(0.6, 10, 4)])

    assert found.maturity == pytest.approx(0.15)
    assert provisional_rate([Cohort(0.05, 30, 1)]) is None


def test_among_signals_each_kind_counts_by_its_own_delays():
    positive = provisional_rate([Cohort(0.9, 100, 27)])
    negative = provisional_rate([Cohort(0.5, 100, 10)])

    found = rate_given_signal(positive, negative)

    assert found.rate == pytest.approx(0.3 / 0.5)
    assert found.low < found.rate < found.high
    assert found.maturity == 0.5
    assert rate_given_signal(positive, None) is None
    assert rate_given_signal(*[provisional_rate([Cohort(1, 9, 0)])] * 2) is None


def test_where_the_last_cohort_came_out_otherwise_the_rate_is_withheld():
    assert not delay_check(0.4, 0.5).is_withheld
    assert not delay_check(0.625, 0.5).is_withheld
    assert delay_check(0.39, 0.5).is_withheld
    assert delay_check(0.63, 0.5).is_withheld
    assert delay_check(0.3, 0).is_withheld


# --- the forecast ------------------------------------------------------------------------------

waiting = st.lists(
    st.builds(Waiting, st.integers(1_000, 999_000), st.floats(0, 0.99), st.integers(1, 50)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=examples(60))
@given(waiting, st.integers(0, 200), st.integers(0, 200))
def test_a_forecast_is_bayes_rule_and_its_error_the_maps(some, failed, succeeded):
    fitted = recalibration(ten_bins([(640_000, 0)] * failed + [(640_000, 1)] * succeeded))

    def chances(a, log_b):
        rates = [
            logistic(a + exp(log_b) * logit(min(max(w.millionths, 5_000), 995_000) / 1e6))
            for w in some
        ]
        shares = np.array([w.share for w in some])
        come = np.array(rates) * (1 - shares)
        return come / (1 - np.array(rates) + come)

    counts, at, step = np.array([w.n for w in some]), (fitted.map.a, log(fitted.map.b)), 1e-5
    slopes = [
        counts @ (chances(at[0] + da, at[1] + db) - chances(at[0] - da, at[1] - db)) / (2 * step)
        for da, db in ((step, 0), (0, step))
    ]
    covariance = np.array(
        [[fitted.variance_a, fitted.covariance], [fitted.covariance, fitted.variance_log_b]]
    )
    expected = counts @ chances(*at)
    variance = counts @ (chances(*at) * (1 - chances(*at))) + slopes @ covariance @ slopes
    half = 1.96 * variance**0.5 + 0.5

    found = forecast(some, fitted)

    assert found.expected == pytest.approx(expected, rel=1e-9)
    assert found.count == counts.sum()
    assert found.low == pytest.approx(max(expected - half, 0), rel=1e-4, abs=1e-3)
    assert found.high == pytest.approx(min(expected + half, counts.sum()), rel=1e-4, abs=1e-3)


def test_forecasts_cover_what_comes():
    random = np.random.default_rng(12)
    scored = []
    for _ in range(150):
        p = random.uniform(0.3, 0.95, 500)
        y = random.random(500) < 1 / (1 + np.exp(0.4 - 0.8 * np.log(p / (1 - p))))
        known = [(int(v * 1e6), int(w)) for v, w in zip(p[:300], y[:300], strict=True)]
        share = random.random(200)
        is_silent = ~(y[300:] & (random.random(200) < share))
        some = [
            Waiting(int(v * 1e6), float(f))
            for v, f in zip(p[300:][is_silent], share[is_silent], strict=True)
        ]
        made = forecast(some, recalibration(ten_bins(known)))
        scored.append((made, int(y[300:][is_silent].sum())))

    errors = [made.expected - came for made, came in scored]
    assert abs(np.mean(errors)) < 3 * np.std(errors) / 150**0.5
    assert 0.9 <= past_coverage(scored) <= 1
    assert past_coverage([]) is None

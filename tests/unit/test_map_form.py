"""How a map is told: as two coefficients while they suffice, else as rates that never fall."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from sklearn.isotonic import IsotonicRegression

from tables.calibration_map import logistic, logit
from tables.isotonic import isotonic_rates
from tables.map_form import CRITICAL, is_logistic, map_form
from tables.recalibration import recalibration
from tests.real_data import ten_bins

counts = st.integers(0, 50).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@given(st.lists(counts, min_size=1, max_size=10).filter(lambda groups: any(n for n, _ in groups)))
def test_isotonic_rates_are_those_of_scikit_learn(groups):
    seen = [(place, n, s) for place, (n, s) in enumerate(groups) if n]
    places, sizes, successes = map(np.array, zip(*seen, strict=True))
    found = IsotonicRegression().fit_transform(places, successes / sizes, sample_weight=sizes)

    rates = isotonic_rates(groups)

    assert [rate for rate in rates if rate is not None] == pytest.approx(list(found), abs=1e-9)
    assert [rate is None for rate in rates] == [n == 0 for n, _ in groups]


@given(st.lists(counts, min_size=1, max_size=10))
def test_isotonic_rates_never_fall_and_keep_the_number_of_successes(groups):
    rates = isotonic_rates(groups)

    seen = [rate for rate in rates if rate is not None]
    assert seen == sorted(seen)
    total = sum((rate * n for rate, (n, _) in zip(rates, groups, strict=True) if n), Fraction())
    assert total == sum(s for _, s in groups)


def test_critical_values_are_those_of_the_distribution():
    expected = [chi2.ppf(0.99, degrees) for degrees in range(1, 9)]

    assert [float(value) for value in CRITICAL] == pytest.approx(expected, abs=6e-4)


def bins_of(random, truth, count):
    """Ten bins over records whose confidences are the middles of the bins."""
    p = random.integers(0, 10, count) * 100_000 + 50_000
    y = random.random(count) < [truth(one / 1e6) for one in p]
    return ten_bins([(int(a), int(b)) for a, b in zip(p, y, strict=True)])


def test_a_logistic_stream_is_called_so_and_is_told_as_its_map():
    random = np.random.default_rng(4)
    called = []
    for _ in range(60):
        bins = bins_of(random, lambda p: logistic(-0.4 + 1.5 * logit(p)), 2_000)
        called.append(is_logistic(bins, recalibration(bins).map))
    found = recalibration(bins).map

    form = map_form(bins, found)

    assert sum(called) >= 57
    assert form.form == "logistic"
    middles = [(2 * k + 1) / 20 for k in range(10)]
    assert [r / 1e6 for r in form.rates] == pytest.approx([found.of(p) for p in middles], abs=1e-6)


def test_a_stream_with_a_step_is_told_as_rates_that_never_fall():
    bins = bins_of(np.random.default_rng(4), lambda p: 0.2 if p < 0.7 else 0.9, 2_000)

    form, rates = map_form(bins, recalibration(bins).map)

    assert form == "monotone"
    assert rates == sorted(rates)
    assert rates[0] / 1e6 == pytest.approx(0.2, abs=0.05)


def test_without_records_in_a_bin_nothing_is_expected_of_it():
    bins = ten_bins([(820_000, 1), (820_000, 0)])

    form, rates = map_form(bins, recalibration(bins).map)

    assert (form, [rate is None for rate in rates]) == ("logistic", [True] * 8 + [False, True])

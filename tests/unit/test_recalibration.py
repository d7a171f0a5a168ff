"""The fitted map, its threshold, the names of what was found and the verdict."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tables.calibration_bins import Sums
from tables.calibration_map import IDENTITY
from tables.direction import Direction, direction
from tables.evidence import Evidence
from tables.evidence_increments import increments
from tables.recalibration import recalibration
from tables.verdict import verdict
from tests.hunt import examples
from tests.real_data import games, ten_bins

FAR = ((56_021, 0), (100_094, 100_000))


@st.composite
def some_bins(draw):
    """Any ten bins: empty, tiny, huge, all failed, all succeeded, all stated at an end."""
    bins = []
    for k in range(10):
        n = draw(st.sampled_from((0, 0, 1, 7, 60, 3_000, 100_000)))
        stated = draw(st.integers(k * 100_000, k * 100_000 + 99_999 + (k == 9)))
        sy = draw(st.integers(0, n) | st.sampled_from((0, n)))
        bins.append(Sums(n=n, sp=n * stated, sy=sy))
    return bins


def against(bins):
    """The negative log posterior in (a, ln b), by floats."""
    held = [(min(max(b.sp / b.n / 1e6, 0.005), 0.995), b.n, b.sy) for b in bins if b.n]

    def value(at):
        a, log_b = at
        lost = sum(
            n * np.logaddexp(0, a + exp(log_b) * log(p / (1 - p)))
            - sy * (a + exp(log_b) * log(p / (1 - p)))
            for p, n, sy in held
        )
        return lost + a * a / 2 + 2 * log_b * log_b

    return value


@settings(max_examples=examples(25))
@given(some_bins())
@example([Sums() for _ in range(10)])
@example([Sums(n=100_000, sp=100_000 * k * 100_000, sy=50_000) for k in range(10)])
# The mode is a hundred of the longest steps away.
@example([Sums(n=100_000, sp=100_000 * stated, sy=sy) for stated, sy in FAR])
def test_no_other_map_is_more_probable(bins):
    value = against(bins)
    others = [minimize(value, start, method="Nelder-Mead") for start in ((0, 0), (0, -2), (0, 1))]

    found = recalibration(bins).map

    best = min(other.fun for other in others)
    assert value((found.a, log(found.b))) <= best + max(1e-6, 1e-8 * abs(best))


@settings(max_examples=examples(40))
@given(some_bins(), st.sampled_from((0.3, 0.5, 0.7, 0.9)))
def test_the_thresholds_error_is_that_of_the_posteriors_curvature(bins, target):
    found = recalibration(bins)
    if max(b.n for b in bins) > 1_000:
        return  # differences of a huge posterior say nothing in floats
    value, at, step = against(bins), np.array([found.map.a, log(found.map.b)]), 1e-4
    moves = step * np.eye(2)
    curvature = np.array(
        [
            [
                (value(at + i + j) - value(at + i - j) - value(at - i + j) + value(at - i - j))
                / (4 * step**2)
                for j in moves
            ]
            for i in moves
        ]
    )

    def threshold(a, log_b):
        return 1 / (1 + exp(-(log(target / (1 - target)) - a) / exp(log_b)))

    slope = np.array([(threshold(*(at + m)) - threshold(*(at - m))) / (2 * step) for m in moves])
    expected = (slope @ np.linalg.inv(curvature) @ slope) ** 0.5

    assert found.threshold(target) == pytest.approx(threshold(*at), abs=1e-5)
    assert found.threshold_standard_error(target) == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_without_records_the_map_is_the_identity_and_its_error_the_priors():
    found = recalibration([])

    assert found.map == IDENTITY
    assert found.log_b_standard_error == 0.5
    assert (found.variance_a, found.covariance) == (1, 0)


def test_a_stream_may_be_over_confident_on_average_and_under_confident_where_it_acts():
    bins = ten_bins(games("nhl_games.csv"))

    found = direction(bins, recalibration(bins), 0.69)

    assert found.at_threshold == "under-confident"
    assert found.on_average == "over-confident"


def test_the_shape_is_named_only_where_it_is_sure():
    ends = [(100_000, 0), (100_000, 1), (900_000, 0), (900_000, 1)] * 100
    timid = [(400_000, 0)] * 95 + [(400_000, 1)] * 5 + [(600_000, 0)] * 5 + [(600_000, 1)] * 95

    assert direction(ten_bins(ends), recalibration(ten_bins(ends))) == Direction(
        "even", None, "too extreme"
    )
    assert direction(ten_bins(timid), recalibration(ten_bins(timid))).shape == "too timid"
    assert direction(ten_bins(timid[:6]), recalibration(ten_bins(timid[:6]))).shape is None


@pytest.mark.parametrize(
    ("name", "count", "a", "b", "threshold", "error"),
    [
        ("nfl_games.csv", None, -0.1167, 0.9339, 0.7373, 0.0143),
        ("nhl_games.csv", None, -0.2381, 1.4266, 0.6815, 0.0136),
        ("nhl_games.csv", 788, -0.3139, 1.5741, 0.6765, None),
    ],
)
def test_real_forecasts_have_their_published_maps(name, count, a, b, threshold, error):
    found = recalibration(ten_bins(games(name)[:count]))

    assert (found.map.a, found.map.b) == pytest.approx((a, b), abs=5e-5)
    assert found.threshold(0.7) == pytest.approx(threshold, abs=5e-5)
    if error:
        assert found.threshold_standard_error(0.7) == pytest.approx(error, abs=5e-5)


# --- the verdict -------------------------------------------------------------------------------


def verdict_of(pairs, **limits):
    evidence = Evidence()
    for p, y in pairs:
        evidence.update(increments(p, IDENTITY), y)
    return verdict(ten_bins(pairs), evidence, **limits)


def alternating(stated, of_ten, count):
    """`of_ten` successes in each ten records at one stated confidence."""
    return [(stated, int(n % 10 < of_ten)) for n in range(count)]


def test_evidence_and_size_make_miscalibrated_even_of_few():
    found = verdict_of([(900_000, 0)] * 30)

    assert found.word == str(found) == "miscalibrated"
    assert not found.is_calibrated
    assert (found.n, found.delta) == (30, 0.05)


def test_few_or_one_sided_records_are_insufficient():
    assert verdict_of([]).word == "insufficient"
    assert verdict_of(alternating(800_000, 8, 90)).word == "insufficient"
    assert verdict_of([(950_000, int(n % 20 > 0)) for n in range(300)]).word == "insufficient"
    assert verdict_of(alternating(800_000, 8, 100)).word != "insufficient"


def test_no_alarm_is_not_calibration():
    few, many = verdict_of(alternating(800_000, 7, 100)), verdict_of(alternating(800_000, 8, 2_000))

    assert str(few) == "no evidence"
    assert str(many) == "calibrated within 0.05"
    assert many.is_calibrated
    assert str(verdict_of(alternating(800_000, 8, 2_000), delta=0.001)) == "no evidence"


def test_with_very_many_records_a_trifle_is_no_miscalibration():
    bins = [Sums(n=10**6, sp=810_000 * 10**6, spp=810_000**2 * 10**6, sy=800_000)]
    bins[0].spy = 810_000 * 800_000
    sure = Evidence.of_row([10**6, 0, [100 * 10**9] * 34, []])

    found = verdict(bins, sure)

    assert found.error.root < 0.02
    assert str(found) == "no evidence"


def test_real_forecasts_have_their_verdicts():
    assert str(verdict_of(games("nfl_games.csv"))) == "calibrated within 0.05"
    assert str(verdict_of(games("nhl_games.csv"))) == "miscalibrated"

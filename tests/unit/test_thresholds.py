"""Thresholds that follow evidence: what moves them, what holds them, and whole simulated loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.calibration_bins import Sums, bin_index_of
from tables.calibration_map import CalibrationMap, logistic, logit
from tables.miscalibration_test import MiscalibrationTest
from tables.recalibration import recalibration
from tables.thresholds import (
    Seen,
    Threshold,
    ThresholdRule,
    adjustment,
    decide,
    observed_effect,
)
from tables.watched_interval import watched_interval
from tests.hunt import examples
from tests.real_data import games, ten_bins

RULE = ThresholdRule(target=700_000, cool_down_ms=1_000)
NOTHING = ten_bins([])


def seen_of(pairs, since=None, is_below_observed=True, ever=None):
    bins = ten_bins(pairs)
    recent = bins if since is None else ten_bins(since)
    return Seen(bins, recent, recent if ever is None else ten_bins(ever), is_below_observed)


def test_of(pairs):
    test = MiscalibrationTest()
    for p, y in pairs:
        test.update(p, y, 0)
    return test


test_of.__test__ = False
OVER = [(820_000, int(n % 10 < 6)) for n in range(400)]


def test_evidence_adopts_a_map_and_takes_a_step_with_its_reason():
    test, seen = test_of(OVER), seen_of(OVER)

    decision = decide(Threshold(700_000), RULE, test, seen, at_ms=5)

    assert decision.adopted == recalibration(seen.epoch).map
    assert decision.threshold == Threshold(800_000, 5, (700_000,))
    shape = adjustment("send_email", Threshold(700_000), decision)
    assert (shape.direction, shape.new_threshold) == ("increase", 0.8)
    assert shape.magnitude == pytest.approx(0.1)
    for part in ("map a -0.", "evidence 1 : ", "after 400 lead records", "unobserved at 0.700"):
        assert part in shape.reason


@pytest.mark.parametrize(
    ("ever", "says"),
    [
        ([720_000, 800_000], "success there expected to go from 0.537 to 0.665"),
        ([720_000], "success expected: 0.537 at 0.700, unobserved at 0.800"),
        ([899_999], "success expected: unobserved at 0.700, 0.665 at 0.800"),
        ([650_000, 900_000], "success expected: unobserved at 0.700, unobserved at 0.800"),
    ],
)
def test_what_no_lead_record_has_shown_is_unobserved_and_moves_the_threshold_all_the_same(
    ever, says
):
    test = test_of([])
    test.adopt(CalibrationMap(-700_000, 1_000_000), at_ms=-9_999)
    seen = seen_of([], ever=[(p, 1) for p in ever])

    decision = decide(Threshold(700_000), RULE, test, seen, at_ms=5)

    assert decision.threshold.value == 800_000
    assert decision.reason.endswith(f"nothing seen at the threshold since the last map; {says}")


def test_the_threshold_goes_on_to_the_maps_without_new_evidence_after_each_cool_down():
    test = test_of([])
    test.adopt(CalibrationMap(-1_500_000, 1_000_000), at_ms=0)
    goal = test.epoch.map.inverse_millionths(700_000)
    threshold, walked = Threshold(700_000), []
    for at_ms in range(0, 4_000, 250):
        threshold = decide(threshold, RULE, test, seen_of([]), at_ms).threshold
        walked.append(threshold.value)

    assert walked[:4] == [700_000] * 4
    assert walked[4:8] == [800_000] * 4
    assert walked[8:12] == [900_000] * 4
    assert walked[12:] == [goal] * 4


@pytest.mark.parametrize(
    ("pairs", "value", "reason"),
    [
        ([(800_000, int(n % 10 < 8)) for n in range(200)], 700_000, "of 1 : 20"),
        ([(950_000, 0)] * 30, 700_000, "30 lead records with 0 of the rarer"),
        (OVER, 880_000, "within two standard errors"),
    ],
)
def test_what_keeps_a_map_from_being_adopted_is_said(pairs, value, reason):
    decision = decide(Threshold(value), RULE, test_of(pairs), seen_of(pairs), at_ms=5)

    assert decision.threshold == Threshold(value)
    assert decision.adopted is None
    assert decision.reason.startswith("not moved: ")
    assert reason in decision.reason
    assert adjustment("send_email", Threshold(value), decision) is None


def test_nothing_is_adopted_within_the_cool_down():
    early = decide(Threshold(700_000, 0), RULE, test_of(OVER), seen_of(OVER), at_ms=999)
    later = decide(Threshold(700_000, 0), RULE, test_of(OVER), seen_of(OVER), at_ms=1_000)

    assert (early.adopted, early.threshold.value) == (None, 700_000)
    assert "cool-down" in early.reason
    assert later.adopted


def test_many_excluded_must_not_move_a_threshold_alone():
    pairs = [(800_000, None if n % 3 == 0 else n % 2) for n in range(90)]

    decision = decide(Threshold(700_000), RULE, test_of(pairs), seen_of(pairs), at_ms=5)

    assert decision.adopted is None
    assert "at the worst of the excluded" in decision.reason


# --- where nothing below the threshold is seen -------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "count", "value", "reason"),
    [
        (29, 29, 700_000, "29 lead records at the threshold since the last step, of 30"),
        (160, 200, 680_000, "map a"),
        (150, 200, 700_000, "success at the threshold may be 0.6"),
    ],
)
def test_a_blind_step_down_is_small_and_rests_on_the_last_one(successes, count, value, reason):
    test = test_of([])
    test.adopt(CalibrationMap(600_000, 1_000_000), at_ms=-9_999)
    since = [(720_000, int(n < successes)) for n in range(count)]

    decision = decide(Threshold(700_000), RULE, test, seen_of([], since, False), at_ms=5)

    low, _ = watched_interval(successes, count)
    assert (low >= 0.65) == (count > 29 and value < 700_000) or count == 29
    assert decision.threshold.value == value
    assert reason in decision.reason


def test_a_blind_step_never_passes_the_threshold_that_is_wanted():
    test = test_of([])
    test.adopt(CalibrationMap(30_000, 1_000_000), at_ms=-9_999)
    seen = seen_of([], [(720_000, 1)] * 60, is_below_observed=False)

    decision = decide(Threshold(700_000), RULE, test, seen, at_ms=5)

    assert decision.threshold.value == test.epoch.map.inverse_millionths(700_000) > 680_000


# --- people ------------------------------------------------------------------------------------


def test_a_persons_choice_holds_until_it_is_released():
    held = Threshold(700_000).overridden(600_000, at_ms=5)

    decision = decide(held, RULE, test_of(OVER), seen_of(OVER), at_ms=10_000)
    released = held.released(at_ms=20_000)

    assert decision.threshold == held
    assert decision.reason == "not moved: held by a person"
    assert not decide(released, RULE, test_of(OVER), seen_of(OVER), at_ms=20_999).adopted
    assert decide(released, RULE, test_of(OVER), seen_of(OVER), at_ms=21_000).adopted


@given(st.lists(st.integers(1, 999_999), max_size=6))
def test_rolling_back_undoes_every_change_in_turn(values):
    threshold = Threshold(700_000)
    for at_ms, value in enumerate(values):
        threshold = threshold.moved(value, at_ms)

    for expected in [700_000, *values][-2::-1]:
        threshold = threshold.rolled_back(at_ms=99)
        assert (threshold.value, threshold.is_held) == (expected, True)

    assert threshold.rolled_back(at_ms=100) == threshold


# --- all of it ---------------------------------------------------------------------------------


@settings(max_examples=examples(40))
@given(
    st.integers(1, 999_999),
    st.integers(-2_000_000, 2_000_000),
    st.integers(300_000, 3_000_000),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 1)), max_size=80),
    st.booleans(),
)
def test_a_step_is_never_large_never_away_and_always_explained(value, a, b, pairs, is_observed):
    test = test_of([])
    test.adopt(CalibrationMap(a, b), at_ms=-9_999)
    goal = logistic((logit(0.7) - a / 1e6) / (b / 1e6)) * 1e6

    decision = decide(Threshold(value), RULE, test, seen_of(pairs, None, is_observed), at_ms=5)

    step = decision.threshold.value - value
    assert -(100_000 if is_observed else 20_000) <= step <= 100_000
    assert step * (goal - value) >= -1
    assert abs(decision.threshold.value - goal) <= abs(value - goal) + 1
    assert decision.reason.startswith("map" if step else "not moved: ")


def loop(seed, a, b, is_selective, count=2_500):
    """An agent that acts at the threshold it is given; how often a map was adopted, and τ."""
    random, test, threshold = np.random.default_rng(seed), MiscalibrationTest(), Threshold(700_000)
    rule, adoptions, n = ThresholdRule(700_000, cool_down_ms=150), 0, 0
    epoch, since, ever = ten_bins([]), ten_bins([]), ten_bins([])
    while n < count:
        p = int(min(max(random.beta(2, 1), 0.02), 0.98) * 1e6)
        if is_selective and p < threshold.value:
            continue
        y, n = int(random.random() < logistic(a + b * logit(p / 1e6))), n + 1
        test.update(p, y, n)
        epoch[bin_index_of(p)].update(p, y)
        since[bin_index_of(p)].update(p, y)
        ever[bin_index_of(p)].update(p, y)
        if n % 50 == 0:
            decision = decide(threshold, rule, test, Seen(epoch, since, ever, not is_selective), n)
            if decision.adopted:
                adoptions += 1
                test.adopt(decision.adopted, n)
                epoch = ten_bins([])
            if decision.adopted or decision.threshold != threshold:
                since = ten_bins([])
            threshold = decision.threshold
    return adoptions, threshold.value / 1e6


@pytest.mark.parametrize(
    ("a", "b", "is_selective"),
    [(-0.7, 1, False), (-0.7, 1, True), (0, 0.5, False), (0.6, 1, False)],
)
def test_a_loop_finds_the_threshold_that_keeps_what_is_meant(a, b, is_selective):
    adoptions, threshold = loop(3, a, b, is_selective)

    assert 1 <= adoptions <= 3
    assert logistic(a + b * logit(threshold)) == pytest.approx(0.7, abs=0.05)


def test_an_under_confident_agent_that_acts_selectively_gets_below_where_it_began():
    adoptions, threshold = loop(3, 0.6, 1, is_selective=True)

    assert adoptions >= 1
    assert threshold < 0.69


def test_a_calibrated_agent_is_left_alone():
    assert [loop(seed, 0, 1, is_selective=True) for seed in range(3)] == [(0, 0.7)] * 3


def test_the_effect_of_a_change_is_what_was_seen_on_both_sides():
    assert observed_effect([Sums(n=10, sy=5)], NOTHING) is None
    assert observed_effect([Sums(n=10, sy=5)], [Sums(n=4, sy=3), Sums(n=4, sy=3)]).after == 0.75


def test_real_forecasts_would_move_at_their_alarm():
    pairs = games("nhl_games.csv")[:788]

    decision = decide(Threshold(720_000), RULE, test_of(pairs), seen_of(pairs), at_ms=5)

    assert decision.adopted == CalibrationMap(-313_918, 1_574_077)
    assert decision.threshold.value == pytest.approx(676_500, abs=50)

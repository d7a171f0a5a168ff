"""Evidence against a stated probability: by decimals, by enumeration, whatever the batch cuts."""

from decimal import Decimal, localcontext
from math import exp, log

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tables.calibration_map import IDENTITY, CalibrationMap
from tables.evidence import BLOCK, Evidence, bound_nanos, exact_with_weight
from tables.evidence_increments import (
    ALTERNATIVES,
    COUNT,
    EXCLUDED,
    exact_increment,
    increments,
    increments_of_many,
    said_by,
)
from tables.evidence_odds import NANO
from tables.flags import flagged, sticky_log_evidence
from tables.miscalibration_test import MiscalibrationTest
from tests.hunt import examples
from tests.real_data import games

ENDS = (0, 1, 4_999, 5_000, 5_001, 500_000, 994_999, 995_000, 995_001, 999_999, 1_000_000)
confidences = st.integers(0, 1_000_000) | st.sampled_from(ENDS)
maps = st.builds(
    CalibrationMap, st.integers(-2_000_000, 2_000_000), st.integers(200_000, 4_000_000)
) | st.just(IDENTITY)
outcomes = st.sampled_from((0, 1, 0, 1, None))


def by_definition(millionths, base):
    """⌊10⁹ ln(q/π)⌋ and ⌊10⁹ ln((1-q)/(1-π))⌋ by 80 digits, with the law of the ends."""
    with localcontext(prec=80):
        c, p = Decimal("0.005"), Decimal(millionths) / 10**6
        if base != IDENTITY and 0 < p < 1:
            a, b = (Decimal(v) / 10**6 for v in base)
            p = 1 / (1 + (-a - b * (p / (1 - p)).ln()).exp())
        end = (p > 1 - c) - (p < c)
        p = min(max(p, c), 1 - c)
        rows = []
        for a, b in ALTERNATIVES:
            q = 1 / (1 + (-a - b * (p / (1 - p)).ln()).exp())
            if (end == 1 and q > 1 - c) or (end == -1 and q < c):
                rows.append((0, 0))
            else:
                ratios = ((1 - q) / (1 - p), q / p)
                floors = [(r.ln() * NANO).quantize(1, "ROUND_FLOOR") for r in ratios]
                rows.append(tuple(map(int, floors)))
        return np.array(rows).T


@settings(max_examples=examples(60))
@given(confidences, maps)
def test_increments_are_those_of_their_definition(millionths, base):
    if millionths == 500_000 and base == IDENTITY:
        return  # there ten increments are 0 exactly, which 80 digits of quotients only approach

    assert np.array_equal(increments(millionths, base)[:2], by_definition(millionths, base))


@pytest.mark.parametrize("millionths", ENDS)
def test_increments_at_the_ends_are_those_of_their_definition(millionths):
    found = increments(millionths, IDENTITY)

    expected = by_definition(millionths, IDENTITY)
    if millionths == 500_000:
        expected[:, [j for j, (a, _) in enumerate(ALTERNATIVES) if a == 0]] = 0
    assert np.array_equal(found[:2], expected)


@pytest.mark.parametrize(("millionths", "y", "j"), [(623_382, 1, 8), (769_313, 0, 30)])
def test_where_floats_would_round_to_the_wrong_side_decimals_decide(millionths, y, j):
    expected = by_definition(millionths, IDENTITY)[y, j]

    assert increments(millionths, IDENTITY)[y, j] == expected
    assert exact_increment(millionths, IDENTITY, y, j) == expected


@given(st.lists(confidences, min_size=1, max_size=50), maps)
def test_many_at_once_say_what_each_says(many, base):
    found = increments_of_many(many, base)

    assert np.array_equal(found, [increments(millionths, base) for millionths in many])


@given(confidences, maps)
def test_no_alternative_gains_on_average_where_the_null_holds(millionths, base):
    p = base.of(millionths / 1e6)

    failed, succeeded, excluded = (np.exp(row / NANO) for row in increments(millionths, base))

    assert (p * succeeded + (1 - p) * failed <= 1 + 1e-12).all()
    assert (excluded <= 1).all()


def test_one_failure_at_a_stated_certainty_decides_nothing():
    evidence = Evidence()

    evidence.update(increments(1_000_000, IDENTITY), 0)

    assert evidence.log_nanos() < bound_nanos(0.05)
    assert increments(1_000_000, IDENTITY)[1].max() <= 0


# --- the restarts ------------------------------------------------------------------------------


def log_evidence_by_blocks(records, base=IDENTITY, is_robust=False):
    """ln E as the mixture over its restarts: each block's bets run from its first record on."""
    rows = [EXCLUDED if y is None else y for _, y in records]
    steps = [
        np.zeros(COUNT) if y is None and not is_robust else increments(p, base)[row] / NANO
        for (p, y), row in zip(records, rows, strict=True)
    ]
    logs, spent = [], 0.0
    for block in range(len(records) // BLOCK + 1):
        weight = 1 / (2 * block * (block + 1)) if block else 0.5
        spent += weight
        logs.append(log(weight / COUNT) + sum(steps[block * BLOCK :], np.zeros(COUNT)))
    # Sums of logarithms: after 1,600 records a capital may be more than a float holds.
    return np.logaddexp.reduce([*np.concatenate(logs), log(1 - spent)])


def evidence_of(records, base=IDENTITY):
    evidence = Evidence()
    for p, y in records:
        evidence.update(increments(p, base), y)
    return evidence


long_runs = st.builds(
    lambda seed, count, shift: [
        (int(p), None if u > 0.97 else int(u < min(max(p / 1e6 + shift, 0), 0.96)))
        for p, u in np.random.default_rng(seed).random((count, 2)) * (10**6, 1)
    ],
    st.integers(0, 2**32),
    st.sampled_from((0, 1, 249, 250, 251, 500, 1600)),
    st.sampled_from((-0.3, -0.1, 0.0, 0.2)),
)


@settings(max_examples=examples(20))
@given(long_runs, maps)
def test_evidence_is_the_mixture_over_its_restarts(records, base):
    evidence = evidence_of(records, base)

    assert evidence.log_nanos() / NANO == pytest.approx(
        log_evidence_by_blocks(records, base), abs=1e-7
    )
    assert evidence.robust_log_nanos() / NANO == pytest.approx(
        log_evidence_by_blocks(records, base, is_robust=True), abs=1e-7
    )
    assert evidence.robust_log_nanos() <= evidence.log_nanos()


@settings(max_examples=examples(50))
@given(st.integers(-400 * NANO, 400 * NANO), st.integers(1, 10**6))
@example(400 * NANO, 1)
@example(-900 * NANO, 40)
def test_a_restart_is_that_of_forty_digits(capital, block):
    evidence = Evidence.of_row([block * BLOCK - 1, 0, [capital] * COUNT, []])

    evidence.update(np.zeros((3, COUNT), dtype=np.int64), 1)

    found = evidence.row()[2][0]
    assert found == exact_with_weight(capital, block)
    with localcontext(prec=500):
        total = (Decimal(capital) / NANO).exp() + 1 / Decimal(2 * block * (block + 1))
        assert found == (NANO * total.ln()).to_integral_value("ROUND_FLOOR")


@settings(max_examples=examples(30))
@given(
    st.lists(st.tuples(confidences, outcomes), max_size=40),
    st.integers(0, 3 * BLOCK),
    st.data(),
)
def test_where_steps_begin_and_end_does_not_matter_to_any_bit(records, ahead, data):
    whole = MiscalibrationTest()
    for k in range(ahead):
        whole.update(700_000, k % 3 != 0, k)
    cut = MiscalibrationTest.of_row(whole.row())
    adoption = data.draw(st.integers(0, len(records)))

    for k, (p, y) in enumerate(records):
        if k == adoption:
            whole.adopt(CalibrationMap(-100_000, 1_200_000), ahead + k)
            cut.adopt(CalibrationMap(-100_000, 1_200_000), ahead + k)
        whole.update(p, y, ahead + k)
        cut.update(p, y, ahead + k)
        if data.draw(st.booleans()):
            cut = MiscalibrationTest.of_row(cut.row())

    assert cut.row() == whole.row()
    assert cut.raw.log_nanos() == whole.raw.log_nanos()
    assert cut.of_map.log_nanos() == whole.of_map.log_nanos()


def stands_of(evidence):
    return evidence.row(), evidence.greatest_nanos, evidence.log_nanos(), evidence.is_alarm(0.05)


@settings(max_examples=examples(12))
@given(long_runs, maps, st.data())
def test_records_that_were_foreseen_lead_to_where_each_would_have_led(records, base, data):
    plain, foreseeing, begin = Evidence(), Evidence(), 0
    while begin < len(records):
        count = data.draw(st.integers(0, foreseeing.foreseeable_count), label="foreseen")
        some = records[begin : begin + max(count, 1)]
        if count:
            foreseeing.foresee(said_by(some, base))
        for p, y in some:
            plain.update(increments(p, base), y)
            foreseeing.update(increments(p, base), y)

            assert stands_of(foreseeing) == stands_of(plain)
        begin += len(some)


def test_peak_and_alarm_are_those_of_a_look_after_every_record():
    random = np.random.default_rng(11)
    for shift in (0.0, 0.08, 0.25):
        test, plain = MiscalibrationTest(), Evidence()
        peak, alarm_n = 0, None
        for n, p in enumerate(random.integers(1, 10**6, 900).tolist(), 1):
            y = int(random.random() < p / 1e6 - shift)
            test.update(p, y, n)
            plain.update(increments(p, IDENTITY), y)
            peak = max(peak, plain.log_nanos())
            if alarm_n is None and exp(plain.log_nanos() / NANO) >= 20:
                alarm_n = n

        assert (test.peak_nanos, test.alarm_n) == (peak, alarm_n)


def test_where_many_are_excluded_an_alarm_needs_the_worst_case_too():
    test = MiscalibrationTest()
    for n in range(90):
        test.update(800_000, None if n % 3 == 0 else n % 2, n)

    assert test.raw.log_nanos() >= bound_nanos(0.05)
    assert test.raw.robust_log_nanos() < bound_nanos(0.05)
    assert test.alarm_n is None


def test_only_what_was_acted_on_under_a_map_speaks_against_it():
    test = MiscalibrationTest()
    for n in range(300):
        test.update(800_000, n % 2, n)
    test.adopt(CalibrationMap(-1_386_294, 1_000_000), 1_000)
    test.update(800_000, 0, 999)

    assert test.of_map.n == 0
    assert test.of_map.log_nanos() in (0, -1)
    for n in range(300):
        test.update(800_000, n % 2, 1_000 + n)
    assert test.of_map.n == 300
    assert test.of_map.log_nanos() < 0 < bound_nanos(0.05) < test.raw.log_nanos()


def test_evidence_outgrows_what_a_float_can_hold():
    evidence = evidence_of([(900_000, 0)] * 5_000)

    assert evidence.log_nanos() > 5_000 * NANO
    assert Evidence.of_row(evidence.row()).log_nanos() == evidence.log_nanos()


# --- many streams ------------------------------------------------------------------------------


@given(st.lists(st.floats(-5, 12), max_size=40), st.sampled_from((0.05, 0.1, 0.2)))
def test_flags_are_the_most_for_which_the_least_is_large_enough(log_evidence, share):
    m, ordered = len(log_evidence), sorted(log_evidence, reverse=True)
    most = max((k for k in range(1, m + 1) if ordered[k - 1] >= log(m / (k * share))), default=0)

    found = flagged(log_evidence, share)

    assert len(found) == most
    assert sorted((log_evidence[i] for i in found), reverse=True) == ordered[:most]


@given(st.floats(1e-3, 600))
def test_a_sticky_flag_pays_for_having_looked(peak):
    with localcontext(prec=400):
        m = Decimal(peak).exp()
        adjusted = ((m - 1 - m.ln()) / m.ln() ** 2).ln()

    assert sticky_log_evidence(peak) == pytest.approx(float(adjusted), abs=1e-9)
    assert sticky_log_evidence(peak) < peak


def test_sticky_evidence_begins_at_a_half_and_never_overflows():
    assert sticky_log_evidence(0) == log(0.5)
    assert sticky_log_evidence(1e-5) == pytest.approx(log(0.5), abs=1e-5)
    assert sticky_log_evidence(5_000) == pytest.approx(5_000 - 2 * log(5_000))


# --- other people's forecasts ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "log_evidence", "alarm_n"),
    [("nfl_games.csv", -2.1800, None), ("nhl_games.csv", 3.4320, 788)],
)
def test_real_forecasts_have_their_published_evidence(name, log_evidence, alarm_n):
    sums, first = np.zeros(COUNT, dtype=np.int64), None
    for n, (p, y) in enumerate(games(name), 1):
        sums = sums + increments(p, IDENTITY)[y]
        found = log(np.exp(sums / NANO).mean())
        if first is None and found >= log(20):
            first = n

    assert found == pytest.approx(log_evidence, abs=5e-5)
    assert first == alarm_n

"""What was open at a moment, and forecasts of the past, against worlds whose future is cut off."""

from dataclasses import astuple
from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.delay_curve import BUCKET_COUNT, DelayCurve
from tables.forecast import past_coverage
from tables.open_actions import (
    Delays,
    Followed,
    closed_cohort_at,
    delays_known,
    last_check,
    provisional_rates,
)
from tables.past_forecasts import History, end_of, forecast_at, scored_forecasts
from tables.provisional import Cohort, provisional_rate
from tests.day_rows import DAY, day_rows, delays_of, records_of

WINDOW = 3 * DAY
EVEN = DelayCurve([[10] * BUCKET_COUNT for _ in range(3)])
"""Delays as likely to be short as long."""


def followed(random, days, a_day, hurried=lambda day: 1.0):
    """Actions of a source that says .2 to .9 and is right a little less often; some say no."""
    made = []
    for day in range(days):
        for _ in range(a_day):
            p, at = random.uniform(0.2, 0.9), int((day + random.random()) * DAY)
            succeeds, delay = random.random() < 0.9 * p, random.beta(1, 3) * hurried(day)
            says_no = not succeeds and random.random() < 0.6
            status = "positive" if succeeds else "negative" if says_no else "expired"
            signal = at + int(min(delay, 0.999) * WINDOW) if succeeds or says_no else None
            settled = at + WINDOW
            made.append(Followed(int(p * 1e6), at, settled, signal, status, settled < days * DAY))
    return made


def history(some):
    return History(some, delays_of(some, WINDOW), day_rows(records_of(some)), WINDOW)


@pytest.fixture(scope="module")
def world():
    return followed(np.random.default_rng(7), days=40, a_day=30)


def test_an_action_is_open_from_its_time_to_its_settle_time_and_silent_until_its_signal():
    one = Followed(500_000, 10, 50, 30, "positive", True)

    assert [at for at in (10, 11, 50, 51) if one.is_open(at)] == [11, 50]
    assert [one.status_at(at) for at in (30, 31)] == [None, "positive"]
    assert one._replace(is_settled=False).is_open(60)


# --- the provisional rates -----------------------------------------------------------------------

small = st.lists(
    st.builds(
        lambda millionths, at, delay, status: Followed(
            millionths, at, at + 480, None if status == "expired" else at + delay, status, True
        ),
        st.integers(0, 10**6), st.integers(0, 600), st.integers(0, 479),
        st.sampled_from(["positive", "negative", "ambiguous", "expired"]),
    ),
    max_size=30,
)  # fmt: skip


@given(small, st.integers(0, 1200))
def test_a_bins_rate_is_that_of_its_open_actions_one_by_one(some, at):
    some = [a for a in some if at - a.created_at_ms < 480]
    delays = Delays(EVEN, DelayCurve(), 0)

    rates, pooled = provisional_rates(some, at, 480, delays, expired_counts=True)

    assert figures(pooled) == pytest.approx(figures(one_by_one(some, at)))
    for index, rate in enumerate(rates):
        those = [a for a in some if min(a.millionths // 100_000, 9) == index]
        assert figures(rate) == pytest.approx(figures(one_by_one(those, at)))


def one_by_one(those, at):
    cohorts = []
    for a in those:
        seen = a.status if a.signal_at_ms is not None and a.signal_at_ms < at else None
        if a.created_at_ms < at <= a.settled_at_ms and seen != "ambiguous":
            share = (2 * ((at - a.created_at_ms) // 10) + 1) / 96
            cohorts.append(Cohort(share, 1, int(seen == "positive")))
    return provisional_rate(cohorts)


def figures(rate):
    return astuple(rate) if rate else ()


def test_where_expired_ones_do_not_count_the_rate_is_that_among_signals(world):
    at, told = 30 * DAY, delays_of(world, WINDOW)
    delays = delays_known(told, 29, 0)

    _, in_window = provisional_rates(world, at, WINDOW, delays, expired_counts=True)
    _, given_signal = provisional_rates(world, at, WINDOW, delays, expired_counts=False)

    settled = [a.status for a in world if a.is_open(at)]
    good, bad = settled.count("positive"), settled.count("negative")
    assert in_window.low < good / len(settled) < in_window.high
    assert given_signal.low < good / (good + bad) < given_signal.high
    assert in_window.rate < given_signal.rate - 0.05


def test_the_last_closed_cohort_shows_whether_delays_are_what_they_were(world):
    """Halved delays let the provisional rate run ahead: nearly all has come, half seems to."""
    steady = world
    hurried = followed(
        np.random.default_rng(8), 40, 30, hurried=lambda day: 1.0 if day < 30 else 0.2
    )
    for some, is_withheld in ((steady, False), (hurried, True)):
        now = 36 * DAY
        seen = [a for a in some if a.created_at_ms < now]
        at = closed_cohort_at(seen, now)
        delays = delays_known(delays_of(seen, WINDOW), at // DAY - 1, 0)

        check = last_check(seen, at, WINDOW, delays, expired_counts=True)

        assert at == min(a.created_at_ms for a in seen if a.settled_at_ms >= now)
        assert check.is_withheld == is_withheld
    assert check.ratio > 1.25
    assert last_check([], 0, WINDOW, delays, expired_counts=True).ratio is None
    assert closed_cohort_at([], 5) == 5


# --- the forecast --------------------------------------------------------------------------------


def cut(some, day):
    """What was known at the end of a day: later actions, signals and settlings are not."""
    at = end_of(day)
    return [
        one
        if one.settled_at_ms < at
        else one._replace(
            is_settled=False,
            signal_at_ms=one.signal_at_ms if one.status_at(at) else None,
            status=one.status_at(at) or "pending",
        )
        for one in some
        if one.created_at_ms < at
    ]


@pytest.mark.parametrize("day", [8, 20, 36])
def test_a_past_forecast_is_the_one_that_could_have_been_made(world, day):
    known = history(cut(world, day))

    assert forecast_at(history(world), end_of(day), day) == forecast_at(known, end_of(day), day)


def test_a_forecast_waits_for_a_hundred_positives_and_for_something_open(world):
    assert forecast_at(history(world), end_of(3), 3) is None
    assert forecast_at(history(world), end_of(3), 30) is not None
    assert forecast_at(history(world), end_of(90), 90) is None


def test_forecasts_are_scored_when_all_they_saw_has_settled_and_cover_it():
    scored, plain = [], []
    for seed in range(12):
        some = followed(np.random.default_rng(seed), days=40, a_day=30)
        found = scored_forecasts(history(some), range(12, 40, 3))
        assert [one.day for one in found] == list(range(12, 37, 3))
        assert found[0].made == forecast_at(history(some), end_of(12), 12)
        scored += found
        deaf = [a._replace(status="expired") if a.status == "negative" else a for a in some]
        told = History(some, delays_of(deaf, WINDOW), day_rows(records_of(some)), WINDOW)
        plain += scored_forecasts(told, range(12, 40, 3))
    one = scored[0]
    silent = [
        a for a in followed(np.random.default_rng(0), 40, 30)
        if a.created_at_ms < end_of(12) < a.created_at_ms + WINDOW
        and (a.signal_at_ms is None or a.signal_at_ms >= end_of(12))
    ]  # fmt: skip

    errors = [s.made.expected - s.came for s in scored]
    assert (one.made.count, one.came) == (len(silent), sum(a.status == "positive" for a in silent))
    assert past_coverage([(s.made, s.came) for s in scored]) > 0.9
    assert abs(mean(errors)) < 1.5
    # Who fails is heard of too; a forecast that does not know it expects too little.
    assert mean(s.made.expected - s.came for s in plain) < mean(errors) - 1

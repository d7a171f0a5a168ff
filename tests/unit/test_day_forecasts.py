"""The forecasts that are kept, against those that are made of every action one by one."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.day_forecasts import DayKnown, Known, OpenGroup, day_forecasts
from tables.past_forecasts import end_of, forecast_at, scored_forecasts
from tests.day_rows import DAY
from tests.hunt import examples
from tests.unit.test_past_forecasts import WINDOW, cut, followed, history

DAYS = 24


def groups_of(some, days, expired_counts=True):
    """What was open at the ends of days, counted action by action."""
    held = defaultdict(list)
    for day in days:
        at = end_of(day)
        for one in some:
            if one.is_open(at) and at - one.created_at_ms < WINDOW:
                bucket = (at - one.created_at_ms) * 48 // WINDOW
                held[day, one.millionths, bucket].append((one, one.status_at(at) is None))
    return [
        OpenGroup(
            *key,
            sum(is_silent for _, is_silent in those),
            sum(is_silent and one.status == "positive" for one, is_silent in those),
            max(one.settled_at_ms for one, _ in those),
            expired_counts,
        )
        for key, those in held.items()
    ]


def sums_of(told, first_day):
    """The same day rows, what was known before the first day as of that day."""
    return [
        DayKnown(
            max(row.known_day, first_day), row.bin_index,
            row.lead.n, row.lead.sp, row.lead.sy, row.all.n - row.all.sy,
        )
        for row in told.days
    ]  # fmt: skip


def known_of(some, days, **more):
    told = history(some)
    delays = [one._replace(known_day=max(one.known_day, days[0])) for one in told.delays]
    return Known(groups_of(some, days, **more), sums_of(told, days[0]), delays)


@settings(max_examples=examples(12))
@given(st.integers(0, 10**6), st.integers(8, DAYS))
def test_every_day_has_the_forecast_and_the_score_of_its_actions_one_by_one(seed, closed_day):
    some = followed(np.random.default_rng(seed), DAYS, 25)
    days = range(6, closed_day + 1)
    told = history(some)

    found = {one.day: one for one in day_forecasts(known_of(some, days), closed_day)}

    made = {day: forecast_at(told, end_of(day), day) for day in days}
    assert {day: one.made for day, one in found.items()} == {d: m for d, m in made.items() if m}
    late = history([o._replace(is_settled=o.settled_at_ms < end_of(closed_day)) for o in some])
    scored = {one.day: one.came for one in scored_forecasts(late, days)}
    assert {d: one.came for d, one in found.items() if one.came is not None} == scored


def test_what_is_told_on_the_day_itself_is_what_is_told_later_but_for_the_score():
    some = followed(np.random.default_rng(5), DAYS, 25)
    day = 12
    seen = cut(some, day)

    (then,) = day_forecasts(known_of(seen, [day]), day)
    (later,) = day_forecasts(known_of(some, [day]), 20)

    assert then.came is None
    assert later.came == sum(
        one.status == "positive" and one.status_at(end_of(day)) is None
        for one in some
        if one.created_at_ms < end_of(day) < one.created_at_ms + WINDOW
    )
    assert (then.made, then.settles_at_ms) == (later.made, later.settles_at_ms)
    assert then.settles_at_ms == max(one.settled_at_ms for one in seen if not one.is_settled)


@pytest.mark.parametrize("closed_day", [14, 15])
def test_a_score_waits_for_what_a_signal_had_reached_too_for_a_label_may_overrule_it(closed_day):
    some = [
        one
        for one in followed(np.random.default_rng(6), DAYS, 25)
        if not 10 * DAY <= one.created_at_ms < 13 * DAY
    ]
    last = some[-1]._replace(
        created_at_ms=13 * DAY - 10, signal_at_ms=13 * DAY - 5, settled_at_ms=15 * DAY + DAY // 2
    )
    silent = last._replace(
        created_at_ms=12 * DAY, signal_at_ms=None, status="expired", settled_at_ms=15 * DAY - 1
    )

    (found,) = day_forecasts(known_of([*some, silent, last], [12]), closed_day)

    assert found.made.count == 1
    assert (found.came is None) == (closed_day == 14)


def test_where_an_expired_one_does_not_count_and_where_nothing_waits_there_is_no_forecast():
    some = followed(np.random.default_rng(7), DAYS, 25)
    before = [one for one in some if one.created_at_ms < 12 * DAY]

    assert list(day_forecasts(known_of(some, [12], expired_counts=False), 20)) == []
    assert list(day_forecasts(known_of(before, [18]), 20)) == []
    assert len(list(day_forecasts(known_of(some, [12]), 20))) == 1

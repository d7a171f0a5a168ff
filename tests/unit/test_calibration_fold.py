"""A stream's fold against its oracle, cut and restored anywhere, and what it tells on the way."""

from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_topics.calibration import CalibrationAlarm, CalibrationMap, ThresholdAdjustment
from tables.calibration_map import logistic, logit
from tables.smooth_error import CELL_COUNT, ResidualGrid, smooth_error
from tables.stream import Stream
from tables.stream_calibration import Override, StreamFold, StreamRule, in_order
from tables.stream_records import records_of, stream_record
from tables.stream_rows import restore_row, take_rows
from tables.stream_sums import Settled
from tables.stream_test import VERSIONS_MAX
from tests.hunt import examples
from tests.real_data import games
from tests.stream_oracle import expected

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
STREAM = Stream("t", "qualify", "deal_progression", HOUR_MS, "judge")
RULES = {"": StreamRule(700_000, 700_000), "p1": StreamRule(700_000, 700_000)}
RULES["p2"] = StreamRule(600_000, 500_000)


@dataclass(frozen=True)
class Course:
    """How a stream goes: the truth is σ(a + b·logit p), from half of it on with another a."""

    seed: int
    count: int
    a: float
    b: float
    drift: float
    is_selective: bool
    excluded_share: float


def told_of(course):
    """The settled outcomes of a course, in order."""
    random = np.random.default_rng(course.seed)
    settled, at_ms = [], int(random.integers(0, 5 * DAY_MS))
    for number in range(course.count):
        at_ms += int(random.integers(0, HOUR_MS // 4))
        p = min(max(random.beta(2, 1), 0.0), 1.0)
        p = round(max(p, 0.7), 2) if course.is_selective else round(p, int(random.integers(1, 7)))
        a = course.a + (course.drift if 2 * number > course.count else 0)
        y = int(random.random() < logistic(a + course.b * logit(min(max(p, 0.01), 0.99))))
        is_excluded = random.random() < course.excluded_share
        failed = "negative" if random.random() < 0.5 else "expired"
        status = "ambiguous" if is_excluded else "positive" if y else failed
        delay_ms = None if status == "expired" else int(random.integers(0, HOUR_MS))
        later = 5 * number > 4 * course.count
        settled.append(
            Settled(
                at_ms + HOUR_MS * int(random.choice((1, 1, 2))),
                at_ms,
                round(p * 1e6),
                None if is_excluded else y,
                status,
                bool(random.random() < 0.9),
                "p2" if 10 * number > 9 * course.count else "p1",
                delay_ms,
                None if random.random() < 0.1 else "v2" if later else "v1",
                (("model", f"m{int(random.integers(0, 60))}"), ("rep_id", "")),
            )
        )
    return sorted(settled)


def with_overrides(settled, seed):
    """The same with a person's decisions in between, about one in a hundred records."""
    random = np.random.default_rng(seed)
    choices = ("set", "roll_back", "release", "close_alarm")
    overrides = [
        Override(one.settled_at_ms, cause, 650_000 if cause == "set" else None, "ann")
        for one in settled
        if random.random() < 0.01
        for cause in (str(random.choice(choices)),)
    ]
    return list(in_order(settled, overrides))


courses = st.builds(
    Course,
    seed=st.integers(0, 2**32),
    count=st.sampled_from((1, 10, 60, 250, 500)),
    a=st.sampled_from((-1.5, -0.5, 0.0, 1.0)),
    b=st.sampled_from((0.5, 1.0, 2.0)),
    drift=st.sampled_from((0.0, 2.0)),
    is_selective=st.booleans(),
    excluded_share=st.sampled_from((0.0, 0.2)),
)


def enter(fold, inputs, is_expected=True):
    if is_expected:
        fold.expect(one for one in inputs if isinstance(one, Settled))
    for one in inputs:
        if isinstance(one, Override):
            fold.on_override(one, RULES[""])
        else:
            fold.update(one, RULES[one.policy_version])


def restored(rows):
    """The fold of a changelog's rows, in another order, as msgpack gives them back."""
    fold = StreamFold(STREAM)
    for key in sorted(rows, reverse=True):
        _, *row = msgspec.msgpack.decode(rows[key])
        restore_row(fold, key[:2], row)
    return fold


def folded(inputs, cuts=(), restarts=(), is_expected=True):
    """By key what readers end up with, told at each cut; begun anew from rows at each restart."""
    told, rows, fold = {}, {}, StreamFold(STREAM)
    marks = sorted({0, *cuts, *restarts, len(inputs)})
    for begin, end in pairwise(marks):
        enter(fold, inputs[begin:end], is_expected)
        told.update(records_of(fold))
        for key, row in take_rows(fold).items():
            if row is None:
                del rows[key]
            else:
                rows[key] = msgspec.msgpack.encode(row)
        if end in restarts:
            fold = restored(rows)
    return told


@settings(max_examples=examples(25))
@given(courses, st.integers(0, 99), st.booleans(), st.data())
def test_the_fold_tells_what_its_oracle_tells_wherever_it_is_cut_and_restored(
    course, seed, is_expected, data
):
    inputs = with_overrides(told_of(course), seed)
    places = st.sets(st.integers(1, len(inputs)), max_size=4)
    found = folded(inputs, data.draw(places), data.draw(places), is_expected)

    assert found == expected(STREAM, inputs, RULES)


def test_what_readers_are_told_of_a_course_has_alarms_maps_and_effects():
    course = Course(1, 500, 1.0, 0.5, 2.0, is_selective=False, excluded_share=0.0)

    told = list(folded(told_of(course)).values())

    alarms = [one for one in told if isinstance(one, CalibrationAlarm)]
    adjustments = [one for one in told if isinstance(one, ThresholdAdjustment)]
    assert {alarm.closed_by for alarm in alarms} >= {"agent version", "policy"}
    assert {one.cause for one in adjustments} == {"evidence"}
    assert any(one.observed_n_after >= 100 for one in adjustments)
    assert any(isinstance(one, CalibrationMap) for one in told)


# --- sums ---------------------------------------------------------------------------------------


def plain(number, millionths=820_000, y=1, **changes):
    """A lead record, one an hour."""
    at_ms = number * HOUR_MS
    one = Settled(at_ms + HOUR_MS, at_ms, millionths, y, "positive", True, "p1")
    return one._replace(**changes)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from((0, 1, None))), min_size=1))
def test_the_residuals_of_the_bins_are_the_grid_of_the_smooth_error(pairs):
    told = folded([plain(n, p, y) for n, (p, y) in enumerate(pairs)])

    mass = [0] * CELL_COUNT
    for index in range(10):
        record = told.get(f"t/qualify/deal_progression/{HOUR_MS}/judge/{index}")
        for place, text in enumerate(record.residuals if record else []):
            mass[20 * index + place // 2 + place % 2] += int(text)
    grid = ResidualGrid()
    for p, y in pairs:
        if y is not None:
            grid.update(p, y)
    assert mass == grid.mass


def test_only_the_rows_known_on_the_last_day_are_kept():
    fold = StreamFold(STREAM)
    enter(fold, [plain(hour) for hour in range(20)])
    kept = take_rows(fold)
    enter(fold, [plain(hour) for hour in range(20, 80)])

    rows = take_rows(fold)

    days = {key: row for key, row in rows.items() if key.startswith(b"d/")}
    assert [key for key, row in days.items() if row is None] == [
        key for key in kept if key.startswith(b"d/")
    ]
    assert {key.known_day for key in fold.sums.days} == {3}
    assert len([row for row in days.values() if row is not None]) == len(fold.sums.days)


def test_beyond_fifty_values_a_dimension_has_others():
    values = [f"m{number % 60}" for number in range(120)]
    fold = StreamFold(STREAM)
    enter(fold, [plain(n, segments=(("model", value),)) for n, value in enumerate(values)])
    fold = restored({key: msgspec.msgpack.encode(r) for key, r in take_rows(fold).items() if r})
    enter(fold, [plain(200, segments=(("model", "m59"),)), plain(201, segments=(("model", "m3"),))])

    counted = {key.segment: held.all.n for key, held in fold.sums.segments.items()}
    assert len(counted) == 51
    assert (counted["m3"], counted["other"]) == (3, 21)


# --- test and alarm -----------------------------------------------------------------------------


def test_real_forecasts_raise_an_alarm_and_are_called_miscalibrated():
    pairs = games("nhl_games.csv")
    fold = StreamFold(STREAM)
    enter(fold, [plain(n, p, y) for n, (p, y) in enumerate(pairs)])

    alarm, *others = [e for e in fold.take_events() if isinstance(e, CalibrationAlarm)]
    stands = stream_record(fold)
    grid = ResidualGrid()
    for cell, held in fold.sums.bins.items():
        for place, mass in enumerate(held.residuals):
            grid.mass[20 * cell + place // 2 + place % 2] += mass
        grid.n += held.all.n
    assert (alarm.n, alarm.direction, alarm.shape) == (785, "over-confident", "too timid")
    assert others == []
    assert (stands.n, stands.verdict) == (1401, "miscalibrated")
    assert stands.error == pytest.approx(0.05328, abs=5e-6)
    assert smooth_error(grid) == pytest.approx(0.04040, abs=1e-5)


def test_real_forecasts_without_evidence_raise_no_alarm():
    fold = StreamFold(STREAM)
    enter(fold, [plain(n, p, y) for n, (p, y) in enumerate(games("nfl_games.csv"))])

    stands = stream_record(fold)
    assert fold.take_events() == []
    assert (stands.verdict, stands.is_calibrated) == ("calibrated", True)
    assert stands.error == pytest.approx(0.02529, abs=5e-6)


def test_a_version_closes_an_alarm_only_where_the_test_has_not_seen_it():
    fold = StreamFold(STREAM)
    over = [plain(n, 950_000, 0, agent_version=f"v{n % 2}") for n in range(40)]
    enter(fold, over)
    (alarm,) = fold.take_events()
    enter(fold, [plain(40, 950_000, 0), plain(41, 950_000, 0, agent_version="v2", is_lead=False)])
    assert fold.take_events() == []

    enter(fold, [plain(42, 950_000, 0, agent_version="v2")])

    (closed,) = fold.take_events()
    assert (alarm.closed_at_ms, alarm.number) == (None, 1)
    assert (closed.number, closed.closed_by) == (1, "agent version")
    assert closed.closed_at_ms == stream_record(fold).tested_since_ms == 43 * HOUR_MS
    assert stream_record(fold).n == 1


def test_a_new_test_has_seen_no_version_of_the_one_before():
    fold = StreamFold(STREAM)
    for number, version in enumerate(("v1", "v2", "v1")):
        begin = 40 * number
        wrong = [plain(begin + n, 950_000, 0, agent_version=version) for n in range(40)]
        enter(fold, wrong)

    closed = [e.closed_by for e in fold.take_events() if isinstance(e, CalibrationAlarm)]
    assert closed == ["agent version", "agent version", None]


def test_the_versions_that_a_test_remembers_are_bounded():
    fold = StreamFold(STREAM)
    enter(fold, [plain(n, 820_000, int(n % 5 < 4), agent_version=f"v{n}") for n in range(200)])

    assert len(fold.judged.versions) == VERSIONS_MAX


def test_the_bins_of_an_earlier_release_begin_a_test_with_the_next_record():
    earlier = StreamFold(STREAM)
    enter(earlier, [plain(n, 820_000, int(n % 3 == 0)) for n in range(300)])
    rows = {
        key: msgspec.msgpack.encode(row[:-1])
        for key, row in take_rows(earlier).items()
        if key.startswith(b"b/")
    }
    fold = restored(rows)
    enter(fold, [plain(300 + n, 820_000, int(n % 5 < 4)) for n in range(50)])

    stands = stream_record(fold)
    assert fold.take_events() == []
    assert (stands.n, stands.tested_since_ms) == (50, 301 * HOUR_MS)
    assert fold.sums.bins[8].all.n == 350
    assert dict(records_of(fold))[f"t/qualify/deal_progression/{HOUR_MS}/judge/8"].residuals == []


# --- threshold ----------------------------------------------------------------------------------


def test_a_threshold_that_a_person_holds_moves_only_when_it_is_released():
    fold = StreamFold(STREAM)
    fold.on_override(Override(0, "set", 720_000, "ann"), RULES["p1"])
    enter(fold, [plain(n, 820_000, int(n % 10 < 6)) for n in range(400)])
    held = [e for e in fold.take_events() if e.kind != "alarm"]
    fold.on_override(Override(401 * HOUR_MS, "release", None, "ann"), RULES["p1"])
    enter(fold, [plain(401 + n, 820_000, int(n % 10 < 6)) for n in range(3)])

    released = [e for e in fold.take_events() if e.kind != "alarm"]
    assert [(e.cause, e.new_threshold, e.reason) for e in held] == [("set", 0.72, "set by ann")]
    assert [e.kind for e in released] == ["adjustment", "adjustment", "adjustment", "map"]
    assert released[2].cause == "evidence"


def test_where_nothing_was_observed_no_success_is_expected():
    inputs = [plain(n, (650_000, 720_000)[n % 2], int(n % 5 < 2)) for n in range(400)]
    fold = StreamFold(STREAM)
    enter(fold, inputs)

    told = fold.take_events()
    moves = [one for one in told if isinstance(one, ThresholdAdjustment)]
    (found,) = [one for one in told if isinstance(one, CalibrationMap)]
    assert [rate is None for rate in found.rates] == [True] * 6 + [False] * 2 + [True] * 2
    assert [one.new_threshold for one in moves] == pytest.approx([0.8, 0.9, 0.91], abs=0.01)
    first, *others = moves
    assert (first.expected_before, first.expected_after) == (pytest.approx(0.4, abs=0.1), None)
    assert first.reason.endswith(
        f"expected: {first.expected_before:.3f} at 0.700, unobserved at 0.800"
    )
    for one in others:
        assert (one.expected_before, one.expected_after) == (None, None)
        assert one.map_a_millionths == found.a_millionths
        assert one.reason.count("unobserved at 0.") == 2
        assert "expected to go" not in one.reason
    assert stream_record(fold).reason == moves[-1].reason
    assert folded(inputs, (150, 300), (150, 300)) == expected(STREAM, inputs, RULES)


def test_a_fit_that_moves_nothing_is_not_made_again_at_each_record():
    fold = StreamFold(STREAM)
    fold.on_override(Override(0, "set", 880_000, "ann"), RULES["p1"])
    fold.on_override(Override(0, "release", None, "ann"), RULES["p1"])
    asked = set()
    for n in range(400):
        enter(fold, [plain(n, 820_000, int(n % 10 < 6))])
        asked.add(fold.acting.asked_at_n)

    assert "within two standard errors" in stream_record(fold).reason
    assert 5 < len(asked) < 40


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_a_target_that_no_map_reaches_stops_no_stream(target):
    rule = StreamRule(min(max(round(target * 1e6), 1), 999_999), 700_000)
    fold = StreamFold(STREAM)
    for n in range(400):
        fold.update(plain(n, 820_000, int(n % 10 < 6)), rule)

    assert stream_record(fold).map_a_millionths is not None

"""Both trends of a stream against their oracle, cut and restored anywhere; when which is told."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_topics.calibration import StreamTrend
from tables.stream import Stream
from tables.stream_calibration import Override, StreamFold, StreamRule
from tables.stream_records import records_of
from tables.stream_rows import keys_of, restore_row, take_rows
from tables.stream_sums import Settled
from tables.stream_trends import HALF_SAMPLES, METRICS, StreamTrends
from tests.hunt import examples
from tests.stream_oracle import trend_changes_of, trends_of

HOUR_MS = 3_600_000
STREAM = Stream("t", "qualify", "deal_progression", HOUR_MS, "judge")
KEY = f"t/qualify/deal_progression/{HOUR_MS}/judge"
RULE = StreamRule(700_000, 700_000)
STATUS = {1: "positive", 0: "expired", None: "ambiguous"}


def settled(number, millionths=800_000, y=1, is_lead=True):
    at_ms = 60_000 * number
    return Settled(at_ms + HOUR_MS, at_ms, millionths, y, STATUS[y], is_lead, "p1")


def course(seed, lengths, rates):
    """So many records after each other, each part with its own truth: a share of what is stated."""
    random, records = np.random.default_rng(seed), []
    for length, rate in zip(lengths, rates, strict=False):
        for _ in range(length):
            p = int(random.choice((0, 550_000, 700_001, 999_999, 10**6)))
            y = None if random.random() < 0.1 else int(random.random() * 10**6 < rate * p)
            records.append(settled(len(records), p, y, bool(random.random() < 0.8)))
    return records


def folded(records, cuts=(), restarts=()):
    """What stands by key at the end, and what was news; told at each cut, restored at restarts."""
    told, news, rows, fold = {}, [], {}, StreamFold(STREAM)
    for begin, end in pairwise(sorted({0, *cuts, *restarts, len(records)})):
        for record in records[begin:end]:
            fold.update(record, RULE)
        told.update(records_of(fold))
        news += fold.take_trend_changes()
        rows.update({key: row for key, row in take_rows(fold).items() if key[:2] == b"n/"})
        if end in restarts:
            fold = StreamFold(STREAM)
            for key, row in rows.items():
                _, *own = msgspec.msgpack.decode(msgspec.msgpack.encode(row))
                restore_row(fold, key[:2], own)
    return {key: one for key, one in told.items() if isinstance(one, StreamTrend)}, news


lengths = st.lists(st.sampled_from((1, 99, 100, 130, 260)), min_size=1, max_size=4)
rates = st.lists(st.sampled_from((0.0, 0.3, 0.9, 1.0)), min_size=4, max_size=4)


@settings(max_examples=examples(25))
@given(st.integers(0, 2**32), lengths, rates, st.data())
def test_trends_are_those_of_the_list_of_lead_records_wherever_they_are_cut_and_restored(
    seed, lengths, rates, data
):
    records = course(seed, lengths, rates)
    places = st.sets(st.integers(1, len(records)), max_size=4)

    told, news = folded(records, data.draw(places), data.draw(places))

    assert told == {f"{KEY}/trend/{m}": trend for m, trend in trends_of(STREAM, records)}
    expected = list(trend_changes_of(STREAM, records))
    for metric in METRICS:
        assert [n for n in news if n.metric == metric] == [
            e for e in expected if e.metric == metric
        ]


def test_a_fall_is_shown_when_the_half_after_it_is_full_and_said_once_and_when_it_ends():
    """80 % of two hundreds, then 58 % of two. The ends are by scipy's Wilson intervals."""
    came = [n % 100 < 80 for n in range(200)] + [n % 50 < 29 for n in range(200)]
    records = [settled(n, 800_000, int(y)) for n, y in enumerate(came)]

    told, news = folded(records, range(1, 400, 7), range(50, 400, 50))

    fell, ended = [one for one in news if one.metric == "success_rate"]
    assert (fell.compared_count, fell.evidence, fell.supported_direction) == (
        2, "supported", "declining",
    )  # fmt: skip
    assert (fell.previous_mean, fell.current_mean, fell.change_percent) == (
        0.8, 0.58, pytest.approx(-27.5),
    )  # fmt: skip
    assert (fell.low, fell.high) == pytest.approx((-0.3760, -0.0473), abs=5e-5)
    assert fell.compared_at_ms == records[299].settled_at_ms
    assert (ended.evidence, ended.supported_direction) == ("unsupported", "stable")
    assert ended == told[f"{KEY}/trend/success_rate"]
    gap, _ = [one for one in news if one.metric == "calibration_gap"]
    assert (gap.previous_mean, gap.current_mean) == (0.0, pytest.approx(0.22))
    assert (gap.change_percent, gap.supported_direction) == (None, "declining")


def test_a_second_fall_is_news_again():
    came = [n % 10 < rate for rate in (9, 6, 2) for n in range(100)]
    _, news = folded([settled(n, 500_000, int(y)) for n, y in enumerate(came)])

    falls = [one for one in news if one.metric == "success_rate"]
    assert [(one.compared_count, one.supported_direction) for one in falls] == [
        (1, "declining"),
        (2, "declining"),
    ]


def test_the_gap_may_decline_while_success_does_not():
    """The same share comes true of what is stated lower, then higher."""
    records = [settled(n, 600_000 if n < 100 else 950_000, int(n % 5 < 3)) for n in range(200)]

    told, news = folded(records)

    assert [(one.metric, one.supported_direction) for one in news] == [
        ("calibration_gap", "declining")
    ]
    assert told[f"{KEY}/trend/success_rate"].evidence == "unsupported"


def test_what_does_not_lead_or_says_nothing_is_no_sample():
    told, _ = folded([settled(0), settled(1, is_lead=False), settled(2, y=None)])

    assert {one.n for one in told.values()} == {1}
    first = told[f"{KEY}/trend/calibration_gap"]
    assert (first.previous_mean, first.current_mean, first.direction) == (0.0, -0.2, "stable")
    assert (first.evidence, first.low, first.compared_at_ms) == ("insufficient", None, None)


def test_neither_an_alarm_that_is_closed_nor_a_decision_begins_trends_anew():
    fold = StreamFold(STREAM)
    for number in range(150):
        fold.update(settled(number, 950_000, number % 2), RULE)
    for cause in ("close_alarm", "set"):
        fold.on_override(Override(200 * HOUR_MS, cause, 650_000, "ann"), RULE)

    assert fold.trends.record(METRICS[0]).n == 150


def test_a_row_is_written_where_something_came_and_is_bounded():
    fold = StreamFold(STREAM)
    for number in range(1_000):
        fold.update(settled(number, 10**6 - number, number % 2), RULE)
    row = take_rows(fold)[f"n/{KEY}".encode()]
    fold.update(settled(1_001, is_lead=False), RULE)

    assert len(msgspec.msgpack.encode(row)) < 900
    assert f"n/{KEY}".encode() not in take_rows(fold)
    assert f"n/{KEY}".encode() in keys_of(fold)


def test_a_stream_of_an_earlier_release_begins_its_trends_with_the_next_outcome():
    earlier, fold = StreamFold(STREAM), StreamFold(STREAM)
    for number in range(250):
        earlier.update(settled(number), RULE)
    for key, row in take_rows(earlier).items():
        if row is not None and key[:2] != b"n/":
            restore_row(fold, key[:2], msgspec.msgpack.decode(msgspec.msgpack.encode(row))[1:])
    before = [one for _, one in records_of(fold) if isinstance(one, StreamTrend)]
    fold.update(settled(250, y=0), RULE)

    assert before == []
    assert fold.judged.test.raw.n == 251
    assert fold.trends.record(METRICS[0]).n == 1


def test_both_trends_of_an_agent_that_stays_as_it_is_are_seldom_ever_supported():
    """Each has an α of its own: 5 % of 80 streams, and three standard errors."""
    random, false = np.random.default_rng(4), dict.fromkeys(METRICS, 0)
    for _ in range(80):
        trends = StreamTrends(STREAM)
        stated = random.beta(4, 2, 12 * HALF_SAMPLES)
        came = random.random(len(stated)) < 0.9 * stated
        news = [
            told
            for n, (p, y) in enumerate(zip(stated, came, strict=True))
            for told in trends.update(settled(n, round(1e6 * p), int(y)))
        ]
        for metric in METRICS:
            false[metric] += any(told.metric == metric for told in news)

    assert max(false.values()) <= 10

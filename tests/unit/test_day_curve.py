"""Curves from day rows against the records that the rows were made of."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_topics.events import BinSums
from tables.calibration_bins import Sums, bin_index_of
from tables.day_curve import Span, WeightedSums, day_bins, sums_of, weighted_error
from tables.debiased_error import debiased_error
from tables.rate_intervals import wilson_interval
from tables.scores import brier_score, expected_calibration_error
from tests.day_rows import day_rows, earlier_days
from tests.real_data import ten_bins

days = st.integers(0, 12)
records = st.lists(
    st.tuples(
        st.integers(0, 10**6), st.sampled_from([0, 1, None]), days, days, st.booleans()
    ),
    max_size=40,
)  # fmt: skip
ends = st.none() | days
spans = st.builds(Span, ends, ends, ends)


@given(records, spans)
def test_the_bins_of_a_span_are_those_of_its_records(some, span):
    def counts(action_day, known_day):
        return (
            (span.since_day is None or span.since_day <= action_day)
            and (span.until_day is None or action_day <= span.until_day)
            and (span.known_by_day is None or known_day <= span.known_by_day)
        )

    kept = [record for record in some if counts(*record[2:4])]

    bins = day_bins(day_rows(some), span)

    assert [held.all.sums for held in bins] == ten_bins([r[:2] for r in kept])
    assert [held.lead.sums for held in bins] == ten_bins([r[:2] for r in kept if r[4]])
    assert sum(sum(held.counts.values()) for held in bins) == len(kept)
    assert [held.all.n_effective for held in bins] == [held.all.sums.n for held in bins]


@given(records, st.floats(0.5, 40))
def test_decayed_figures_are_those_of_weighted_records(some, half_life_days):
    bins = day_bins(day_rows(some), Span(half_life_days=half_life_days))

    said = [(p / 1e6, y, day) for p, y, day, _, _ in some if y is not None]
    if not said:
        assert brier_score([held.all.sums for held in bins]) is None
        return
    p, y, day = np.array(said, dtype=float).T
    last = max(record[2] for record in some)
    weights = 2 ** (-(last - day) / half_life_days)
    index = np.array([bin_index_of(record[0]) for record in some if record[1] is not None])
    in_bin = [index == k for k in range(10)]
    gaps = [abs(weights[those] @ (p - y)[those]) for those in in_bin]
    squares = [(weights[those] ** 2).sum() for those in in_bin]

    sums = [held.all.sums for held in bins]
    assert brier_score(sums) == pytest.approx(np.average((p - y) ** 2, weights=weights), abs=1e-6)
    assert expected_calibration_error(sums) == pytest.approx(sum(gaps) / weights.sum(), abs=1e-6)
    for held, those, square in zip(bins, in_bin, squares, strict=True):
        worth = weights[those].sum() ** 2 / square if square else 0
        assert held.all.n_effective == pytest.approx(worth, rel=1e-4)
        assert held.all.n == those.sum()


def test_a_day_beyond_thirty_halves_counts_for_nothing():
    rows = day_rows([(500_000, 1, 0, 0, True), (500_000, 0, 40, 40, True)])

    held = day_bins(rows, Span(half_life_days=1))[5].all

    assert (held.sums.sy, held.n, held.n_effective) == (0, 2, 1.0)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from([0, 1, None])), max_size=30))
def test_without_decay_the_error_is_that_of_the_sums(pairs):
    bins = [WeightedSums(sums, sums.n, sums.n) for sums in ten_bins(pairs)]

    assert weighted_error(bins) == debiased_error(ten_bins(pairs))


def test_an_interval_of_nothing_is_everything_and_of_whole_numbers_is_wilsons():
    held = day_bins(day_rows([(500_000, y, 1, 1, True) for y in (1, 1, 0)]), Span())[5].lead

    assert held.wilson_interval() == wilson_interval(2, 3)
    assert WeightedSums().wilson_interval() == (0.0, 1.0)
    assert sums_of(BinSums()) == Sums()


@pytest.mark.parametrize("half_life_days", [5.0, 20.0])
def test_decayed_intervals_cover_and_the_decayed_error_is_unbiased(half_life_days):
    """A source that is right about itself, forty days of thirty records, looked at once."""
    random = np.random.default_rng(5)
    covered, squares = [], []
    for _ in range(300):
        p = random.integers(800_000, 900_000, (40, 30))
        y = random.random((40, 30)) < p / 1e6
        some = [
            (int(a), int(b), day, day, True)
            for day in range(40)
            for a, b in zip(p[day], y[day], strict=True)
        ]
        held = day_bins(day_rows(some), Span(half_life_days=half_life_days))
        low, high = held[8].lead.wilson_interval()
        covered.append(low <= 0.85 <= high)
        squares.append(weighted_error([b.lead for b in held]).square)

    assert 0.92 <= np.mean(covered) <= 0.98
    assert abs(np.mean(squares)) < 3 * np.std(squares) / 300**0.5


@given(records, st.integers(-1, 13), st.integers(0, 13), spans, st.none() | st.floats(0.1, 9))
def test_with_sums_of_earlier_days_a_curve_is_what_it_was_or_cannot_be_told(
    some, last_day, tested_since, span, half_life_days
):
    rows = day_rows([(p, y, min(done, known), known, led) for p, y, done, known, led in some])
    kept, earlier = earlier_days(rows, last_day, tested_since)
    asked = replace(span, half_life_days=half_life_days)
    last = max((row.action_day for row in [*kept, *earlier] if asked.holds(row)), default=0)

    if all(asked.can_tell(row, last) for row in earlier):
        assert day_bins([*kept, *earlier], asked) == day_bins(rows, asked)
    tested = Span(known_since_day=tested_since)
    assert day_bins([*kept, *earlier], tested) == day_bins(rows, tested)


def test_later_days_than_those_that_are_summed_can_be_told():
    (sums,) = earlier_days(day_rows([(500_000, 1, day, day, True) for day in range(5)]), 4, 0)[1]

    told = (Span(), Span(since_day=5), Span(until_day=4), Span(known_by_day=4))
    untold = (Span(since_day=4), Span(until_day=3), Span(known_by_day=3), Span(2, 9))
    assert all(span.can_tell(sums, 9) for span in told)
    assert not any(span.can_tell(sums, 9) for span in untold)
    assert Span(half_life_days=0.1).can_tell(sums, 9)
    assert not Span(half_life_days=0.2).can_tell(sums, 9)

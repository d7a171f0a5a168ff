"""Outcomes wait for their turn: each stream's in order, and one that has many holds no other up."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tables.stream import Stream
from tables.waiting_outcomes import Waiting, WaitingOutcomes
from tests.hunt import examples


def stream(number):
    return Stream(f"tenant {number}", "qualify", "deal_progression", 60_000, "judge")


def waiting(number, of, settled_at_ms):
    identity = (f"a{number}", "c", f"id {number}")
    return Waiting(settled_at_ms, 0, *identity, stream(of), 700_000, "positive", True, True)


def released(waiting, until_ms):
    for _ in waiting.release(until_ms):
        pass


@settings(max_examples=examples(200))
@given(
    st.lists(st.tuples(st.sampled_from((0, 0, 0, 0, 0, 1, 2)), st.integers(0, 9)), max_size=60),
    st.lists(st.tuples(st.integers(0, 10), st.integers(1, 9)), max_size=12),
)
def test_of_what_is_due_each_stream_has_its_share_in_its_order(places, steps):
    given_in = [waiting(number, *place) for number, place in enumerate(places)]
    outcomes = WaitingOutcomes()
    for one in given_in:
        outcomes.push(one)
    left, until_ms = sorted(given_in), -1

    for step_ms, count_max in steps:
        until_ms = max(until_ms, step_ms)
        released(outcomes, until_ms)
        due = [one for one in left if one.settled_at_ms <= until_ms]
        by_stream = {one.stream: [o for o in due if o.stream == one.stream] for one in due}
        assert outcomes.are_due == bool(due)
        assert outcomes.next_ms == min(
            (one.settled_at_ms for one in left if one not in due), default=float("inf")
        )

        taken = outcomes.take(count_max)

        assert sum(map(len, taken.values())) == min(count_max, len(due))
        for own, some in taken.items():
            assert some == by_stream[own][: len(some)]
        if count_max >= len(by_stream):
            share = count_max // max(len(by_stream), 1)
            for own, some in by_stream.items():
                assert len(taken[own]) >= min(share, len(some))
        left = [one for one in left if one not in taken.get(one.stream, ())]
        assert len(outcomes) == len(left)


def test_a_forgotten_tenants_wait_no_more_whether_they_are_due_or_not():
    outcomes = WaitingOutcomes()
    for number in range(12):
        outcomes.push(waiting(number, number % 3, number))
    released(outcomes, 5)

    gone = list(outcomes.forget("tenant 1"))

    assert sorted(one.settled_at_ms for one in gone) == [1, 4, 7, 10]
    released(outcomes, 99)
    taken = outcomes.take(99)
    assert {own.tenant_id: [one.settled_at_ms for one in some] for own, some in taken.items()} == {
        "tenant 0": [0, 3, 6, 9],
        "tenant 2": [2, 5, 8, 11],
    }

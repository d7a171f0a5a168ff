"""The size of a task's steps follows the time that its transactions take."""

from hypothesis import given
from hypothesis import strategies as st

from streams.step_size import CUT_RECORDS_MIN, FIRST_RECORDS, StepSize
from streams.transactions import DEADLINE_S

FULL = 60_000


def sizes_of(size, count, seconds_of):
    """The sizes of so many full steps, each written in the time that it takes, or not in time."""
    taken = []
    for _ in range(count):
        taken.append(size.records)
        seconds = seconds_of(size.records)
        if seconds > DEADLINE_S:
            size.on_failed()
        else:
            size.on_written(size.records, seconds)
    return taken


def test_steps_begin_small_and_double_while_they_are_written_quickly():
    taken = sizes_of(StepSize(FULL), 6, lambda records: records / 100_000)

    assert taken == [FIRST_RECORDS, 8_000, 16_000, 32_000, FULL, FULL]


def test_a_step_that_took_long_is_followed_by_one_that_fits():
    size = StepSize(FULL)
    sizes_of(size, 5, lambda _: 0.1)

    size.on_written(FULL, DEADLINE_S)

    assert size.records == FULL // 2


def test_a_step_that_was_not_written_is_halved_and_grows_again_only_slowly():
    size = StepSize(FULL)
    sizes_of(size, 5, lambda _: 0.1)

    size.on_failed()

    assert sizes_of(size, 3, lambda _: 0.1) == [30_000, 31_200, 32_400]


def test_a_broker_that_is_slow_whatever_it_is_sent_does_not_make_steps_tiny():
    assert sizes_of(StepSize(FULL), 50, lambda _: 0.9 * DEADLINE_S)[-1] == CUT_RECORDS_MIN


def test_a_step_that_was_not_full_says_nothing_about_a_full_one():
    size = StepSize(FULL)

    size.on_written(10, 0.01)

    assert size.records == FIRST_RECORDS


@given(st.floats(20, 10_000_000), st.floats(0, 1))
def test_on_any_machine_no_more_than_the_first_steps_miss_their_deadline(records_per_s, fixed_s):
    size = StepSize(FULL)
    failed = [
        records / records_per_s + fixed_s > DEADLINE_S
        for records in sizes_of(size, 200, lambda records: records / records_per_s + fixed_s)
    ]

    assert 1 <= size.records <= FULL
    assert not any(failed[10:])
    assert records_per_s < 600 or not any(failed)

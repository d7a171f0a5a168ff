"""Up to when a replay settles, and where it ends, from what a task has noted."""

import pytest

from streams.changelog import Progress
from tables.stream_times import NEVER_MS
from tests.resolver_task import ACTIONS, GRACE, HOUR, INTERACTIONS, START
from trueup.replay import Progress as Done
from trueup.replay import Replayed
from trueup.replay_plan import Asked, ReplayRefused, as_of_ms_of, settled_ms_of


def note(actions, interactions):
    return Progress(times={ACTIONS: [*actions, 0, 0], INTERACTIONS: [*interactions, 0, 0]})


def test_a_task_stands_where_its_slowest_topic_does_pushed_or_not_less_the_grace():
    pushed = note((START, START + 9 * HOUR), (START + 5 * HOUR, NEVER_MS))

    assert settled_ms_of(pushed, GRACE) == START + 4 * HOUR
    assert settled_ms_of(note((START, NEVER_MS), (NEVER_MS, NEVER_MS)), GRACE) == NEVER_MS
    assert settled_ms_of(None, GRACE) == NEVER_MS


def test_the_as_of_is_where_live_stands_unless_an_end_or_a_time_was_asked_for():
    assert as_of_ms_of(START, Asked()) == START
    assert as_of_ms_of(START, Asked(as_of_ms=START - 1)) == START - 1
    assert as_of_ms_of(START, Asked(ends={(ACTIONS, 0): 3})) is None
    assert as_of_ms_of(None, Asked()) is None
    assert as_of_ms_of(START, Asked(judging="on_time", as_of_ms=START + 1)) == START + 1
    with pytest.raises(ReplayRefused, match="after what live has settled"):
        as_of_ms_of(START, Asked(as_of_ms=START + 1))


def test_of_several_shares_the_earliest_as_of_counts_and_one_without_a_time_does_not():
    total = Replayed()
    for as_of_ms in (START + 5, NEVER_MS, START):
        total.add(Replayed(records=2, as_of_ms=as_of_ms))

    assert (total.as_of_ms, total.records) == (START, 6)


def test_nothing_done_yet_promises_no_time():
    assert Done(offsets=10, began_s=0.0).in_words(5.0) == "0 of 10 events (0 %), 0/s"

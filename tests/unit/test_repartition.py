"""What a repartition copies of a partition, and how far it lets event time come."""

import json
from dataclasses import dataclass

import pytest

from agents_topics.events import Forgotten, to_timestamp
from agents_topics.identifiers import key_of
from streams.changelog import Progress
from tables.stream_times import NEVER_MS
from tests.resolver_task import ACTIONS, GRACE, HOUR, INTERACTIONS, START, TENANT
from trueup.repartition import Sorting
from trueup.repartition_plan import Plan, Site, until_ms_of

SOURCE = (ACTIONS, 0)
BROKER = START + 1_000 * HOUR


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes
    key: bytes = key_of(TENANT, "c").encode()
    timestamp: int = BROKER
    headers: tuple = ()


def action(offset, hours, conversation_id="c"):
    event = {
        "event_id": f"a{offset}",
        "tenant_id": TENANT,
        "conversation_id": conversation_id,
        "action_type": "send_email",
        "predicted_confidence": 0.5,
        "occurred_at": to_timestamp(START + int(hours * HOUR)),
    }
    key = key_of(TENANT, conversation_id).encode()
    return Record(offset, json.dumps(event).encode(), key)


def sorted_out(*records, applied=100, refused=None, forgotten=(), until_ms=None, source=SOURCE):
    """The entries, and the counts."""
    plan = Plan({}, {SOURCE: applied}, {SOURCE: refused or {}}, forgotten, 0, [], [], until_ms)
    sorting = Sorting(plan, Site(None, None, 2, GRACE))
    return sorting.entries(source, records), sorting.counts


def test_what_a_task_has_admitted_ignored_or_known_as_a_copy_goes_with_the_time_it_was_capped_to():
    entries, counts = sorted_out(action(0, 5), action(1, 1_000.1))

    assert [(one.at_ms, one.capped_ms) for one in entries] == [
        (START + 5 * HOUR, START + 5 * HOUR),
        (BROKER + HOUR // 10, BROKER),
    ]
    assert (counts.copied, counts.waiting) == ({ACTIONS: 2}, {ACTIONS: 0})


def test_what_was_late_or_refused_stays():
    entries, counts = sorted_out(action(0, 5), action(1, 5), refused={0: "late", 1: "conflict"})

    assert entries == []
    assert counts.left_out == {(ACTIONS, "late"): 1, (ACTIONS, "conflict"): 1}


def test_of_a_forgotten_conversation_the_life_that_is_over_stays_with_its_later_copies():
    forgotten = Forgotten(
        forget_id="f", tenant_id=TENANT, conversation_id="c", partition=0,
        offsets={ACTIONS: 1}, settled_until_ms=0, open_outcomes=1,
    )  # fmt: skip
    again = Record(1, action(0, 5).value)

    entries, counts = sorted_out(
        action(0, 5), again, action(2, 5), action(3, 5, "d"), forgotten=[forgotten]
    )

    assert [one.record.offset for one in entries] == [2, 3]
    assert counts.left_out == {(ACTIONS, "forgotten"): 2}


def test_what_waits_goes_unless_it_is_late_by_what_every_task_has_promised():
    """A bad record moves no time, and one from the future only when all the others are there."""
    bad, until_ms = Record(3, b"no JSON"), START + 6 * HOUR

    entries, counts = sorted_out(
        action(0, 1), action(1, 5), action(2, 5.1), bad, action(4, 1_001),
        applied=1, until_ms=until_ms,
    )  # fmt: skip

    assert [(one.record.offset, one.capped_ms) for one in entries] == [
        (0, START + HOUR),
        (2, START + int(5.1 * HOUR)),
        (3, NEVER_MS),
        (4, NEVER_MS),
    ]
    assert counts.left_out == {(ACTIONS, "late"): 1}
    assert counts.waiting == {ACTIONS: 3}


def test_feedback_which_nobody_judges_goes_by_the_brokers_time():
    entries, counts = sorted_out(Record(0, b"{}"), source=("agent-feedback", 0))

    assert [(one.at_ms, one.capped_ms) for one in entries] == [(BROKER, BROKER)]
    assert (counts.waiting["agent-feedback"], counts.left_out) == (0, {})


def note(actions_ms, interactions_ms, first_ms=START):
    times = {ACTIONS: [*actions_ms, 0, 0], INTERACTIONS: [*interactions_ms, 0, 0]}
    return Progress(times=times, first_ms=first_ms)


@pytest.mark.parametrize(
    ("notes", "until_ms"),
    [
        ([], None),
        ([note((START, NEVER_MS), (NEVER_MS, START + 7))], START),
        ([note((START, START + 9), (START + 8, NEVER_MS))], START + 8),
        ([note((START, START), (START, START)), note((START - 1, 0), (START, 0))], START - 1),
        ([note((START, START), (START, START)), note((NEVER_MS,) * 2, (START, START))], None),
    ],
)
def test_time_comes_as_far_as_the_slowest_topic_of_the_slowest_task_pushed_or_not(notes, until_ms):
    assert until_ms_of(dict(enumerate(notes))) == until_ms


def test_a_task_that_has_seen_nothing_holds_nobody_back():
    nothing = note((NEVER_MS,) * 2, (NEVER_MS,) * 2, first_ms=NEVER_MS)

    assert until_ms_of({0: note((START, 0), (START, 0)), 1: nothing, 2: Progress()}) == START

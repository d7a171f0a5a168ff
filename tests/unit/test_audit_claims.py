"""The audit believes no claim: an honest ledger is exact, and each false claim is named.

One ledger holds every class and reason. Each test falsifies one thing in it.
"""

import json

import pytest

from tests.ledger import (
    ACTIONS,
    AWAY,
    BROKER,
    ERRORS,
    HOME,
    HOUR,
    INTERACTIONS,
    START,
    Ledger,
    body_of,
    key_of,
)
from tests.wrapping import APICURIO, BINARY, CONFLUENT, STRUCTURED, enveloped

MINUTE = 60_000
NIGHT = BROKER + 4 * HOUR
"""The broker's time when the actions have been silent for four hours."""


def honest():
    """A ledger with every class and reason; offsets of actions in the comments."""
    it = Ledger()
    it.action("a1", START, BROKER)  # 0
    it.action("a1", START, BROKER + 1, "duplicate")  # 1
    it.action("a1", START, BROKER + 2, "dead", predicted_confidence=0.6)  # 2
    it.letter(ACTIONS, 2, "conflict")
    it.action("a9", START, BROKER + 3, "dead", action_id="a1")  # 3
    it.letter(ACTIONS, 3, "conflict")
    it.action("a2", START + 2 * HOUR, BROKER + 4)  # 4
    it.action("a3", START + HOUR, BROKER + 5, "late")  # 5
    it.late(ACTIONS, 5, "behind", START + 2 * HOUR)
    for value, reason, key in (
        (b"{", "json_invalid", key_of(HOME)),  # 6
        (body_of("b", START, AWAY), "key", key_of(HOME)),  # 7
        (body_of("b", START, AWAY), "wrong_partition", key_of(AWAY)),  # 8
        (body_of("b", BROKER + 11 * MINUTE), "future", key_of(HOME)),  # 9
        (body_of("b", START, action_type="fax"), "unknown_action_type", key_of(HOME)),  # 10
        (body_of("b", START, outcome_type="fame"), "unknown_outcome_type", key_of(HOME)),  # 11
        (body_of("b", START, predicted_confidence=1.5), "less_than_equal", key_of(HOME)),  # 12
    ):
        offset = it.record(ACTIONS, value, BROKER + 6, "dead", key=key, headers=[("h", b"\xff")])
        it.letter(ACTIONS, offset, reason)
    it.record(ACTIONS, b"x" * 1_000_001, BROKER + 7, "dead")  # 13
    pointer = [("trueup.pointer", b"agent-actions/0/13")]
    it.letter(ACTIONS, 13, "json_invalid", value=b"", headers=pointer)
    it.interaction("i1", START + HOUR, BROKER)
    it.interaction("i2", START + HOUR, BROKER, "ignored", kind="page_viewed")
    it.interaction("i1", START + HOUR, BROKER, "duplicate")
    it.note(BROKER + 10)
    it.action("a4", START + 3 * HOUR, NIGHT, "late")  # 14: the time has followed the broker's clock
    it.pushed_ms[ACTIONS] = START + 5 * HOUR
    it.late(ACTIONS, 14, "after_silence", START + 5 * HOUR)
    it.clock(START + 10 * HOUR, NIGHT + HOUR)
    it.put("control", None, b"{}", NIGHT + HOUR)
    it.letter("control", 1, "missing")
    it.action("a5", START + 8 * HOUR, NIGHT + HOUR + 1, "late")  # 15: the clock record
    it.late(ACTIONS, 15, "after_silence", START + 10 * HOUR)
    it.interaction("i3", START + 8 * HOUR, NIGHT + HOUR + 1, "late")
    it.late(INTERACTIONS, 3, "after_silence", START + 10 * HOUR)
    it.pushed_ms = dict.fromkeys(it.pushed_ms, START + 10 * HOUR)
    return it


def wrapped():
    """A ledger of one action, plain and in every envelope, and of envelopes that are none."""
    it = Ledger()
    value = body_of("a1", START)
    it.action("a1", START, BROKER)
    for copy, headers in (
        (enveloped(value), STRUCTURED),
        (value, BINARY),
        (CONFLUENT + value, ()),
        (APICURIO + enveloped(value), STRUCTURED),
    ):
        it.record(ACTIONS, copy, BROKER + 1, "duplicate", START, headers=headers)
    for bad, headers in (
        (value, BINARY[1:]),
        (enveloped(value, specversion="0.3"), STRUCTURED),
        (b"[" + value + b"]", [("content-type", b"application/cloudevents-batch+json")]),
        (CONFLUENT + b"[]", ()),
    ):
        offset = it.record(ACTIONS, bad, BROKER + 2, "dead", headers=headers)
        it.letter(ACTIONS, offset, "envelope")
    return it


def differences(it, note=True):
    if note:
        it.note(NIGHT + HOUR + 2)
    return it.audit().differences


def test_envelopes_are_told_apart_by_the_audit_itself():
    assert differences(wrapped()) == []

    falsely_dead = wrapped()
    falsely_dead.letter(ACTIONS, 1, "envelope")
    assert differences(falsely_dead)


def named(it, note=True):
    """Where things differ: (what, where) of each difference."""
    return [(found.what, found.where) for found in differences(it, note)]


def place(offset, topic=ACTIONS):
    return f"{topic}[0]@{offset}"


def late_of(it, offset, topic=ACTIONS):
    return next(
        index
        for index, record in enumerate(it.logs["late-events"])
        for said in [json.loads(record.value)]
        if (said["topic"], said["offset"]) == (topic, offset)
    )


def letter_of(it, offset, topic=ACTIONS):
    return next(
        index
        for index, record in enumerate(it.logs["dead-letters"])
        for told in [dict(record.headers)]
        if (told[f"{ERRORS}topic"], told[f"{ERRORS}offset"])
        == (topic.encode(), str(offset).encode())
    )


def test_an_honest_ledger_has_no_difference_and_every_record_one_class():
    it = honest()
    it.note(NIGHT + HOUR + 2)

    report = it.audit()

    assert report.differences == []
    assert report.records == {
        ACTIONS: {"admitted": 2, "ignored": 0, "duplicates": 1, "late": 3, "dead letters": 10,
                  "forgotten": 0, "waiting": 0},
        INTERACTIONS: {"admitted": 1, "ignored": 1, "duplicates": 1, "late": 1, "dead letters": 0,
                       "forgotten": 0, "waiting": 0},
        "control": {"applied": 1},
    }  # fmt: skip


def test_a_record_that_no_note_has_applied_waits():
    it = honest()
    it.note(NIGHT + HOUR + 2)
    it.action("a6", START + 12 * HOUR, NIGHT + HOUR + 3)

    report = it.audit()

    assert report.differences == []
    assert report.records[ACTIONS]["waiting"] == 1


# ---- the late ledger -----------------------------------------------------------------------------


def test_a_record_in_time_is_not_behind():
    it = honest()
    it.late(ACTIONS, 4, "behind", START + 2 * HOUR)

    assert (place(4), "late-events") in named(it)


@pytest.mark.parametrize("offset", [5, 14, 15])
def test_a_late_record_without_its_entry_is_named(offset):
    it = honest()
    it.drop("late-events", late_of(it, offset))

    # What silence did is sure only by what the worker says of it: here that it has counted it late.
    wanted = (place(5), "late-events") if offset == 5 else (f"{ACTIONS}[0], late", "changelog")
    assert wanted in named(it)


def test_behind_is_compared_with_the_greatest_time_before_it():
    it = honest()
    it.drop("late-events", late_of(it, 5))
    it.late(ACTIONS, 5, "behind", START + 2 * HOUR + 1)

    assert named(it) == [(place(5), "late-events")]


def test_a_record_that_is_behind_is_not_late_after_silence():
    it = honest()
    it.drop("late-events", late_of(it, 5))
    it.late(ACTIONS, 5, "after_silence", START + 2 * HOUR)

    assert named(it) == [(place(5), "late-events")]


@pytest.mark.parametrize(
    ("field", "value"),
    [("event_id", "other"), ("tenant_id", "other"), ("conversation_id", "other"),
     ("occurred_at_ms", START), ("grace_ms", 1)],
)  # fmt: skip
def test_an_entry_says_what_its_record_says(field, value):
    it = honest()
    it.drop("late-events", late_of(it, 5))
    it.late(ACTIONS, 5, "behind", START + 2 * HOUR, **{field: value})

    assert named(it) == [(f"{place(5)}, {field}", "late-events")]


@pytest.mark.parametrize(
    "elsewhere",
    [{"offset": 99}, {"partition": 1}, {"topic": INTERACTIONS, "offset": 77},
     {"topic": "control", "offset": 0}, {"topic": "outcomes"}],
)  # fmt: skip
def test_an_entry_for_a_record_that_is_not_there_is_named(elsewhere):
    it = honest()
    it.late(ACTIONS, 5, "behind", START + 2 * HOUR, **elsewhere)

    expected = {"topic": ACTIONS, "partition": 0, "offset": 5} | elsewhere
    what = "{topic}[{partition}]@{offset}".format(**expected)
    assert named(it) == [(what, "late-events")]


def test_two_entries_for_one_record_are_named():
    it = honest()
    it.late(ACTIONS, 5, "behind", START + 2 * HOUR)

    assert named(it) == [(place(5), "late-events")]


@pytest.mark.parametrize(
    "value", [b"{", b"[]", b"{}", b'{"topic": 1, "partition": [], "offset": 2}']
)
def test_an_entry_that_cannot_be_read_is_named(value):
    it = honest()
    it.put("late-events", None, value, BROKER)

    assert len(named(it)) == 1


# ---- silence and clock records -------------------------------------------------------------------


def test_silence_moves_no_time_faster_than_the_brokers_clock():
    it = honest()
    it.drop("late-events", late_of(it, 14))
    it.late(ACTIONS, 14, "after_silence", START + 6 * HOUR)  # four hours had passed since START + 2

    assert (place(14), "late-events") in named(it)


def test_the_quiet_before_a_time_moves_is_not_counted():
    it = honest()
    it.drop("late-events", late_of(it, 14))
    it.late(ACTIONS, 14, "after_silence", START + 6 * HOUR - 8_000)

    assert (place(14), "late-events") in named(it)


def test_a_time_without_a_clock_record_does_not_jump():
    it = honest()
    it.drop("control", 0)

    found = named(it)

    assert (place(15), "late-events") in found
    assert (place(3, INTERACTIONS), "late-events") in found


def test_a_clock_record_moves_no_time_before_it_is_written():
    it = honest()
    clock, *rest = it.logs["control"]
    it.logs["control"] = []
    it.clock(START + 10 * HOUR, clock.timestamp + MINUTE)
    it.logs["control"] += rest

    assert (place(15), "late-events") in named(it)


def test_a_record_within_the_grace_of_the_time_compared_is_not_late():
    it = honest()
    it.drop("late-events", late_of(it, 14))
    it.late(ACTIONS, 14, "after_silence", START + 4 * HOUR - 1)

    assert (place(14), "late-events") in named(it)


def test_a_time_that_was_moved_does_not_go_back():
    it = honest()
    it.drop("late-events", late_of(it, 15))
    it.action("a6", START + 8 * HOUR, NIGHT + HOUR + 1, "late")
    it.late(ACTIONS, 15, "after_silence", START + 10 * HOUR)
    it.late(ACTIONS, 16, "after_silence", START + 9 * HOUR)

    assert (place(16), "late-events") in named(it)


def test_a_record_as_old_as_one_that_was_late_after_silence_is_late_too():
    it = honest()
    it.action("a6", START + 8 * HOUR, NIGHT + HOUR + 2)

    assert named(it) == [(place(16), "late-events")] + [
        (f"{ACTIONS}[0], {name}", "changelog") for name in ("admitted", "late")
    ]


def test_a_record_that_was_in_time_bounds_what_silence_had_moved():
    it = honest()
    it.drop("late-events", late_of(it, 14))
    it.counts.subtract({f"{ACTIONS}/late": 1, f"{ACTIONS}/admitted": -1})  # 14 was in time
    it.drop("late-events", late_of(it, 15))
    it.drop("control", 0)
    it.late(ACTIONS, 15, "after_silence", START + 9 * HOUR + 1)

    assert (place(15), "late-events") in named(it)


def test_where_records_come_in_transactions_the_entrys_own_time_bounds_the_silence():
    """Written in time, seen two hours later: the record's own time says nothing of the silence."""
    seen = NIGHT + 2 * HOUR
    for entry_at, is_exact in ((seen, True), (NIGHT, False)):
        it = Ledger()
        it.action("a1", START + 2 * HOUR, BROKER)
        it.interaction("i1", START, BROKER)
        it.put(ACTIONS, key_of(HOME), body_of("a4", START + 3 * HOUR), NIGHT, offset=2)
        it.counts[f"{ACTIONS}/late"] += 1
        it.late(ACTIONS, 2, "after_silence", START + 7 * HOUR, broker=entry_at)
        it.log_ms[ACTIONS] = START + 3 * HOUR
        it.pushed_ms[ACTIONS] = START + 7 * HOUR
        it.note(seen)

        assert (it.audit().differences == []) == is_exact


def test_a_topic_without_records_paces_from_the_tasks_first():
    for pushed, is_exact in ((START + 4 * HOUR - 10_000, True), (START + 5 * HOUR, False)):
        it = Ledger()
        it.action("a1", START, BROKER)
        it.pushed_ms[INTERACTIONS] = pushed
        it.note(NIGHT)

        found = named(it, note=False)

        assert (found == []) == is_exact, found


def test_a_note_that_lets_time_run_ahead_is_named():
    it = honest()
    it.pushed_ms[INTERACTIONS] = START + 10 * HOUR + 1

    assert named(it) == [(f"{INTERACTIONS}[0], time moved by silence or clock", "changelog")]


def test_a_note_with_another_greatest_time_is_named():
    it = honest()
    it.log_ms[ACTIONS] += 1

    assert named(it) == [(f"{ACTIONS}[0], greatest time seen", "changelog")]


# ---- dead letters --------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"key": b"k"}, {"value": b"v"}, {"headers": []}])
def test_a_letter_with_other_bytes_is_named(changes):
    it = honest()
    it.drop("dead-letters", letter_of(it, 6))
    it.letter(ACTIONS, 6, "json_invalid", **changes)

    assert named(it) == [(place(6), "dead-letters")]


@pytest.mark.parametrize("pointer", [b"agent-actions/0/6", b"agent-actions/0/14"])
def test_a_pointer_stands_for_an_oversize_record_alone_and_names_its_place(pointer):
    offset = 6 if pointer.endswith(b"6") else 13
    it = honest()
    it.drop("dead-letters", letter_of(it, offset))
    headers = [("trueup.pointer", pointer)]
    it.letter(ACTIONS, offset, "json_invalid", value=b"", headers=headers)

    assert named(it) == [(place(offset), "dead-letters")]


@pytest.mark.parametrize("offset", range(6, 14))
def test_a_letter_with_a_reason_that_is_not_the_records_is_named(offset):
    it = honest()
    letter = it.logs["dead-letters"][letter_of(it, offset)]
    it.drop("dead-letters", letter_of(it, offset))
    others = [(name, value) for name, value in letter.headers if "class.name" not in name]
    others.append((f"{ERRORS}exception.class.name", b"nul"))
    it.put("dead-letters", letter.key, letter.value, letter.timestamp, others)

    assert named(it) == [(place(offset), "dead-letters")]


@pytest.mark.parametrize("offset", [2, 3, *range(6, 14)])
def test_a_record_that_must_be_refused_and_has_no_letter_is_named(offset):
    it = honest()
    it.drop("dead-letters", letter_of(it, offset))

    assert named(it) == [(place(offset), "dead-letters")]


@pytest.mark.parametrize(
    "reason",
    ["json_invalid", "missing", "time", "key", "no_key", "nul", "metadata", "wrong_partition",
     "future", "unknown_action_type", "unknown_outcome_type", "conflict", "conversation_full"],
)  # fmt: skip
def test_a_letter_for_a_record_that_is_good_is_named(reason):
    it = honest()
    it.letter(ACTIONS, 4, reason)

    assert named(it) == [
        (place(4), "dead-letters"),
        (f"{ACTIONS}[0], admitted", "changelog"),
        (f"{ACTIONS}[0], dead letters", "changelog"),
    ]


def test_ten_minutes_ahead_is_not_the_future():
    it = Ledger()
    at = BROKER + 10 * MINUTE
    it.action("a1", at, BROKER, "dead")
    it.log_ms[ACTIONS] = BROKER
    it.letter(ACTIONS, 0, "future")
    it.note(BROKER)

    assert named(it, note=False) == [(place(0), "dead-letters")]


def test_a_letter_for_a_copy_is_named():
    it = honest()
    it.letter(ACTIONS, 1, "conflict")

    assert (place(1), "dead-letters") in named(it)


def test_a_letter_for_what_nobody_listens_to_is_named():
    it = honest()
    it.letter(INTERACTIONS, 1, "conflict")

    assert (place(1, INTERACTIONS), "dead-letters") in named(it)


def test_an_id_that_was_forgotten_is_in_no_conflict():
    it = Ledger()
    it.action("a1", START, BROKER)
    it.action("a2", START + HOUR, BROKER + 1)
    it.action("a1", START + HOUR, BROKER + 2, "dead", action_id="other")
    it.letter(ACTIONS, 2, "conflict")
    it.note(BROKER + 3)

    assert named(it, note=False) == [(place(2), "dead-letters")]


def test_an_action_that_was_forgotten_is_no_rival():
    it = Ledger()
    it.action("a1", START, BROKER)
    it.interaction("i1", START + 100 * HOUR, BROKER)
    it.action("a2", START + 100 * HOUR, BROKER + 1)
    it.note(BROKER + 2)
    it.action("a3", START + 100 * HOUR, BROKER + 3, "dead", action_id="a1")
    it.letter(ACTIONS, 2, "conflict")
    it.note(BROKER + 4)

    assert named(it, note=False) == [(place(2), "dead-letters")]


def test_two_letters_for_one_record_are_named():
    it = honest()
    it.letter(ACTIONS, 6, "json_invalid")

    assert named(it) == [(place(6), "dead-letters")]


def test_a_letter_for_a_record_that_is_not_there_is_named():
    it = honest()
    it.letter(ACTIONS, 6, "json_invalid", place={"offset": "99"})

    assert named(it) == [(place(99), "dead-letters")]


@pytest.mark.parametrize("told", [{"offset": "six"}, {"partition": ""}])
def test_a_letter_that_cannot_be_read_is_named(told):
    it = honest()
    it.letter(ACTIONS, 6, "json_invalid", place=told)

    assert len(named(it)) == 1


def test_a_record_is_not_both_late_and_dead():
    it = honest()
    it.letter(ACTIONS, 5, "conflict")

    assert named(it) == [(place(5), "late-events")]


def test_a_broken_record_is_not_late():
    it = honest()
    it.drop("dead-letters", letter_of(it, 9))
    it.late(ACTIONS, 9, "behind", START + 2 * HOUR)

    assert (place(9), "late-events") in named(it)


def test_a_late_record_is_not_in_conflict():
    it = honest()
    it.drop("late-events", late_of(it, 5))
    it.letter(ACTIONS, 5, "conflict")

    assert (place(5), "late-events") in named(it)


def test_a_good_clock_record_has_no_letter_and_a_bad_one_has():
    it = honest()
    it.letter("control", 0, "missing")
    it.drop("dead-letters", letter_of(it, 1, "control"))

    found = named(it)

    assert (place(0, "control"), "dead-letters") in found
    assert (place(1, "control"), "dead-letters") in found


# ---- a full conversation -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd():
    """Ten thousand open actions of one conversation, less one."""
    it = Ledger()
    for number in range(9_999):
        it.action(f"a{number}", START, BROKER)
    return it


def more(crowd, count):
    it = Ledger()
    it.logs = {topic: list(log) for topic, log in crowd.logs.items()}
    it.counts, it.log_ms = crowd.counts.copy(), dict(crowd.log_ms)
    for number in range(count):
        it.action(f"b{number}", START, BROKER)
    return it


def test_ten_thousand_open_actions_fill_a_conversation(crowd):
    it = more(crowd, 1)
    it.action("c", START, BROKER, "dead")
    it.letter(ACTIONS, 10_000, "conversation_full")

    assert named(it) == []


def test_a_conversation_with_room_is_not_full(crowd):
    it = more(crowd, 0)
    it.action("c", START, BROKER, "dead")
    it.letter(ACTIONS, 9_999, "conversation_full")

    assert named(it) == [(place(9_999), "dead-letters")]


def test_an_action_beyond_ten_thousand_is_refused(crowd):
    it = more(crowd, 2)

    assert (place(10_000), "dead-letters") in named(it)


def test_interactions_that_were_forgotten_leave_room():
    """They are held until the actions' time is past their own and the grace, here by an hour."""
    for actions_at, is_exact in ((START, True), (START + 2 * HOUR, False)):
        it = Ledger()
        it.action("a1", actions_at, BROKER)
        for number in range(10_000):
            it.interaction(f"i{number}", START, BROKER)
        it.note(BROKER + 1)
        it.interaction("j", START, BROKER + 2, "dead")
        it.letter(INTERACTIONS, 10_000, "conversation_full")

        assert named(it) == ([] if is_exact else [(place(10_000, INTERACTIONS), "dead-letters")])


# ---- the worker's own counts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "name"),
    [("admitted", "admitted"), ("ignored", "ignored"), ("duplicate", "duplicates"),
     ("late", "late"), ("dead", "dead letters")],
)  # fmt: skip
def test_a_count_of_the_workers_that_is_not_ours_is_named(member, name):
    it = honest()
    it.counts[f"{INTERACTIONS}/{member}"] += 1

    assert named(it) == [(f"{INTERACTIONS}[0], {name}", "changelog")]


@pytest.mark.parametrize(("is_rebuilt", "differences"), [(True, 0), (False, 1)])
def test_what_was_noted_before_a_rebuild_is_no_claim_of_the_rebuilt_task(is_rebuilt, differences):
    it = Ledger()
    it.action("a1", START, BROKER)
    it.pushed_ms[ACTIONS] = START + HOUR
    it.note(NIGHT)
    it.pushed_ms[ACTIONS] = START + HOUR // 2

    it.note(NIGHT + 1, begins=1 if is_rebuilt else 0)

    assert len(it.audit().differences) == differences

"""The law, rule by rule: F's eight and admission's three, each told in a small story.

`tests/property` holds the same law against a slow oracle on random logs; here a reader sees what
each rule means.
"""

from datetime import UTC, datetime

import pytest

from agents_topics.policy_file import parse_policy
from tables.outcome_resolver import HELD_PER_CONVERSATION_MAX
from tests.resolver_task import ACTIONS, HOUR, INTERACTIONS, START, Task, action, law_of, stage

RULE = """
[[version]]
[[version.action_types.send]]
type = "reply"
calibrates = true
window_hours = 24
label_window_hours = 48
attribution = "{attribution}"
signals = [
  {{ kind = "reply", means = "positive" }},
  {{ kind = "bounce", means = "negative" }},
  {{ kind = "doubt", means = "ambiguous" }},
]
[[version.action_types.send]]
type = "deal"
window_hours = 48
signals = [{{ kind = "won", means = "positive" }}]
"""


def task_with(attribution="all"):
    return Task(parse_policy(RULE.format(attribution=attribution)))


def send(hours, **fields):
    return ACTIONS, hours, {"action_type": "send", "predicted_confidence": 0.5} | fields


def did(hours, kind, **fields):
    return INTERACTIONS, hours, {"kind": kind} | fields


def label(hours, verdict, **fields):
    return did(hours, "human_label", action_id="a", label=verdict, **fields)


def replies_of(*records, attribution="all"):
    """The settled outcomes of type `reply` by action_id."""
    task = task_with(attribution)
    task.step(*records)
    return {o.action_id: o for o in task.settle() if o.outcome_type == "reply"}


def reply_of(*records):
    return replies_of(send(0, action_id="a"), *records)["a"]


# ---- F -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "status"),
    [(0, "positive"), (24 - 1 / 3_600_000, "positive"), (24, "expired"), (-0.5, "expired")],
)
def test_rule_1_the_window_is_from_the_action_on_up_to_its_end_and_not_the_end(hours, status):
    assert reply_of(did(hours, "reply")).status == status


def test_rule_2_a_label_decides_over_every_signal():
    found = reply_of(did(1, "reply"), label(30, "negative", event_id="seen"))

    assert (found.status, found.signal_source, found.decided_by) == (
        "negative", "human_label", "seen",
    )  # fmt: skip
    assert (found.score, found.resolved_at_ms) == (0.0, START + 30 * HOUR)


@pytest.mark.parametrize(("hours", "status"), [(47.9, "negative"), (48, "expired")])
def test_rule_2_a_label_counts_until_the_longer_of_window_and_label_window_ends(hours, status):
    assert reply_of(label(hours, "negative")).status == status


def test_rule_2_of_several_labels_the_latest_counts_and_of_equals_the_greatest_event_id():
    earlier, later = label(3, "negative"), label(4, "ambiguous", event_id="m")
    equal = label(4, "positive", event_id="n", metadata={"score": 0.8, "reviewer": "kim"})

    found = reply_of(later, equal, earlier)

    assert (found.status, found.score, found.decided_by) == ("positive", 0.8, "n")


def test_rule_2_a_label_names_its_action_and_settles_every_outcome_of_it_that_is_open():
    task = task_with()
    task.step(send(0, action_id="a"), send(0, action_id="b"), label(1, "positive"))
    found = {(o.action_id, o.outcome_type): o.status for o in task.settle()}

    assert found == {
        ("a", "reply"): "positive", ("a", "deal"): "positive",
        ("b", "reply"): "expired", ("b", "deal"): "expired",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("own", "others", "status"),
    [
        ("discovery", "evaluation", "positive"),
        ("discovery", "discovery", "expired"),
        ("evaluation", "discovery", "expired"),
        ("discovery", "closed_lost", "negative"),
        ("discovery", "stalled", "negative"),
        (None, "evaluation", "expired"),
        ("stalled", "evaluation", "expired"),
        ("discovery", None, "expired"),
        (None, "closed_lost", "negative"),
    ],
)
def test_rule_3_signals_compare_fields_of_the_two_events(own, others, status):
    task = Task()
    task.step(action(0, deal_stage=own), stage(1, others))

    assert [o.status for o in task.settle()] == [status]


@pytest.mark.parametrize(
    ("own", "others", "status"),
    [(1, 2, "positive"), (2, 2, "expired"), (None, 2, "expired"), (1, None, "expired")],
)
def test_rule_3_any_listened_kind_with_a_higher_count_is_a_signal(own, others, status):
    task = Task()
    sent = action(0, action_type="send_email", interaction_count=own)
    task.step(sent, did(1, "meeting_held", interaction_count=others))

    assert [o.status for o in task.settle()] == [status]


def test_rule_4_an_interaction_with_an_action_id_concerns_that_action_alone():
    both = [send(0, action_id="a"), send(0, action_id="b")]

    named, unnamed = replies_of(*both, did(1, "reply", action_id="b")), replies_of(
        *both, did(1, "reply")
    )  # fmt: skip

    assert {name: o.status for name, o in named.items()} == {"a": "expired", "b": "positive"}
    assert {name: o.status for name, o in unnamed.items()} == {"a": "positive", "b": "positive"}


@pytest.mark.parametrize(
    ("attribution", "positive"), [("all", {"a", "b", "c"}), ("last", {"c"}), ("direct", set())]
)
def test_rule_5_attribution_says_for_which_actions_of_the_conversation(attribution, positive):
    sent = [send(0, action_id="a"), send(2, action_id="c"), send(1.5, action_id="b")]

    found = replies_of(*sent, did(3, "reply"), attribution=attribution)

    assert {name for name, o in found.items() if o.status == "positive"} == positive


def test_rule_5_the_last_is_one_whose_window_contains_it_resolved_or_not():
    sent = [send(0, action_id="a"), send(2, action_id="b"), send(5, action_id="later")]

    found = replies_of(*sent, did(3, "bounce"), did(4, "reply"), attribution="last")

    assert {name: o.status for name, o in found.items()} == {
        "a": "expired", "b": "negative", "later": "expired",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        (["reply", "reply"], "positive"),
        (["bounce"], "negative"),
        (["reply", "bounce"], "ambiguous"),
        (["doubt"], "ambiguous"),
        (["doubt", "reply"], "ambiguous"),
    ],
)
def test_rule_6_the_earliest_time_decides_and_there_the_smallest_event_id(kinds, status):
    earliest = [did(1, kind, event_id=f"e-{n}") for n, kind in enumerate(kinds)]
    later = did(1.5, "bounce" if status == "positive" else "reply", event_id="a-first-id")

    found = reply_of(later, *reversed(earliest))

    assert (found.status, found.decided_by) == (status, "e-0")
    assert found.resolved_at_ms == START + HOUR


def test_rule_7_what_nothing_decides_expires_at_the_windows_end():
    found = reply_of(did(1, "opened"))

    assert (found.status, found.score, found.decided_by) == ("expired", None, None)
    assert (found.signal_source, found.known_at_ms) == ("automatic", None)
    assert found.resolved_at_ms == START + 24 * HOUR
    assert found.settled_at_ms == START + 48 * HOUR


@pytest.mark.parametrize(
    ("own", "signals", "status", "score"),
    [
        ("prospecting", ["closed_won"], "positive", 1.0),
        ("prospecting", ["discovery", "evaluation"], "positive", 3 / 5),
        ("negotiation", ["closed_won"], "positive", 1.0),
        ("qualification", ["evaluation", "closed_lost"], "positive", 1 / 3),
        ("qualification", ["closed_lost", "closed_won"], "negative", 0.0),
    ],
)
def test_rule_8_a_deals_score_is_how_far_it_came(own, signals, status, score):
    task = Task()
    told = [stage(hours, name) for hours, name in enumerate(signals, 1)]
    task.step(action(0, deal_stage=own), *told)
    (found,) = task.settle()

    assert (found.status, found.score) == (status, score)


@pytest.mark.parametrize(
    ("kind", "score"), [("reply", 1.0), ("bounce", 0.0), ("doubt", None), ("opened", None)]
)
def test_rule_8_other_scores_are_1_and_0_and_none(kind, score):
    assert reply_of(did(1, kind)).score == score


# ---- revisions ---------------------------------------------------------------------------------


def test_an_action_is_said_at_once_and_again_at_every_change_and_settled_once():
    task = task_with()
    steps = [
        [send(0, action_id="a")],
        [did(5, "reply")],
        [did(4.5, "bounce")],
        [did(4.2, "opened")],
        [label(6, "positive")],
    ]
    said = [o for records in steps for o in task.step(*records).outcomes]
    said += task.settle()
    replies = [o for o in said if o.outcome_type == "reply"]

    assert [(o.revision, o.status, o.is_settled) for o in replies] == [
        (0, "pending", False), (1, "positive", False), (2, "negative", False),
        (3, "positive", False), (4, "positive", True),
    ]  # fmt: skip


def test_a_verdict_may_move_back_to_pending():
    task = task_with("last")
    task.step(send(0, action_id="a"), did(1.5, "reply"))
    said = task.step(send(1, action_id="b")).outcomes

    assert {(o.action_id, o.status) for o in said if o.outcome_type == "reply"} == {
        ("a", "pending"), ("b", "positive"),
    }  # fmt: skip


# ---- admission ---------------------------------------------------------------------------------


def test_step_1_what_is_ahead_of_the_brokers_clock_is_refused_and_moves_no_time():
    task = task_with()
    task.broker_ms = START + HOUR
    edge = 1 + 10 / 60
    step = task.step(send(edge, event_id="in"), send(edge + 1 / HOUR, event_id="out"))

    assert [one.reason for one in step.refused] == ["future"]
    assert task.resolver.times.topics[ACTIONS].log_ms == START + HOUR
    assert task.resolver.counts[ACTIONS, "admitted"] == 1


@pytest.mark.parametrize(
    ("year", "fate"), [(1970, "late"), (9999, "future")], ids=["long ago", "far ahead"]
)
def test_a_producer_whose_clock_is_wrong_moves_nobody_elses_windows(year, fate):
    hours = (datetime(year, 1, 2, tzinfo=UTC).timestamp() * 1000 - START) / HOUR
    others = [send(0, action_id="a"), did(1, "reply"), send(2, conversation_id="d")]
    wrong = [send(hours, event_id="w", conversation_id="e"), did(hours, "reply", event_id="v")]
    alone, beside = task_with(), task_with()

    alone.step(*others)
    step = beside.step(*others, *wrong)

    found = [one.reason for one in step.refused] + ["late" for _ in step.late]
    assert found == [fate, fate]
    assert beside.resolver.times.topics == alone.resolver.times.topics
    assert [law_of(o) for o in beside.settle()] == [law_of(o) for o in alone.settle()]


def test_step_2_late_is_what_lies_a_grace_behind_its_own_topic_alone():
    task = task_with()
    step = task.step(
        did(10, "opened"), send(0, event_id="other-topic"),
        did(9 + 1 / HOUR, "reply", event_id="in"), did(9, "reply", event_id="late"),
    )  # fmt: skip

    assert [(late.event_id, late.reason, late.compared_ms) for late in step.late] == [
        ("late", "behind", START + 10 * HOUR)
    ]


def test_step_2_what_is_ignored_a_copy_or_late_moves_the_topics_time_too():
    task = task_with()
    task.step(did(0, "reply", event_id="a"), did(5, "opened"))
    step = task.step(did(4, "reply", event_id="b"))

    assert [late.event_id for late in step.late] == ["b"]


def test_step_3_a_copy_is_a_duplicate_and_another_body_a_conflict_and_the_first_wins():
    task = task_with()
    first = did(1, "reply", event_id="e")
    step = task.step(send(0, action_id="a"), first, first, did(1, "bounce", event_id="e"))
    statuses = {o.outcome_type: o.status for o in task.settle()}

    assert [one.reason for one in step.refused] == ["conflict"]
    assert task.resolver.counts[INTERACTIONS, "duplicate"] == 1
    assert statuses["reply"] == "positive"


def test_step_3_two_different_actions_with_one_action_id_are_a_conflict():
    step = task_with().step(send(0, action_id="a"), send(0.5, action_id="a"))

    assert [one.reason for one in step.refused] == ["conflict"]


def test_step_3_a_kind_that_nobody_listens_to_leaves_no_id():
    task = task_with()
    opened = did(1, "opened", event_id="e")
    task.step(opened, opened, did(1, "reply", event_id="e"))

    assert {name: task.resolver.counts[INTERACTIONS, name] for name in ("ignored", "admitted")} == {
        "ignored": 2,
        "admitted": 1,
    }


def test_last_a_conversation_that_is_full_takes_no_more():
    task = task_with()
    full = [send(0, event_id=f"a{n}") for n in range(HELD_PER_CONVERSATION_MAX)]
    step = task.step(*full, send(0, event_id="more"), send(0, event_id="x", conversation_id="d"))

    assert [one.reason for one in step.refused] == ["conversation_full"]
    assert task.resolver.counts[ACTIONS, "admitted"] == HELD_PER_CONVERSATION_MAX + 1


# ---- the late reply ----------------------------------------------------------------------------

LATE_REPLY = did(23, "reply", event_id="late-reply")


def a_day_with_silence(clock):
    """An action at 00:00 with 24 h; the interactions silent from 05:00 on; an action at 06:00 of
    the next day; then the reply of 23:00. The broker's clock runs along.
    """
    plain = RULE.format(attribution="all").replace("label_window_hours = 48\n", "")
    task = Task(parse_policy(plain))
    task.broker_ms = START
    task.step(send(0, action_id="a"))
    task.broker_ms = START + 5 * HOUR
    task.step(did(5, "opened"))
    task.broker_ms = START + 30 * HOUR
    clock(task.resolver.times)
    said = task.step(send(30, action_id="b")).outcomes
    late = task.step(LATE_REPLY).late
    return [o for o in said if o.is_settled], late


def by_silence(times):
    """As the task finds it: nothing came of the interactions since 05:00."""
    times.on_silence([INTERACTIONS], START + 30 * HOUR + 10_000, 10_000)


def by_a_clock_record(times):
    times.on_clock(START + 30 * HOUR, START + 30 * HOUR)


@pytest.mark.parametrize("clock", [by_silence, by_a_clock_record])
def test_the_late_reply_finds_its_action_expired_and_is_one_late_event(clock):
    settled, late = a_day_with_silence(clock)

    assert [(o.action_id, o.outcome_type, o.status) for o in settled] == [("a", "reply", "expired")]
    assert [(e.event_id, e.reason) for e in late] == [("late-reply", "after_silence")]


def test_as_if_on_time_the_late_reply_decides():
    found = replies_of(
        send(0, action_id="a"), did(5, "opened"), LATE_REPLY, send(30, action_id="b")
    )

    assert found["a"].status == "positive"

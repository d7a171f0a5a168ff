"""What a resolver keeps in its changelog is all that it knows: small cases, written out."""

import msgspec
import pytest

from tables.outcome_resolver import SETTLED_PER_STEP_MAX
from tables.stream_times import NEVER_MS
from tests.resolver_task import HOUR, INTERACTIONS, START, Task, action, stage


@pytest.mark.parametrize("is_restarted", [False, True])
def test_an_id_used_again_once_it_was_forgotten_is_another_interaction(is_restarted):
    task = Task()
    task.step(action(0), stage(1, "evaluation", event_id="i"))
    task.step(stage(10, "discovery"))
    task.step(stage(11, "closed_lost", event_id="i"))
    if is_restarted:
        task.restart()

    (outcome,) = task.settle()

    assert (outcome.status, outcome.resolved_at_ms) == ("positive", START + HOUR)
    assert not task.rows


def test_what_settles_at_once_is_said_in_bounded_steps_and_promised_no_sooner():
    task = Task()
    count = 2 * SETTLED_PER_STEP_MAX + 5
    for part in range(0, count, 1_000):
        ids = range(part, min(part + 1_000, count))
        task.step(*(action(0, event_id=f"a{n}", conversation_id=f"c{n}") for n in ids))
    task.step(stage(1, "evaluation", event_id="i", conversation_id=f"c{count - 1}"))
    task.resolver.times.on_clock(START + 9_000 * HOUR, START)
    settled = []
    while task.resolver.is_settling:
        outcomes = [outcome for outcome in task.finish().outcomes if outcome.is_settled]
        assert len(outcomes) <= SETTLED_PER_STEP_MAX
        settled += outcomes
        if task.resolver.is_settling:
            assert task.resolver.settled_ms < settled[0].settled_at_ms
            task.restart()

    assert len({outcome.id for outcome in settled}) == len(settled) == count
    assert sum(outcome.status == "positive" for outcome in settled) == 1
    assert all(outcome.is_lead for outcome in settled)
    assert task.resolver.settled_ms == START + 8_999 * HOUR
    assert not task.rows


def test_no_row_of_the_changelog_grows_with_what_a_step_holds():
    task = Task()
    ids = range(12_000)
    task.step(*(action(0, event_id=f"a{n:0100}"[-100:], conversation_id=f"c{n}") for n in ids))
    sizes = [len(row) for row in task.rows.values()]
    task.resolver.times.on_clock(START + 722 * HOUR, START)
    task.finish()
    sizes += [len(row) for row in task.rows.values()]

    assert len(task.rows) > 1
    assert max(sizes) < 900_000
    task.restart()
    task.settle()
    assert not task.rows


@pytest.mark.parametrize(
    ("hours", "fields", "unmatched"),
    [
        (2, {}, 0),
        (2, {"action_id": "a"}, 0),
        (2, {"action_id": "other"}, 1),
        (2, {"kind": "human_label", "label": "positive", "action_id": "a"}, 0),
        (721, {"kind": "human_label", "label": "positive", "action_id": "a"}, 1),
        (-1, {}, 1),
    ],
)
@pytest.mark.parametrize("is_first", [False, True])
def test_what_can_concern_no_action_is_counted_unmatched(hours, fields, unmatched, is_first):
    told = {"kind": "stage_changed", "deal_stage": "evaluation"} | fields
    records = [action(0, action_id="a"), (INTERACTIONS, hours, told)]
    task = Task()
    for record in reversed(records) if is_first else records:
        task.step(record)
    task.settle()

    assert task.resolver.counts["interactions", "unmatched"] == unmatched


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_word_for_a_confidence_is_kept_until_the_outcome_settles(is_restarted):
    task = Task()
    task.step(action(0, action_id="a", predicted_confidence=None, confidence_label="high"))
    task.step(action(1, action_id="b", confidence_label="low"))
    if is_restarted:
        task.restart()

    settled = {o.action_id: (o.predicted_confidence, o.confidence_label) for o in task.settle()}

    assert settled == {"a": (None, "high"), "b": (0.5, "low")}


def test_an_open_action_that_an_earlier_release_has_logged_is_taken_up():
    task = Task()
    task.step(action(0, action_id="a"))
    ((key, row),) = [(key, row) for key, row in task.rows.items() if key.startswith(b"a/")]
    *fields, label, outcomes = msgspec.msgpack.decode(row)
    assert label is None
    task.rows[key] = msgspec.msgpack.encode([*fields, outcomes])
    task.restart()

    (outcome,) = task.settle()

    assert (outcome.predicted_confidence, outcome.confidence_label) == (0.5, None)


@pytest.mark.parametrize("channel", [None, "mail"])
def test_a_channel_is_kept_with_the_action_and_without_one_the_row_is_as_ever(channel):
    task = Task()
    task.step(action(0, action_id="a", metadata={"a": 1}, channel=channel))
    (row,) = [row for key, row in task.rows.items() if key.startswith(b"a/")]
    passed_on = msgspec.msgpack.decode(row)[9]
    task.restart()

    (outcome,) = task.settle()

    assert passed_on == [None] * 6 + [{"a": 1}, *([channel] if channel else [])]
    assert (outcome.metadata, outcome.channel) == ({"a": 1}, channel)


def test_a_word_that_the_version_of_the_actions_time_does_not_know_is_refused_and_moves_no_time():
    task = Task()
    stated = {"predicted_confidence": None, "confidence_label": "certain"}

    (refused,) = task.step(action(5, **stated)).refused

    assert refused.reason == "unknown_confidence_label"
    assert "'certain'" in refused.detail
    assert task.resolver.times.first_ms == NEVER_MS

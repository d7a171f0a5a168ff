"""Each joined topic has a grace of its own, and a state belongs to the graces it was made with."""

from types import SimpleNamespace

import pytest

from agents_topics.policy_file import load_policy
from agents_topics.topics import TOPICS
from streams.changelog import StateProblem
from streams.resolve_outcomes import ResolverSettings, ResolverWork
from tables.outcome_resolver import ACTIONS, INTERACTIONS, OutcomeResolver
from tests.ledger import BROKER, Ledger
from tests.resolver_task import HOUR, START, Task, action, stage
from trueup.explain_story import due_in_words

SHORT_AND_LONG = {ACTIONS: HOUR, INTERACTIONS: 3 * HOUR}


def task_with(grace_ms):
    task = Task()
    task.resolver = OutcomeResolver(0, task.policy, grace_ms)
    return task


def work_with(grace_ms):
    tools = SimpleNamespace(names={t.name: t.name for t in TOPICS}, partition_count=4)
    return ResolverWork(0, tools, ResolverSettings(load_policy(None), grace_ms, 10_000))


@pytest.mark.parametrize(("hours", "is_late"), [(8.5, False), (7.5, False), (6.99, True)])
def test_an_interaction_is_late_by_the_grace_of_its_own_topic(hours, is_late):
    task = task_with(SHORT_AND_LONG)
    task.step(action(0), stage(10, "discovery"), action(10))

    late = task.step(stage(hours, "evaluation")).late

    assert [entry.grace_ms for entry in late] == [3 * HOUR] * is_late


def test_an_action_is_late_by_the_grace_of_its_own_topic():
    task = task_with(SHORT_AND_LONG)
    task.step(action(10), stage(10, "discovery"))

    (late,) = task.step(action(8.5)).late

    assert (late.topic, late.grace_ms) == (ACTIONS, HOUR)


def test_everything_is_settled_when_each_topic_is_past_its_own_grace():
    task = task_with(SHORT_AND_LONG)
    task.step(action(10), stage(11, "discovery"))

    assert task.resolver.settled_ms == START + 8 * HOUR
    task.step(stage(20, "discovery"))
    assert task.resolver.settled_ms == START + 9 * HOUR


def test_a_state_is_taken_up_by_the_graces_that_it_was_made_with():
    work_with(SHORT_AND_LONG).begin(work_with(SHORT_AND_LONG)._progress())


def test_a_state_of_an_earlier_release_names_no_grace_and_is_taken_up():
    progress = work_with(SHORT_AND_LONG)._progress()
    progress.grace_ms = {}
    work = work_with(SHORT_AND_LONG)

    work.begin(progress)

    assert work._progress().grace_ms == SHORT_AND_LONG


@pytest.mark.parametrize("other_ms", [HOUR // 2, 2 * HOUR])
def test_a_state_is_refused_under_another_grace_with_the_one_to_set(other_ms):
    progress = work_with(SHORT_AND_LONG)._progress()

    with pytest.raises(StateProblem, match="set TRUEUP_GRACE_S_AGENT_ACTIONS to 3600, or"):
        work_with(SHORT_AND_LONG | {ACTIONS: other_ms}).begin(progress)


def test_what_is_awaited_is_told_of_each_topic_where_graces_differ():
    one = due_in_words(0, {ACTIONS: HOUR, INTERACTIONS: HOUR})
    two = due_in_words(0, SHORT_AND_LONG)

    assert one.startswith("the times of both topics have passed 1970-01-01 01:00")
    assert two.startswith("the time of agent-actions has passed 1970-01-01 01:00")
    assert "and the time of agent-interactions has passed 1970-01-01 03:00" in two


def test_the_audit_names_a_grace_that_is_not_the_workers():
    it = Ledger()
    it.action("a1", START, BROKER)
    it.note(BROKER + 1, grace_ms=SHORT_AND_LONG)

    assert it.audit(grace_ms=SHORT_AND_LONG).differences == []
    (found,) = it.audit(grace_ms=SHORT_AND_LONG | {INTERACTIONS: HOUR}).differences
    assert (found.what, found.expected, found.found) == (
        "agent-interactions[0], grace", str(HOUR), str(3 * HOUR),
    )  # fmt: skip

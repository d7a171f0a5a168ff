"""A policy file may grow at its end, and nothing that was judged before changes by it."""

from types import SimpleNamespace

import pytest

from agents_topics.policy import PolicyProblem
from agents_topics.policy_file import parse_policy
from agents_topics.topics import TOPICS
from streams.changelog import StateProblem
from streams.resolve_outcomes import ResolverSettings, ResolverWork
from tables.outcome_resolver import ACTIONS, INTERACTIONS
from tests.no_such_day import no_such_day
from tests.resolver_task import HOUR, START, Task

GRACE = {ACTIONS: HOUR, INTERACTIONS: HOUR}
RULE = """
[[version.action_types.qualify]]
type = "deal"
calibrates = true
window_hours = 240
signals = [
  { kind = "stage_changed", means = "negative" },
  { kind = "*", when = "count_above", means = "positive" },
]
"""
FIRST = f"[[version]]\n{RULE}"
LATER = FIRST + '\n[[version]]\neffective_from = "2026-02-01T00:00:00Z"\n' + RULE.replace(
    '"stage_changed"', '"call_held"'
)  # fmt: skip
EARLIER = LATER.replace("2026-02-01", "2026-01-06")
"""Effective one day after START."""


def action(hours, **fields):
    told = {"action_type": "qualify", "predicted_confidence": 0.5, "interaction_count": 1}
    return ACTIONS, hours, told | fields


def call(hours):
    return INTERACTIONS, hours, {"kind": "call_held", "interaction_count": 9}


@pytest.mark.parametrize("text", [FIRST, LATER])
def test_a_kind_that_only_a_later_version_names_says_nothing_about_an_earlier_action(text):
    task = Task(parse_policy(text))
    task.step(action(0), call(2))

    (outcome,) = task.settle()

    assert outcome.status == "expired"
    assert task.resolver.counts[INTERACTIONS, "ignored"] == 1


def test_an_earlier_action_is_not_concerned_where_the_later_kind_is_listened_to():
    task = Task(parse_policy(EARLIER))
    task.step(action(0), action(30, action_id="later"), call(31))

    earlier, later = task.settle()

    assert (earlier.status, later.status) == ("expired", "ambiguous")
    assert task.resolver.counts[INTERACTIONS, "admitted"] == 1


def restarted(before, after, hours):
    """Whether a task that went up to a time under one file begins again under another."""
    works = []
    for text in (before, after):
        tools = SimpleNamespace(names={t.name: t.name for t in TOPICS}, partition_count=4)
        works.append(ResolverWork(0, tools, ResolverSettings(parse_policy(text), GRACE, 10_000)))
    for time in works[0].resolver.times.topics.values():
        time.log_ms = START + hours * HOUR
    works[1].begin(works[0]._progress())


@pytest.mark.parametrize(
    ("before", "after"), [(FIRST, FIRST), (FIRST, LATER), (LATER, FIRST), (LATER, LATER)]
)
def test_versions_whose_time_has_not_come_may_come_and_go(before, after):
    restarted(before, after, 48)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (FIRST, EARLIER, "line 12: .* version from 2026-01-06T00:00:00Z on, .* let it begin later"),
        (EARLIER, FIRST, "which the policy file lacks"),
        (FIRST, FIRST.replace("240", "241"), "which the policy file lacks"),
        (EARLIER, EARLIER.replace("01-06", "01-07"), "which the policy file lacks"),
    ],
)
def test_a_change_of_what_was_in_force_is_refused_and_named(before, after, told):
    with pytest.raises(StateProblem, match=told):
        restarted(before, after, 48)


def test_what_is_left_at_its_default_is_not_part_of_a_versions_digest():
    spelt = FIRST.replace(
        "window_hours", 'attribution = "all"\nlabel_window_hours = 0\nwindow_hours'
    )

    assert parse_policy(spelt).versions[0].digest == parse_policy(FIRST).versions[0].digest
    assert parse_policy(FIRST).versions[0].digest == "7f874bc5a8623e15"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LATER.replace("2026-02-01", "2026-02-31"), f"effective_from: {no_such_day(2026, 2, 31)}"),
        (FIRST.replace('"deal"', '"a/b"'), "version.0.action_types.qualify.0.type"),
        (FIRST.replace("types.qualify", 'types."a/b"'), "version.0.action_types.a/b"),
        (FIRST.replace('"deal"', '"a\\u0000b"'), "version.0.action_types.qualify.0.type"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(text, told):
    with pytest.raises(PolicyProblem, match=told):
        parse_policy(text)

"""An outcome is made by position: every field of the contract must get its own value."""

import dataclasses

import msgspec

from agents_topics.events import Outcome
from tests.resolver_task import START, Task, action

CARRIED = {
    "confidence_source": "judge",
    "confidence_label": "high",
    "deal_stage": "discovery",
    "interaction_count": 3,
    "rep_id": "rep",
    "agent_id": "agent",
    "agent_version": "7",
    "model": "model",
    "cost_usd": 0.5,
    "latency_ms": 12.0,
    "metadata": {"a": 1},
    "channel": "mail",
}


def test_an_outcome_says_what_its_action_said_also_after_a_restart():
    task = Task()
    task.step(action(0, event_id="e1", predicted_confidence=0.25, **CARRIED))
    task.restart()

    (outcome,) = task.settle()

    said = msgspec.to_builtins(outcome)
    assert list(said) == [field.name for field in dataclasses.fields(Outcome)]
    assert said == said | CARRIED
    assert (outcome.action_id, outcome.action_type) == ("e1", "qualify")
    assert (outcome.predicted_confidence, outcome.created_at_ms) == (0.25, START)
    assert (outcome.status, outcome.resolved_at_ms) == ("expired", outcome.window_expires_at_ms)
    assert (outcome.revision, outcome.is_settled, outcome.is_lead) == (1, True, True)

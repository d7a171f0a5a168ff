"""What a resolver keeps in its changelog is all that it knows: small cases, written out."""

import json
from dataclasses import dataclass

import msgspec
import pytest

from agents_topics.codec import Decoded, Decoder
from agents_topics.events import Action, Interaction, to_timestamp
from agents_topics.identifiers import key_of
from agents_topics.policy_file import load_policy
from tables.outcome_resolver import SETTLED_PER_STEP_MAX, OutcomeResolver

HOUR = 3_600_000
START = 1_767_571_200_000
TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
ACTIONS, INTERACTIONS = "agent-actions", "agent-interactions"
GRACE = {ACTIONS: HOUR, INTERACTIONS: HOUR}
DECODE = {ACTIONS: Decoder(Action).decode, INTERACTIONS: Decoder(Interaction).decode}


@dataclass(frozen=True)
class Record:
    """What the core needs of a record."""

    offset: int
    timestamp: int


class Task:
    """A resolver with the changelog that its steps have written."""

    def __init__(self, policy=None):
        self.policy = policy or load_policy(None)
        self.resolver = OutcomeResolver(0, self.policy, GRACE)
        self.rows = {}
        self.offset = 0

    def step(self, *records):
        """Records as (topic, hours after the start, fields); returns what was said."""
        for topic, hours, fields in records:
            self.offset += 1
            event = {
                "event_id": f"e{self.offset}",
                "tenant_id": TENANT,
                "conversation_id": "c",
                "occurred_at": to_timestamp(START + int(hours * HOUR)),
                **fields,
            }
            key = key_of(event["tenant_id"], event["conversation_id"]).encode()
            decoded = DECODE[topic](key, json.dumps(event).encode())
            assert isinstance(decoded, Decoded), decoded
            record = Record(self.offset, START + 9_999 * HOUR)
            self.resolver.admit(topic, [record], [decoded])
        return self.finish()

    def finish(self):
        step = self.resolver.finish()
        for key, row in step.changes.items():
            if row is None:
                del self.rows[key]
            else:
                self.rows[key] = msgspec.msgpack.encode(row)
        return step

    def settle(self):
        """Every window closes; returns what has settled, in order."""
        self.resolver.times.on_clock(START + 9_000 * HOUR, START)
        return [outcome for outcome in self.finish().outcomes if outcome.is_settled]

    def restart(self):
        fresh = OutcomeResolver(0, self.policy, GRACE)
        fresh.times = self.resolver.times
        for key, row in self.rows.items():
            fresh.restore(key, msgspec.msgpack.decode(row))
        self.resolver = fresh


def action(hours, **fields):
    told = {"action_type": "qualify", "predicted_confidence": 0.5, "deal_stage": "discovery"}
    return ACTIONS, hours, told | fields


def stage(hours, deal_stage, **fields):
    return INTERACTIONS, hours, {"kind": "stage_changed", "deal_stage": deal_stage} | fields


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
        (2, {"kind": "human_label", "label": "positive"}, 1),
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

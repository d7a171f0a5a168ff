"""A resolver task without Kafka: records in, what is said out, the changelog beside it."""

import json
from dataclasses import dataclass

import msgspec

from agents_topics.codec import Decoded, Decoder
from agents_topics.events import Action, Interaction, to_timestamp
from agents_topics.identifiers import key_of
from agents_topics.policy_file import load_policy
from tables.outcome_resolver import OutcomeResolver

HOUR = 3_600_000
START = 1_767_571_200_000
TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
ACTIONS, INTERACTIONS = "agent-actions", "agent-interactions"
GRACE = {ACTIONS: HOUR, INTERACTIONS: HOUR}
OUTSIDE_THE_LAW = ("known_at_ms", "revision")
DECODE = {ACTIONS: Decoder(Action).decode, INTERACTIONS: Decoder(Interaction).decode}


def law_of(outcome):
    """What two settled records of an outcome must agree in."""
    row = msgspec.structs.asdict(outcome)
    return {name: value for name, value in row.items() if name not in OUTSIDE_THE_LAW}


@dataclass(frozen=True)
class Record:
    """What the core needs of a record."""

    offset: int
    timestamp: int


def decoded(topic, event_id, hours, **fields):
    """An event of the one conversation, or of another that is told, as it is read."""
    event = {
        "event_id": event_id,
        "tenant_id": TENANT,
        "conversation_id": "c",
        "occurred_at": to_timestamp(START + int(hours * HOUR)),
        **fields,
    }
    key = key_of(event["tenant_id"], event["conversation_id"]).encode()
    found = DECODE[topic](key, json.dumps(event).encode())
    assert isinstance(found, Decoded), found
    return found


class Task:
    """A resolver with the changelog that its steps have written."""

    def __init__(self, policy=None):
        self.policy = policy or load_policy(None)
        self.resolver = OutcomeResolver(0, self.policy, GRACE)
        self.rows = {}
        self.offset = 0
        self.broker_ms = START + 9_999 * HOUR

    def step(self, *records):
        """Records as (topic, hours after the start, fields); returns what was said."""
        for topic, hours, fields in records:
            self.offset += 1
            event = decoded(topic, **{"event_id": f"e{self.offset}", "hours": hours} | fields)
            record = Record(self.offset, self.broker_ms)
            self.resolver.admit(topic, [record], [event])
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

"""Input records and what a worker claims of them, in memory, for the audit to judge."""

import json
from collections import Counter, defaultdict

import msgspec
from aiokafka import ConsumerRecord

from agents_topics.events import to_ms, to_timestamp
from agents_topics.policy_file import load_policy
from trueup.audit.admission import classify
from trueup.audit.forgetting import read_lives
from trueup.audit.progress import NEVER_MS, notes_of
from trueup.audit.reading import JOINED, Log
from trueup.audit.report import AuditReport
from trueup.audit.rules import Rules

ACTIONS, INTERACTIONS = JOINED
HOUR = 3_600_000
START = 1_767_571_200_000
BROKER = START + 1_000 * HOUR
GRACE = dict.fromkeys(JOINED, HOUR)
IDLE = 10_000
TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
HOME, AWAY = "c2", "c1"
"""Conversations of partition 0 and of partition 1, of two."""
TOPICS = (*JOINED, "control", "late-events", "dead-letters", "forgotten",
          "outcome-resolver-changelog")  # fmt: skip
ERRORS = "__connect.errors."


def key_of(conversation_id):
    return f"{TENANT}/{conversation_id}".encode()


def body_of(event_id, at, conversation_id=HOME, **fields):
    event = {
        "event_id": event_id,
        "tenant_id": TENANT,
        "conversation_id": conversation_id,
        "occurred_at": to_timestamp(at),
        **fields,
    }
    if "kind" not in fields:
        event = {"action_type": "send_email", "predicted_confidence": 0.5, **event}
    return json.dumps(event).encode()


class Ledger:
    """Partition 0 of every topic; `record`, `late`, `letter` and `note` write what they are told.

    A record is told its true class, so that `note` can write the honest times and counts.
    """

    def __init__(self, partition_count=2):
        self.partition_count = partition_count
        self.logs = {topic: [] for topic in TOPICS}
        self.ends = {}
        self.counts = Counter()
        self.log_ms = dict.fromkeys(JOINED, NEVER_MS)
        self.pushed_ms = dict.fromkeys(JOINED, NEVER_MS)

    def put(self, topic, key, value, broker, headers=(), offset=None):
        """Appends a record; returns its offset."""
        log = self.logs[topic]
        if offset is None:
            offset = log[-1].offset + 1 if log else 0
        log.append(
            ConsumerRecord(topic, 0, offset, broker, 1, key, value, None, 0, 0, tuple(headers))
        )
        return offset

    def record(self, topic, value, broker, true_class, at=None, key=None, **options):
        """An input record and its true class; `at` where it moves its topic's time."""
        self.counts[f"{topic}/{true_class}"] += 1
        if at is not None:
            self.log_ms[topic] = max(self.log_ms[topic], min(at, broker))
        return self.put(topic, key_of(HOME) if key is None else key, value, broker, **options)

    def action(self, event_id, at, broker, true_class="admitted", **fields):
        return self.record(ACTIONS, body_of(event_id, at, **fields), broker, true_class, at)

    def interaction(self, event_id, at, broker, true_class="admitted", kind="reply_received"):
        body = body_of(event_id, at, kind=kind)
        return self.record(INTERACTIONS, body, broker, true_class, at)

    def clock(self, until, broker):
        event = {"kind": "clock", "event_id": "t", "until": to_timestamp(until)}
        return self.put("control", None, json.dumps(event).encode(), broker)

    def late(self, topic, offset, reason, compared, /, broker=None, **changes):
        """The ledger's entry of a record."""
        record = next(r for r in self.logs[topic] if r.offset == offset)
        event = json.loads(record.value)
        said = {
            "topic": topic, "partition": 0, "offset": offset, "tenant_id": event["tenant_id"],
            "conversation_id": event["conversation_id"], "event_id": event["event_id"],
            "occurred_at_ms": to_ms(event["occurred_at"]), "reason": reason,
            "compared_ms": compared, "grace_ms": HOUR, **changes,
        }  # fmt: skip
        written = record.timestamp if broker is None else broker
        self.put("late-events", record.key, json.dumps(said).encode(), written)

    def letter(self, topic, offset, reason, key=None, value=None, headers=None, place=None):
        """The dead letter of a record, by default with its bytes and place."""
        record = next(r for r in self.logs[topic] if r.offset == offset)
        told = {
            "topic": topic, "partition": "0", "offset": str(offset), "stage": "outcome-resolver",
            "exception.class.name": reason, "exception.message": "words",
        } | (place or {})  # fmt: skip
        headers = list(record.headers) if headers is None else headers
        headers += [(ERRORS + name, text.encode()) for name, text in told.items()]
        key = record.key if key is None else key
        self.put("dead-letters", key, record.value if value is None else value,
                 record.timestamp, headers)  # fmt: skip

    def note(self, written, **changes):
        """What the task notes once everything so far is applied."""
        row = {
            "offsets": {
                topic: self.logs[topic][-1].offset + 1
                for topic in (*JOINED, "control")
                if self.logs[topic]
            },
            "times": {topic: [self.log_ms[topic], self.pushed_ms[topic], 0, 0] for topic in JOINED},
            "counts": dict(self.counts),
            **changes,
        }
        self.put("outcome-resolver-changelog", b"p", msgspec.msgpack.encode(row), written)

    def drop(self, topic, index):
        """Takes one record out of a topic of claims or clocks, leaving the places of others."""
        del self.logs[topic][index]

    def audit(self, policy=None, grace_ms=GRACE):
        """The differences, each as (what, where, expected, found); and the report."""
        logs = defaultdict(dict)
        for topic, records in self.logs.items():
            end = self.ends.get(topic, records[-1].offset + 1 if records else 0)
            logs[topic] = {0: Log(records, end)}
        report = AuditReport()
        rules = Rules(policy or load_policy(None), grace_ms, IDLE, self.partition_count)
        lives = read_lives(logs["forgotten"], report)
        classify(logs, notes_of(logs["outcome-resolver-changelog"]), lives, rules, report)
        return report

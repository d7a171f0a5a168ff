"""What is sent, with its truth: small stories, each in a conversation of its own.

The law: whatever becomes of a story does not depend on the other ones, nor on when anything is
fetched or applied. A phase's events lie within a quarter of an hour of its time, so with a grace of
an hour no pace of a silent topic makes them late; and each phase begins with records that put the
time of both topics of every partition there, so that what is to be late is late. So any story
may be left out, and the truth of the others stands.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace

from agents_topics.events import to_timestamp
from agents_topics.identifiers import key_of, tenant_id_of
from agents_topics.policy_file import parse_policy
from streams.partitioner import partitions_of

HOUR = 3_600_000
MINUTE = 60_000
START = 1_767_571_200_000
BROKER_START = START + 2_000 * HOUR
PARTITIONS = 2
ACTIONS, INTERACTIONS, CONTROL = "agent-actions", "agent-interactions", "control"
TENANTS = tuple(tenant_id_of(name) for name in ("acme", "globex"))
POLICY = parse_policy(
    """
[[version]]
[[version.action_types.mail]]
type = "reply"
calibrates = true
window_hours = 3
label_window_hours = 5
signals = [
  { kind = "reply", means = "positive" },
  { kind = "bounce", means = "negative" },
]
[[version.action_types.mail]]
type = "deal"
window_hours = 6
score = "stages"
attribution = "last"
signals = [{ kind = "stage", when = "stage_above", means = "positive" }]
[[version.action_types.call]]
type = "answer"
calibrates = true
window_hours = 3
attribution = "direct"
confidence_means = "success_given_signal"
signals = [{ kind = "reply", means = "positive" }]
"""
)
OUTCOMES_OF = {"mail": ("reply", "deal"), "call": ("answer",)}


@dataclass(frozen=True)
class Record:
    """What is sent: where to, in which phase, in which order there, and what must become of it.

    `fate`: admitted, ignored, duplicate, late, dead; or `aborted`: it never was.
    """

    topic: str
    partition: int
    phase: int
    key: bytes | None
    value: bytes | None
    fate: str
    rank: float
    transaction: str | None = None

    def __str__(self):
        wrapped = f" in a transaction, {self.transaction}" if self.transaction else ""
        value = (self.value or b"").decode("utf-8", "backslashreplace")
        return f"({self.fate}{wrapped}) {value}"


@dataclass(frozen=True)
class Truth:
    """A settled outcome as its story has it."""

    status: str
    decided_by: str | None = None
    score: float | None = None
    is_lead: bool = True


@dataclass
class Story:
    """Records, and what comes of them: truth by (key, action_id, outcome type).

    `forgotten`: by key the (status, settle time) of what the bins have if it had settled by then.
    """

    name: str
    records: list = field(default_factory=list)
    truth: dict = field(default_factory=dict)
    forgotten: dict = field(default_factory=dict)

    def __str__(self):
        return "\n".join([f"story {self.name}", *(f"  {record}" for record in self.records)])


@dataclass
class Workload:
    """Stories in phases; `jumps` are the phases before which a clock record ends every window.

    `begins` are the stories that put the topics' times to each phase's; they are never left out.
    """

    phases: list
    jumps: set
    begins: list
    stories: list

    def ends_before_ms(self, phase):
        """By this time every window of the phases before has ended; nothing of this one is late."""
        return self.phases[phase - 1] + 40 * HOUR

    def with_stories(self, stories):
        return replace(self, stories=list(stories))

    def sent_in(self, phase):
        """The records of a phase by topic and partition, in the order of their logs."""
        logs = defaultdict(list)
        for record in self.records:
            if record.phase == phase:
                logs[record.topic, record.partition].append(record)
        return {at: sorted(logs[at], key=lambda record: record.rank) for at in sorted(logs)}

    @property
    def _all(self):
        return (*self.begins, *self.stories)

    @property
    def records(self):
        return [record for story in self._all for record in story.records]

    @property
    def truth(self):
        return {name: truth for story in self._all for name, truth in story.truth.items()}

    @property
    def forgotten(self):
        return {key: one for story in self._all for key, one in story.forgotten.items()}


class Writer:
    """Writes one story: its events in its conversation, each with its fate."""

    def __init__(self, random, name, partition, phases, jumps):
        self.story = Story(name)
        self.partition = partition
        self.random = random
        self.tenant = random.choice(TENANTS)
        self.conversation = _conversation(random, self.tenant, name, partition)
        self.key = key_of(self.tenant, self.conversation)
        self._phases, self._jumps, self._count = phases, jumps, 0

    def at(self, phase, minutes=None):
        """A time in a phase."""
        draw = self.random.uniform(-15, 15) if minutes is None else minutes
        return self._phases[phase] + int(draw * MINUTE)

    def has(self, phase):
        """Whether there is such a phase."""
        return phase < len(self._phases)

    def forget(self, phase, status, settled_at_ms):
        """The conversation is forgotten; of a mail that had a status the bins may know."""
        said = {"kind": "forget", "event_id": f"{self.story.name}.forget",
                "tenant_id": self.tenant, "conversation_id": self.conversation}  # fmt: skip
        self.send(CONTROL, phase, said)
        self.story.forgotten[self.key] = (status, settled_at_ms)

    def has_jumped(self, phase):
        """Whether a clock record came before the phase."""
        return phase in self._jumps

    def send(self, topic, phase, body, fate="admitted", rank=1, transaction=None, **forged):
        """A record; its log has those of a phase in the order of their ranks."""
        value = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self.story.records.append(
            Record(
                topic=topic, partition=forged.get("partition", self.partition), phase=phase,
                key=forged.get("key", self.key.encode()), value=value, fate=fate,
                rank=rank + self.random.random(), transaction=transaction,
            )
        )  # fmt: skip
        return body

    def action(self, phase, at, fate="admitted", action_type="mail", **options):
        confidence = self.random.choice((0, 0.05, 0.1, 0.3, 0.65, 0.82, 0.999999, 1))
        body = self._body(at, action_type=action_type, predicted_confidence=confidence)
        body["deal_stage"] = "discovery"
        return self.send(ACTIONS, phase, body, fate, **options)

    def did(self, phase, at, kind, fate="admitted", rank=1, transaction=None, **fields):
        body = self._body(at, kind=kind, **fields)
        return self.send(INTERACTIONS, phase, body, fate, rank, transaction)

    def settles(self, action, status, decided_by=None, score=None, is_lead=True):
        """The truth of an action's calibrating outcome; to its others only labels say anything."""
        types = OUTCOMES_OF[action["action_type"]]
        name = action["event_id"]
        event_id = decided_by and decided_by["event_id"]
        score = {"positive": 1.0, "negative": 0.0}.get(status) if score is None else score
        self.story.truth[self.key, name, types[0]] = Truth(status, event_id, score, is_lead)
        is_told = decided_by is not None and decided_by["kind"] == "human_label"
        for other in types[1:]:
            self.story.truth[self.key, name, other] = (
                self.story.truth[self.key, name, types[0]]
                if is_told
                else Truth("expired", is_lead=is_lead)
            )

    def _body(self, at, **fields):
        self._count += 1
        return {
            "event_id": f"{self.story.name}.{self._count}",
            "tenant_id": self.tenant,
            "conversation_id": self.conversation,
            "occurred_at": to_timestamp(at),
            **fields,
        }


def _conversation(random, tenant, name, partition):
    """A conversation that belongs into the partition."""
    names = [f"{name}-{random.randrange(1 << 30)}" for _ in range(16)]
    keys = [key_of(tenant, one).encode() for one in names]
    found = partitions_of(keys, PARTITIONS)
    return names[found.index(partition)]

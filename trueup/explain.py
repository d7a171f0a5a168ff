"""`trueup explain`: everything that bears on one action, gathered from Postgres and the topics.

Nothing is decided here by a law of its own: what an interaction means and which one decides is
asked of `tables.outcome_join`, the core's own law, over the conversation as the topics hold it.

Only the key's partition of the inputs is read, and only a stretch of it. A record's broker time is
at most ten minutes before its event time (else it is a dead letter), so what bears on an action was
appended no earlier than ten minutes before it. What was appended after the action had settled was
late for its window by rule, and stands in the late ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from agents_topics.codec import Malformed
from agents_topics.connection import Connection
from agents_topics.events import LateEvent, Outcome
from agents_topics.identifiers import key_of
from agents_topics.letters import REDRIVEN_FROM, place_of
from agents_topics.policy import OutcomeRule, Policy
from agents_topics.rules import FUTURE_MS_MAX
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS, LATE_EVENTS, OUTCOMES
from sinks.postgres.provenance import Located
from streams.partitioner import partitions_of
from tables.holding import held_action, held_interaction
from tables.outcome_join import (
    Conversation,
    HeldAction,
    HeldInteraction,
    OpenOutcome,
    Verdict,
    decide,
    expired,
)
from trueup.foresight import read_event
from trueup.letters import Letter, Selection, letters_in
from trueup.topic_reader import TopicReader

SLACK_MS = 60_000
"""How far brokers' clocks may differ, and how long a record may wait for its transaction."""
GROUP = "trueup"

decode_late = msgspec.json.Decoder(LateEvent).decode
_decode_outcome = msgspec.json.Decoder(Outcome).decode


@dataclass(slots=True)
class Arrived:
    """A record of the conversation and what became of it; `event` is None where it is unreadable.

    `became`: admitted, ignored, duplicate, late, dead or waiting.
    """

    topic: str
    partition: int
    offset: int
    broker_ms: int
    became: str
    at_ms: int | None = None
    event: Any = None
    late: LateEvent | None = None
    letter: Letter | None = None
    is_redriven: bool = False


@dataclass(frozen=True, slots=True)
class Revision:
    """What was said of an outcome, and when the broker took it."""

    outcome: Outcome
    written_ms: int


@dataclass(slots=True)
class Chapter:
    """One outcome of the action: its rule (None: the policy lacks the version), what was said."""

    outcome: Outcome
    rule: OutcomeRule | None
    revisions: list[Revision]
    held: OpenOutcome | None = None
    by_law: Verdict | None = None


@dataclass(slots=True)
class Case:
    """All that bears on the action; `action` is None where the topics do not hold it any more."""

    chapters: list[Chapter]
    arrived: list[Arrived]
    policy: Policy
    action: HeldAction | None = None
    conversation: Conversation = field(default_factory=lambda: Conversation(""))
    action_broker_ms: int | None = None

    @property
    def about(self) -> Outcome:
        """The outcome that tells most of the action: the calibrating one."""
        return self.chapters[0].outcome

    @property
    def interactions(self) -> list[HeldInteraction]:
        """The admitted ones, by time."""
        return [held for _, _, held in self.conversation.interactions]


async def gather(connection: Connection, policy: Policy, located: Sequence[Located]) -> Case:
    """Reads what bears on an action, whose outcomes Postgres has located."""
    async with TopicReader(connection) as reader:
        first = located[0].outcome
        key = key_of(first.tenant_id, first.conversation_id)
        since_ms = first.created_at_ms - FUTURE_MS_MAX
        chapters = [await _chapter(reader, one, policy, since_ms) for one in located]
        until_ms = _settled_by(chapters)
        arrived = await arrivals(reader, policy, key, since_ms, until_ms)
    case = Case(chapters, arrived, policy)
    _retell(case, key)
    return case


async def _chapter(reader: TopicReader, located: Located, policy: Policy, since_ms: int) -> Chapter:
    """An outcome with all that was said of it."""
    outcome = located.outcome
    span = await reader.spans(OUTCOMES.name, [located.partition], since_ms=since_ms - SLACK_MS)
    start, end = span[located.partition]
    own = outcome.id.encode()
    revisions = []
    async for record in reader.records(
        OUTCOMES.name, {located.partition: (start, min(end, located.offset + 1))}
    ):
        if record.key == own:
            revisions.append(Revision(_decode_outcome(record.value), record.timestamp))
    version = policy.by_digest.get(outcome.policy_version)
    known = version.rules_of(outcome.tenant_id, outcome.action_type) if version else ()
    rules = {rule.type: rule for rule in known}
    last = revisions[-1].outcome if revisions else outcome
    return Chapter(last, rules.get(outcome.outcome_type), revisions)


def _settled_by(chapters: Sequence[Chapter]) -> int | None:
    """When the last outcome was written as settled; None while one is open."""
    ends = [c.revisions[-1].written_ms for c in chapters if c.revisions and c.outcome.is_settled]
    return max(ends) + SLACK_MS if len(ends) == len(chapters) else None


async def arrivals(
    reader: TopicReader, policy: Policy, key: str, since_ms: int, until_ms: int | None
) -> list[Arrived]:
    """The conversation's records appended in that time, in both topics, each with its class."""
    own_key = key.encode()
    (partition,) = partitions_of([own_key], await reader.partition_count(AGENT_ACTIONS.name))
    late = await late_of(reader, since_ms, key)
    letters = await _letters_of(reader, since_ms, key)
    applied = await reader.applied(GROUP)
    arrived = []
    for topic in (AGENT_ACTIONS.name, AGENT_INTERACTIONS.name):
        end = applied.get((topic, partition), 0)
        span = await reader.spans(topic, [partition], since_ms=since_ms, until_ms=until_ms)
        records = [r async for r in reader.records(topic, span) if r.key == own_key]
        seen: set[str] = set()
        for record in records:
            place = place_of(topic, partition, record.offset)
            one = _classed(topic, record, late.pop(place, None), letters.pop(place, None))
            if record.offset >= end:
                one.became = "waiting"
            elif one.became == "admitted":
                kinds = policy.kinds_at(one.at_ms or 0)
                if one.event.event_id in seen:
                    one.became = "duplicate"
                elif topic == AGENT_INTERACTIONS.name and one.event.kind not in kinds:
                    one.became = "ignored"
                else:
                    seen.add(one.event.event_id)
            arrived.append(one)
    # What stands elsewhere: beyond the stretch that was read, or in another partition.
    arrived += [
        Arrived(entry.topic, entry.partition, entry.offset, at_ms, "late",
                entry.occurred_at_ms, None, entry)
        for entry, at_ms in late.values()
    ]  # fmt: skip
    arrived += [_lost(letter) for letter in letters.values()]
    return arrived


def _classed(
    topic: str, record: ConsumerRecord, late: tuple[LateEvent, int] | None, letter: Letter | None
) -> Arrived:
    found = read_event(topic, record.key, record.value, record.headers)
    one = Arrived(
        topic, record.partition, record.offset, record.timestamp, "admitted",
        late=late[0] if late else None, letter=letter,
        is_redriven=any(name == REDRIVEN_FROM for name, _ in record.headers),
    )  # fmt: skip
    if not isinstance(found, Malformed):
        one.at_ms, one.event = found.at_ms, found.event
    if letter or one.event is None:
        one.became = "dead"
    elif late:
        one.became = "late"
    return one


def _lost(letter: Letter) -> Arrived:
    found = read_event(letter.topic, letter.key, letter.value, letter.headers)
    one = Arrived(
        letter.topic, letter.source_partition, letter.source_offset, letter.at_ms, "dead",
        letter=letter,
    )  # fmt: skip
    if not isinstance(found, Malformed):
        one.at_ms, one.event = found.at_ms, found.event
    return one


async def late_of(reader: TopicReader, since_ms: int, key: str) -> dict[str, tuple[LateEvent, int]]:
    """The conversation's entries in the late ledger, by the record's place."""
    topic, found = LATE_EVENTS.name, {}
    async for record in reader.records(topic, await reader.spans(topic, since_ms=since_ms)):
        if record.key == key.encode():
            entry = decode_late(record.value)
            found[place_of(entry.topic, entry.partition, entry.offset)] = (entry, record.timestamp)
    return found


async def _letters_of(reader: TopicReader, since_ms: int, key: str) -> dict[str, Letter]:
    """The conversation's dead letters, by the record's place: by their key, or by their body."""
    names = (AGENT_ACTIONS.name, AGENT_INTERACTIONS.name)
    return {
        letter.source: letter
        async for letter in letters_in(reader, Selection(since_ms=since_ms), with_values=True)
        if letter.topic in names
        and (letter.key == key.encode() or key_in(body_in(letter.value)) == key)
    }


def body_in(value: bytes | None) -> dict[str, Any]:
    """The JSON object of a body; empty where there is none."""
    try:
        found = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def key_in(body: dict[str, Any]) -> str:
    """The key that a body asks for."""
    return f"{body.get('tenant_id')}/{body.get('conversation_id')}"


def _retell(case: Case, key: str) -> None:
    """The conversation as the core held it, and what its law says of each outcome."""
    conversation = case.conversation = Conversation(key)
    outcome = case.about
    for one in case.arrived:
        if one.became != "admitted":
            continue
        if one.topic == AGENT_ACTIONS.name:
            held = _held_action(case, conversation, one)
            if held.action_id == outcome.action_id:
                case.action, case.action_broker_ms = held, one.broker_ms
        else:
            interaction = held_interaction(one.at_ms or 0, one.event, one.broker_ms)
            conversation.interactions.append((interaction.at_ms, interaction.event_id, interaction))
    conversation.interactions.sort(key=lambda held: held[:2])
    if case.action is None:
        return
    by_type: dict[str, OpenOutcome] = {o.rule.type: o for o in case.action.outcomes}
    for chapter in case.chapters:
        chapter.held = by_type.get(chapter.outcome.outcome_type)
        if chapter.held:
            said = decide(case.action, chapter.held)
            is_over = chapter.outcome.is_settled and said.status == "pending"
            chapter.by_law = expired(chapter.held) if is_over else said


def _held_action(case: Case, conversation: Conversation, one: Arrived) -> HeldAction:
    event, at_ms = one.event, one.at_ms or 0
    action_id = event.action_id or event.event_id
    if action_id in conversation.actions:
        return conversation.actions[action_id]
    version = case.policy.version_at(at_ms)
    if action_id == case.about.action_id:
        version = case.policy.by_digest.get(case.about.policy_version, version)
    rules = version.rules_of(event.tenant_id, event.action_type, event.outcome_type)
    action = held_action(conversation, at_ms, event, version, rules)
    conversation.actions[action_id] = action
    return action


@dataclass(slots=True)
class Nearby:
    """Where an id that has no outcome was looked for, and what is like it."""

    late: list[LateEvent] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    decided: list[str] = field(default_factory=list)
    near: list[str] = field(default_factory=list)


async def look_around(connection: Connection, action_id: str, nearby: Nearby) -> None:
    """Whether the id stands in the late ledger or among the dead letters."""
    async with TopicReader(connection) as reader:
        topic = LATE_EVENTS.name
        async for record in reader.records(topic, await reader.spans(topic)):
            entry = decode_late(record.value)
            if entry.event_id == action_id:
                nearby.late.append(entry)
        async for letter in letters_in(reader, Selection(), with_values=True):
            body = body_in(letter.value)
            if action_id in (body.get("event_id"), body.get("action_id")):
                nearby.letters.append(letter)

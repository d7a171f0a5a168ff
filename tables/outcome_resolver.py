"""One partition of the outcome resolver: its whole state, and the step that changes it.

The law: everything that changes the state of a partition is in this file. A step admits records in
log order, moves the times, settles what is due in the order (settle time, action time, action_id,
conversation), decides anew what was touched, forgets what can no longer matter, and returns what
must be written. It knows no Kafka, no clock and no I/O: whoever calls it writes the result in one
transaction, or throws the state away. What settles is a function of the admitted records alone, so
batches may be cut anywhere and topics interleaved in any way.

Admission, once a record, in this order: bad or from the future -> dead letter; late -> late event;
a kind no policy listens to -> ignored; an id seen before -> duplicate, or dead letter where it
differs; a conversation that is full -> dead letter; else admitted.
"""

import hashlib
import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal, Protocol

import msgspec

from agents_topics.codec import Decoded, Malformed
from agents_topics.events import (
    Action,
    Interaction,
    LateEvent,
    Outcome,
)
from agents_topics.identifiers import outcome_id_of
from agents_topics.policy import OutcomeRule, Policy
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from tables.label_delay import LabelDelay
from tables.outcome_join import (
    PENDING,
    HeldAction,
    HeldInteraction,
    OpenOutcome,
    Verdict,
    decide,
    expired,
)
from tables.stream_times import StreamTimes, TopicTime

FUTURE_MS_MAX = 600_000
HELD_PER_CONVERSATION_MAX = 10_000
MINUTE_MS = 60_000

ACTIONS, INTERACTIONS = AGENT_ACTIONS.name, AGENT_INTERACTIONS.name
JOINED = (ACTIONS, INTERACTIONS)

_order = attrgetter("order")
_CARRIED = ("rep_id", "agent_id", "agent_version", "model", "cost_usd", "latency_ms", "metadata")

Class = Literal["admitted", "ignored", "duplicate", "late", "dead"]


class LogRecord(Protocol):
    """What the core needs of a record: where it stands and when the broker took it."""

    @property
    def offset(self) -> int:
        """Its offset."""
        ...

    @property
    def timestamp(self) -> int:
        """The broker's timestamp in milliseconds."""
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that becomes a dead letter, with its reason."""

    topic: str
    record: LogRecord
    reason: str
    detail: str


@dataclass(slots=True)
class Step:
    """What a step wants written, all of it in one transaction."""

    outcomes: list[Outcome] = field(default_factory=list)
    late: list[LateEvent] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    changes: dict[bytes, Any] = field(default_factory=dict)
    """Changelog: key -> row, or None where the key is deleted."""


@dataclass(slots=True)
class _Conversation:
    actions: dict[str, HeldAction] = field(default_factory=dict)
    interactions: list[HeldInteraction] = field(default_factory=list)


@dataclass(slots=True)
class _Lead:
    """The window end of a conversation's last lead record in a stream, while it can matter."""

    end_ms: int
    forget_ms: int
    is_logged: bool = False


LeadKey = tuple[str, str, str, int, str]
"""Conversation key and stream: action type, outcome type, window, confidence source."""
SeenKey = tuple[str, str, str]
"""Topic, conversation key, event_id."""
_Held = HeldAction | HeldInteraction | _Lead


@dataclass(frozen=True, slots=True)
class _Dropped:
    """Deleted from the state; from the changelog only where it was ever written."""

    held: _Held


class OutcomeResolver:
    """The state of one partition.

    Args:
        partition: Its number.
        policy: Every version of the rules.
        grace_ms: By joined topic: how far behind the topic's time a record may be.
    """

    def __init__(self, partition: int, policy: Policy, grace_ms: dict[str, int]) -> None:
        self.partition = partition
        self.policy = policy
        self.times = StreamTimes({topic: TopicTime(grace_ms[topic]) for topic in JOINED})
        self.counts: dict[tuple[str, str], int] = defaultdict(int)
        self.label_delays: dict[str, LabelDelay] = defaultdict(LabelDelay)
        self.open_count = 0
        self._conversations: dict[str, _Conversation] = {}
        self._settling: list[tuple[int, int, str, str, int]] = []
        self._touched: list[HeldAction] = []
        self._to_prune: dict[str, None] = {}
        self._prune_at: dict[int, dict[str, None]] = defaultdict(dict)
        self._seen: dict[SeenKey, tuple[int, Action | Interaction | str]] = {}
        self._seen_at: dict[tuple[str, int], list[SeenKey]] = defaultdict(list)
        self._seen_chunks: dict[tuple[str, int], int] = {}
        self._seen_new: list[SeenKey] = []
        self._leads: dict[LeadKey, _Lead] = {}
        self._leads_forget: list[tuple[int, LeadKey]] = []
        self._step = Step()

    # ---- the step ------------------------------------------------------------------------------

    def admit(self, topic: str, record: LogRecord, decoded: Decoded | Malformed) -> Class:
        """Decides once what a record is, and takes it in if it is admitted."""
        if type(decoded) is Malformed:
            return self._refuse(topic, record, decoded.reason, decoded.detail)
        assert type(decoded) is Decoded
        at_ms, event, time = decoded.at_ms, decoded.event, self.times.topics[topic]
        broker_ms = record.timestamp
        if at_ms > broker_ms + FUTURE_MS_MAX:
            return self._refuse(
                topic, record, "future", f"occurred_at {event.occurred_at} is ahead"
            )
        rules: tuple[OutcomeRule, ...] = ()
        if type(event) is Action:
            version = self.policy.version_at(at_ms)
            rules = version.rules_of(event.action_type, event.outcome_type)
            if not rules:
                reason = "unknown_outcome_type" if event.outcome_type else "unknown_action_type"
                named = event.outcome_type or event.action_type
                return self._refuse(topic, record, reason, f"the policy does not know {named!r}")
        log_ms, pushed_ms = time.log_ms, time.pushed_ms
        self.times.on_record(time, at_ms, broker_ms)
        if at_ms + time.grace_ms <= log_ms:
            return self._late(topic, record, decoded, "behind", log_ms)
        if at_ms + time.grace_ms <= pushed_ms:
            return self._late(topic, record, decoded, "after_silence", pushed_ms)
        if type(event) is Interaction and event.kind not in self.policy.kinds:
            return self._count(topic, "ignored")
        seen = self._seen.get((topic, decoded.key, event.event_id))
        # An id is remembered until its own copies are late by rule, exactly: what lies longer in
        # the state than that must not decide, or batch cuts would.
        if seen is not None and seen[0] + time.grace_ms > max(log_ms, pushed_ms):
            if seen[1] == event or seen[1] == fingerprint(event):
                return self._count(topic, "duplicate")
            return self._refuse(topic, record, "conflict", "this event_id came with another body")
        if type(event) is Action:
            return self._on_action(record, decoded, event, rules)
        return self._on_interaction(record, decoded, event)

    def finish(self) -> Step:
        """Ends the step: settles, decides, forgets; returns all that must be written."""
        step = self._step
        self._settle_due(step)
        self._decide_touched(step)
        self._forget(step)
        self._forget_seen(step)
        self._log_seen(step)
        _to_rows(step)
        self._step = Step()
        return step

    # ---- admission -----------------------------------------------------------------------------

    def _count(self, topic: str, record_class: Class) -> Class:
        self.counts[topic, record_class] += 1
        return record_class

    def _refuse(self, topic: str, record: LogRecord, reason: str, detail: str) -> Class:
        self._step.refused.append(Refused(topic, record, reason, detail))
        return self._count(topic, "dead")

    def _late(
        self,
        topic: str,
        record: LogRecord,
        decoded: Decoded,
        reason: Literal["behind", "after_silence"],
        compared_ms: int,
    ) -> Class:
        event = decoded.event
        self._step.late.append(
            LateEvent(
                topic=topic,
                partition=self.partition,
                offset=record.offset,
                tenant_id=event.tenant_id,
                conversation_id=event.conversation_id,
                event_id=event.event_id,
                occurred_at_ms=decoded.at_ms,
                reason=reason,
                compared_ms=compared_ms,
                grace_ms=self.times.topics[topic].grace_ms,
            )
        )
        return self._count(topic, "late")

    def _on_action(
        self, record: LogRecord, decoded: Decoded, event: Action, rules: tuple[OutcomeRule, ...]
    ) -> Class:
        key, at_ms = decoded.key, decoded.at_ms
        conversation = self._conversations.get(key)
        if conversation is None:
            conversation = self._conversations[key] = _Conversation()
        action_id = event.action_id or event.event_id
        if action_id in conversation.actions:
            return self._refuse(ACTIONS, record, "conflict", "another action has this action_id")
        if len(conversation.actions) >= HELD_PER_CONVERSATION_MAX:
            return self._refuse(ACTIONS, record, "conversation_full", "10,000 actions are open")
        action = HeldAction(
            key=key,
            action_id=action_id,
            at_ms=at_ms,
            action_type=event.action_type,
            version=self.policy.version_at(at_ms).digest,
            confidence=event.predicted_confidence,
            confidence_source=event.confidence_source,
            stage=event.deal_stage,
            count=event.interaction_count,
            carried=_carried_of(event),
        )
        for rule in rules:
            action.add(OpenOutcome(rule, at_ms + rule.window_ms, at_ms + rule.settle_after_ms))
        conversation.actions[action_id] = action
        self._hold(action)
        self._touch(action)
        settle_ms = action.settle_ms
        for held in conversation.interactions:
            held.is_matched |= at_ms <= held.at_ms < settle_ms
        for other in conversation.actions.values():
            if other.open_count and any(o.rule.attribution == "last" for o in other.outcomes):
                self._touch(other)
        self._remember((ACTIONS, key, event.event_id), at_ms, event)
        return self._count(ACTIONS, "admitted")

    def _on_interaction(self, record: LogRecord, decoded: Decoded, event: Interaction) -> Class:
        key, at_ms = decoded.key, decoded.at_ms
        conversation = self._conversations.get(key)
        if conversation is None:
            conversation = self._conversations[key] = _Conversation()
        if len(conversation.interactions) >= HELD_PER_CONVERSATION_MAX:
            return self._refuse(
                INTERACTIONS, record, "conversation_full", "10,000 interactions are held"
            )
        held = HeldInteraction(
            at_ms=at_ms,
            event_id=event.event_id,
            kind=event.kind,
            action_id=event.action_id,
            stage=event.deal_stage,
            count=event.interaction_count,
            label=event.label,
            label_score=_label_score_of(event),
            known_at_ms=record.timestamp,
        )
        insort(conversation.interactions, held, key=_order)
        for action in conversation.actions.values():
            if action.at_ms <= at_ms < action.settle_ms:
                held.is_matched = True
                if action.open_count:
                    self._touch(action)
        self._prune_at[self._forget_minute(ACTIONS, at_ms)][key] = None
        self._step.changes[_interaction_key(key, held)] = (key, held)
        self._remember((INTERACTIONS, key, event.event_id), at_ms, event)
        return self._count(INTERACTIONS, "admitted")

    def _hold(self, action: HeldAction) -> None:
        for index, outcome in enumerate(action.outcomes):
            if not outcome.is_settled:
                heapq.heappush(
                    self._settling,
                    (outcome.settle_ms, action.at_ms, action.action_id, action.key, index),
                )
                self.open_count += 1

    def _touch(self, action: HeldAction) -> None:
        if not action.is_touched:
            action.is_touched = True
            self._touched.append(action)

    # ---- settling and deciding -----------------------------------------------------------------

    def _settle_due(self, step: Step) -> None:
        settled_ms = self.times.settled_ms
        while self._settling and self._settling[0][0] <= settled_ms:
            _, _, action_id, key, index = heapq.heappop(self._settling)
            conversation = self._conversations[key]
            action = conversation.actions[action_id]
            outcome = action.outcomes[index]
            verdict = self._decide(conversation, action, outcome)
            if verdict is PENDING:
                verdict = expired(outcome)
            outcome.is_settled = True
            action.open_count -= 1
            self.open_count -= 1
            self.counts["settled", verdict.status] += 1
            if verdict.decided_by is not None and verdict.resolved_at_ms is not None:
                self.label_delays[action.action_type].update(verdict.resolved_at_ms - action.at_ms)
            step.outcomes.append(
                self._outcome(action, outcome, verdict, self._lead(action, outcome))
            )
            self._touch(action)
            self._to_prune[key] = None

    def _decide(
        self, conversation: _Conversation, action: HeldAction, outcome: OpenOutcome
    ) -> Verdict:
        if not conversation.interactions:
            return PENDING
        return decide(action, outcome, conversation.actions.values(), conversation.interactions)

    def _decide_touched(self, step: Step) -> None:
        for action in self._touched:
            action.is_touched = False
            conversation = self._conversations[action.key]
            for outcome in action.outcomes:
                if outcome.is_settled:
                    continue
                verdict = self._decide(conversation, action, outcome)
                if verdict != outcome.said:
                    step.outcomes.append(self._outcome(action, outcome, verdict, None))
            step.changes[_action_key(action)] = action
        self._touched.clear()

    def _outcome(
        self, action: HeldAction, outcome: OpenOutcome, verdict: Verdict, is_lead: bool | None
    ) -> Outcome:
        tenant_id, _, conversation_id = action.key.partition("/")
        rule = outcome.rule
        revision = outcome.revision
        outcome.revision += 1
        outcome.said = verdict
        return Outcome(
            id=outcome_id_of(tenant_id, conversation_id, action.action_id, rule.type),
            tenant_id=tenant_id,
            conversation_id=conversation_id,
            action_id=action.action_id,
            action_type=action.action_type,
            outcome_type=rule.type,
            predicted_confidence=action.confidence,
            confidence_source=action.confidence_source,
            status=verdict.status,
            score=verdict.score,
            signal_source=verdict.signal_source,
            decided_by=verdict.decided_by,
            created_at_ms=action.at_ms,
            window_expires_at_ms=outcome.end_ms,
            settled_at_ms=outcome.settle_ms,
            resolved_at_ms=verdict.resolved_at_ms,
            known_at_ms=verdict.known_at_ms,
            revision=revision,
            is_settled=outcome.is_settled,
            calibrates=rule.calibrates,
            is_lead=is_lead,
            expired_counts=rule.confidence_means == "success_in_window",
            policy_version=action.version,
            deal_stage=action.stage,
            interaction_count=action.count,
            **action.carried,
        )

    def _lead(self, action: HeldAction, outcome: OpenOutcome) -> bool:
        """Whether a settling outcome is a lead record of its stream (methods: two sets of bins)."""
        rule = outcome.rule
        source = action.confidence_source
        lead = (action.key, action.action_type, rule.type, rule.window_ms, source)
        last = self._leads.get(lead)
        if last is not None and action.at_ms < last.end_ms:
            return False
        mark = _Lead(outcome.end_ms, outcome.end_ms + rule.settle_after_ms)
        mark.is_logged = last is not None and last.is_logged
        self._set_lead(lead, mark)
        self._step.changes[_lead_key(lead)] = (lead, mark)
        return True

    def _set_lead(self, lead: LeadKey, mark: _Lead) -> None:
        self._leads[lead] = mark
        heapq.heappush(self._leads_forget, (mark.forget_ms, lead))

    # ---- forgetting ----------------------------------------------------------------------------

    def _remember(self, seen: SeenKey, at_ms: int, event: Action | Interaction) -> None:
        self._seen[seen] = (at_ms, event)
        self._seen_at[seen[0], self._forget_minute(seen[0], at_ms)].append(seen)
        self._seen_new.append(seen)

    def _forget_minute(self, topic: str, at_ms: int) -> int:
        """The first full minute at whose beginning a copy is late by rule."""
        return (at_ms + self.times.topics[topic].grace_ms) // MINUTE_MS + 1

    def _forget(self, step: Step) -> None:
        """Drops what can no longer change a result (requirements: Remembered)."""
        actions_time = self.times.topics[ACTIONS]
        for minute in [m for m in self._prune_at if m * MINUTE_MS <= actions_time.now_ms]:
            self._to_prune.update(self._prune_at.pop(minute))
        for key in self._to_prune:
            self._prune(step, key, actions_time.closed_ms)
        self._to_prune.clear()
        settled_ms = self.times.settled_ms
        while self._leads_forget and self._leads_forget[0][0] <= settled_ms:
            forget_ms, lead = heapq.heappop(self._leads_forget)
            mark = self._leads.get(lead)
            if mark is not None and mark.forget_ms == forget_ms:
                del self._leads[lead]
                step.changes[_lead_key(lead)] = _Dropped(mark)

    def _prune(self, step: Step, key: str, closed_ms: int) -> None:
        """Drops a conversation's interactions and settled actions that no open action needs."""
        conversation = self._conversations.get(key)
        if conversation is None:
            return
        actions, interactions = conversation.actions, conversation.interactions
        first_ms = min((a.at_ms for a in actions.values() if a.open_count), default=None)
        for action in [a for a in actions.values() if not a.open_count]:
            if first_ms is None or action.end_ms <= first_ms:
                del actions[action.action_id]
                step.changes[_action_key(action)] = _Dropped(action)
        keep_from_ms = closed_ms + 1 if first_ms is None else min(first_ms, closed_ms + 1)
        count = bisect_left(interactions, keep_from_ms, key=attrgetter("at_ms"))
        for held in interactions[:count]:
            self.counts["interactions", "unmatched"] += not held.is_matched
            step.changes[_interaction_key(key, held)] = _Dropped(held)
        del interactions[:count]
        if not actions and not interactions:
            del self._conversations[key]

    def _forget_seen(self, step: Step) -> None:
        """Drops the ids of every minute whose copies are late by rule now."""
        limits = {t: time.now_ms // MINUTE_MS for t, time in self.times.topics.items()}
        for topic, minute in [at for at in self._seen_at if at[1] <= limits[at[0]]]:
            for seen in self._seen_at.pop((topic, minute)):
                held = self._seen.get(seen)
                if held is not None and self._forget_minute(topic, held[0]) <= limits[topic]:
                    del self._seen[seen]
            for number in range(self._seen_chunks.pop((topic, minute), 0)):
                step.changes[_seen_key(topic, minute, number)] = None

    def _log_seen(self, step: Step) -> None:
        """Writes the step's new ids that still matter, a chunk for each minute they leave in."""
        chunks: dict[tuple[str, int], list[tuple[SeenKey, int, str]]] = defaultdict(list)
        for seen in self._seen_new:
            held = self._seen.get(seen)
            if held is None:
                continue
            at_ms, event = held
            assert not isinstance(event, str)
            digest = fingerprint(event)
            self._seen[seen] = (at_ms, digest)
            chunks[seen[0], self._forget_minute(seen[0], at_ms)].append((seen, at_ms, digest))
        self._seen_new.clear()
        for (topic, minute), rows in chunks.items():
            number = self._seen_chunks.get((topic, minute), 0)
            self._seen_chunks[topic, minute] = number + 1
            step.changes[_seen_key(topic, minute, number)] = rows

    # ---- the changelog's rows ------------------------------------------------------------------

    def restore(self, key: bytes, row: Any) -> None:
        """Takes back one row of the changelog; each key comes once, with its last row.

        Raises:
            KeyError: the state names a policy version that the policy lacks.
        """
        kind = key[:2]
        if kind == b"a/":
            self._restore_action(row)
        elif kind == b"i/":
            self._restore_interaction(row)
        elif kind == b"l/":
            lead, end_ms, forget_ms = row
            self._set_lead(tuple(lead), _Lead(end_ms, forget_ms, is_logged=True))
        elif kind == b"d/":
            minute = int(key.split(b"/")[2])
            for seen, at_ms, digest in row:
                self._seen[tuple(seen)] = (at_ms, digest)
                self._seen_at[seen[0], minute].append(tuple(seen))
            number = int(key.split(b"/")[3]) + 1
            topic = row[0][0][0]
            self._seen_chunks[topic, minute] = max(
                number, self._seen_chunks.get((topic, minute), 0)
            )
        else:
            raise AssertionError(f"no such row: {key!r}")

    def _restore_action(self, row: Any) -> None:
        *fields, outcomes = row
        action = HeldAction(*fields)
        action.is_logged = True
        version = self.policy.by_digest[action.version]
        rules = {rule.type: rule for rule in version.action_types[action.action_type]}
        for outcome_type, revision, is_settled, said in outcomes:
            rule = rules[outcome_type]
            action.add(
                OpenOutcome(
                    rule=rule,
                    end_ms=action.at_ms + rule.window_ms,
                    settle_ms=action.at_ms + rule.settle_after_ms,
                    revision=revision,
                    said=Verdict(*said) if said else None,
                    is_settled=is_settled,
                )
            )
        conversation = self._conversations.setdefault(action.key, _Conversation())
        conversation.actions[action.action_id] = action
        self._hold(action)

    def _restore_interaction(self, row: Any) -> None:
        key, *fields = row
        held = HeldInteraction(*fields)
        held.is_logged = True
        insort(self._conversations.setdefault(key, _Conversation()).interactions, held, key=_order)
        self._prune_at[self._forget_minute(ACTIONS, held.at_ms)][key] = None


def fingerprint(event: Action | Interaction) -> str:
    """Equal for events that are equal as decoded, also in another process."""
    return hashlib.blake2b(_canonical(event), digest_size=8).hexdigest()


_canonical = msgspec.json.Encoder(order="deterministic").encode


def _carried_of(event: Action) -> dict[str, Any]:
    """The fields that only pass through."""
    return {name: value for name in _CARRIED if (value := getattr(event, name)) is not None}


def _label_score_of(event: Interaction) -> float | None:
    score = event.metadata.get("score") if event.metadata else None
    return float(score) if isinstance(score, int | float) else None


def _action_key(action: HeldAction) -> bytes:
    return f"a/{action.key}\0{action.action_id}".encode()


def _interaction_key(key: str, held: HeldInteraction) -> bytes:
    return f"i/{key}\0{held.event_id}".encode()


def _lead_key(lead: LeadKey) -> bytes:
    return "l/{}\0{}\0{}\0{}\0{}".format(*lead).encode()


def _seen_key(topic: str, minute: int, number: int) -> bytes:
    return f"d/{topic}/{minute}/{number}".encode()


def _to_rows(step: Step) -> None:
    """Turns what has changed into rows; what came and went within the step leaves no trace."""
    traceless = []
    for key, value in step.changes.items():
        if type(value) is _Dropped:
            if value.held.is_logged:
                step.changes[key] = None
            else:
                traceless.append(key)
        elif type(value) is HeldAction:
            value.is_logged = True
            step.changes[key] = _action_row(value)
        elif type(value) is tuple and type(value[1]) is HeldInteraction:
            value[1].is_logged = True
            step.changes[key] = _interaction_row(*value)
        elif type(value) is tuple and type(value[1]) is _Lead:
            lead, mark = value
            mark.is_logged = True
            step.changes[key] = (lead, mark.end_ms, mark.forget_ms)
    for key in traceless:
        del step.changes[key]


def _action_row(action: HeldAction) -> tuple[Any, ...]:
    return (
        action.key,
        action.action_id,
        action.at_ms,
        action.action_type,
        action.version,
        action.confidence,
        action.confidence_source,
        action.stage,
        action.count,
        action.carried,
        [(o.rule.type, o.revision, o.is_settled, o.said) for o in action.outcomes],
    )


def _interaction_row(key: str, held: HeldInteraction) -> tuple[Any, ...]:
    return (
        key,
        held.at_ms,
        held.event_id,
        held.kind,
        held.action_id,
        held.stage,
        held.count,
        held.label,
        held.label_score,
        held.known_at_ms,
        held.is_matched,
    )

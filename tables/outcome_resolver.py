"""One partition of the outcome resolver: its whole state, and the step that changes it.

The law: everything that changes the state of a partition begins in this file. A step admits records
in log order, moves the times, settles what is due in the order (settle time, action time,
action_id, conversation), decides anew what was touched, forgets what can no longer matter, and
returns what must be written. It knows no Kafka, no clock and no I/O: whoever calls it writes the
result in one transaction, or throws the state away. What settles is a function of the admitted
records alone, so batches may be cut anywhere and topics interleaved in any way.

Admission, once a record, in this order: bad or from the future -> dead letter; late -> late event;
a kind no policy listens to -> ignored; an id seen before -> duplicate, or dead letter where it
differs; a conversation that is full -> dead letter; else admitted.
"""

import heapq
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from agents_topics.codec import Decoded, Malformed
from agents_topics.events import Action, Forget, Interaction, LateEvent, Outcome
from agents_topics.policy import OutcomeRule, Policy, PolicyVersion
from agents_topics.rules import FUTURE_MS_MAX
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from tables.conversations import Conversations
from tables.forgetting import entry_of, meaning_of, parted
from tables.holding import held_action, held_interaction, meets
from tables.label_delay import LabelDelay
from tables.lead_marks import LeadMarks
from tables.outcome_join import (
    PENDING,
    Conversation,
    HeldAction,
    OpenOutcome,
    Verdict,
    decide,
    expired,
)
from tables.outcome_record import outcome_of
from tables.remembered_ids import Id, RememberedIds
from tables.resolver_rows import action_of, interaction_of
from tables.resolver_step import Forgetting, LogRecord, Refused, Step
from tables.stream_times import NEVER_MS, StreamTimes, TopicTime
from tables.window_tiers import check_of

HELD_PER_CONVERSATION_MAX = 10_000
SETTLED_PER_STEP_MAX = 20_000
"""A jump of time may end any number of windows; a transaction must stay below its time-out."""

_NO_RULES: tuple[OutcomeRule, ...] = ()

ACTIONS, INTERACTIONS = AGENT_ACTIONS.name, AGENT_INTERACTIONS.name
JOINED = (ACTIONS, INTERACTIONS)

Judging = Literal["live", "on_time", "recorded"]
"""What decides on lateness. `live`: the topics' times, as records move them. `on_time`: nothing is
late; whoever calls moves the times. `recorded`: likewise, and what a ledger has refused does not
come, so that an id which comes again with another body had been forgotten by then.
"""


class OutcomeResolver:
    """The state of one partition.

    Args:
        partition: Its number.
        policy: Every version of the rules.
        grace_ms: By joined topic: how far behind the topic's time a record may be.
        judging: What decides on lateness; a worker is `live`, a replay may not be.
    """

    def __init__(
        self,
        partition: int,
        policy: Policy,
        grace_ms: dict[str, int],
        judging: Judging = "live",
    ) -> None:
        self.partition = partition
        self._judging = judging
        # Where times stand still much is held that a worker has settled and forgotten.
        self._held_max = HELD_PER_CONVERSATION_MAX if judging == "live" else sys.maxsize
        self.policy = policy
        self.times = StreamTimes({topic: TopicTime(grace_ms[topic]) for topic in JOINED})
        self.counts: dict[tuple[str, str], int] = defaultdict(int)
        self.label_delays: dict[str, LabelDelay] = defaultdict(LabelDelay)
        self.open_count = 0
        self._ids = {topic: RememberedIds(topic, grace_ms[topic]) for topic in JOINED}
        self._leads = LeadMarks(policy.settle_after_ms_of)
        self._conversations = Conversations(grace_ms[ACTIONS])
        self._settling: list[tuple[int, int, str, str, int, HeldAction]] = []
        self._touched: list[HeldAction] = []
        self._step = Step()

    # ---- the step ------------------------------------------------------------------------------

    def admit(
        self, topic: str, records: Sequence[LogRecord], decoded: Sequence[Decoded | Malformed]
    ) -> None:
        """Decides once what each record of a topic is, in log order, and takes in the admitted."""
        is_action, policy, times, ids = topic == ACTIONS, self.policy, self.times, self._ids[topic]
        time, new_ids, held_ids = times.topics[topic], ids.new, ids.held
        conversations, is_live = self._conversations, self._judging == "live"
        grace_ms, listed, admitted, ignored = time.grace_ms, policy.listed_tenants, 0, 0
        version, rules = policy.versions[0], _NO_RULES
        for record, one in zip(records, decoded, strict=True):
            if isinstance(one, Malformed):
                self.refuse(topic, record, one.reason, one.detail)
                continue
            key, at_ms, event = one
            broker_ms = record.timestamp
            if listed is not None and event.tenant_id not in listed:
                self.refuse(topic, record, "unknown_tenant", "the policy does not list the tenant")
                continue
            if at_ms > broker_ms + FUTURE_MS_MAX:
                self.refuse(topic, record, "future", f"occurred_at {event.occurred_at} is ahead")
                continue
            if is_action:
                version = policy.version_at(at_ms)
                rules = version.rules_of(event.tenant_id, event.action_type, event.outcome_type)
                is_told = not rules or event.confidence_label is not None
                if is_told and (unknown := _unknown_word(event, version, rules)):
                    self.refuse(ACTIONS, record, *unknown)
                    continue
            log_ms = pushed_ms = NEVER_MS
            if is_live:
                log_ms, pushed_ms = time.log_ms, time.pushed_ms
                times.on_record(time, at_ms, broker_ms)
            if at_ms + grace_ms <= log_ms:
                self._late(topic, record, one, "behind", log_ms)
                continue
            if at_ms + grace_ms <= pushed_ms:
                self._late(topic, record, one, "after_silence", pushed_ms)
                continue
            if not is_action and event.kind not in policy.kinds_at(at_ms):
                ignored += 1
                continue
            seen = (key, event.event_id)
            if (seen in new_ids or seen in held_ids) and self._is_copy(
                topic, record, seen, event, log_ms, pushed_ms
            ):
                continue
            conversation = conversations.of(key)
            problem = (
                self._on_action(conversation, at_ms, event, version, rules)
                if is_action
                else self._on_interaction(conversation, at_ms, event, broker_ms)
            )
            if problem:
                self.refuse(topic, record, *problem)
                continue
            ids.add(seen, at_ms, event)
            admitted += 1
        ids.forget_new(time.now_ms)
        self.counts[topic, "admitted"] += admitted
        self.counts[topic, "ignored"] += ignored

    def finish(self, settled_max: int = SETTLED_PER_STEP_MAX) -> Step:
        """Ends the step: settles, decides, forgets; returns all that must be written."""
        step, self._step = self._step, Step()
        self._settle_due(step.outcomes, settled_max)
        self._decide_touched(step.outcomes)
        self._conversations.finish(self.times.topics[ACTIONS], step.changes)
        self.counts["interactions", "unmatched"] += self._conversations.take_unmatched()
        self._leads.finish(self.settled_ms, step.changes)
        for topic, ids in self._ids.items():
            ids.finish(self.times.topics[topic].now_ms, step.changes)
        return step

    @property
    def is_settling(self) -> bool:
        """Whether more is due than the last step could settle: another one must follow."""
        return bool(self._settling) and self._settling[0][0] <= self.times.settled_ms

    @property
    def settled_ms(self) -> int:
        """Everything with a settle time at or before this has settled: the task's promise."""
        return self._settling[0][0] - 1 if self.is_settling else self.times.settled_ms

    # ---- forgetting ----------------------------------------------------------------------------

    def forget(self, forget: Forget, offsets: Mapping[str, int]) -> None:
        """Nothing is held any more of a conversation or tenant but ids, until their copies are
        late. What of a conversation is due settles before; `offsets` is where its topics stand.
        """
        is_meant = meaning_of(forget.tenant_id, forget.conversation_id)
        self._settling, others = parted(self._settling, lambda entry: is_meant(entry[3]))
        settled: list[Outcome] = []
        while forget.conversation_id is not None and self.is_settling:
            some: list[Outcome] = []
            self._settle_due(some, SETTLED_PER_STEP_MAX)
            settled += some
        open_count, self._settling = len(self._settling), others
        self.open_count -= open_count
        self._conversations.forget(is_meant, self._step.changes)
        self._leads.forget(is_meant, self._step.changes)
        self._touched = [action for action in self._touched if not action.is_dropped]
        record = entry_of(forget, self.partition, offsets, self.times.settled_ms, open_count)
        self._step.forgotten.append(Forgetting(record, settled))

    # ---- admission -----------------------------------------------------------------------------

    def refuse(self, topic: str, record: LogRecord, reason: str, detail: str) -> None:
        """A record becomes a dead letter; of a joined topic it still ends a silence."""
        if topic in self.times.topics:
            self.times.topics[topic].on_any(record.timestamp)
        self._step.refused.append(Refused(topic, record, reason, detail))
        self.counts[topic, "dead"] += 1

    def _is_copy(
        self, topic: str, record: LogRecord, seen: Id, event: Any, log_ms: int, pushed_ms: int
    ) -> bool:
        """Whether a record with a remembered id was dealt with: a duplicate, or a dead letter."""
        is_copy = self._ids[topic].is_copy(seen, event, max(log_ms, pushed_ms))
        if is_copy:
            self.counts[topic, "duplicate"] += 1
        elif is_copy is False and self._judging == "recorded":
            return False
        elif is_copy is False:
            self.refuse(topic, record, "conflict", "this event_id came with another body")
        return is_copy is not None

    def _late(
        self,
        topic: str,
        record: LogRecord,
        decoded: Decoded,
        reason: Literal["behind", "after_silence"],
        compared_ms: int,
    ) -> None:
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
        self.counts[topic, "late"] += 1

    def _on_action(
        self,
        conversation: Conversation,
        at_ms: int,
        event: Action,
        version: PolicyVersion,
        rules: tuple[OutcomeRule, ...],
    ) -> tuple[str, str] | None:
        """Takes an action in; or says why not: reason and detail."""
        action_id = event.action_id or event.event_id
        if action_id in conversation.actions and self._judging != "recorded":
            return "conflict", "another action has this action_id"
        if len(conversation.actions) >= self._held_max:
            return "conversation_full", "10,000 actions are open"
        action = held_action(conversation, at_ms, event, version, rules)
        for other in conversation.actions.values():
            if other.open_count and other.has_last:
                self._touch(other)
        self._hold(action)
        self._touch(action)
        for _, _, held in conversation.interactions:
            if not held.is_matched and meets(held, action):
                held.is_matched = True
                self._conversations.on_new(conversation, held)
        return None

    def _on_interaction(
        self, conversation: Conversation, at_ms: int, event: Interaction, known_at_ms: int
    ) -> tuple[str, str] | None:
        """Takes an interaction in; or says why not: reason and detail."""
        if len(conversation.interactions) >= self._held_max:
            return "conversation_full", "10,000 interactions are held"
        held = held_interaction(at_ms, event, known_at_ms)
        self._conversations.hold(conversation, held)
        for action in conversation.actions.values():
            if action.at_ms <= at_ms < action.settle_ms:
                held.is_matched = held.is_matched or meets(held, action)
                if action.open_count:
                    self._touch(action)
        self._conversations.on_new(conversation, held)
        return None

    def _hold(self, action: HeldAction) -> None:
        key = action.conversation.key
        name = action.action_id
        if name in action.conversation.actions:  # a worker had forgotten the first one by now
            name = f"{name}\0{action.at_ms}"
        action.conversation.actions[name] = action
        for index, outcome in enumerate(action.outcomes):
            if not outcome.is_settled:
                heapq.heappush(
                    self._settling,
                    (outcome.settle_ms, action.at_ms, action.action_id, key, index, action),
                )
                self.open_count += 1

    def _touch(self, action: HeldAction) -> None:
        if not action.is_touched:
            action.is_touched = True
            self._touched.append(action)

    # ---- settling and deciding -----------------------------------------------------------------

    def _settle_due(self, outcomes: list[Outcome], count_max: int) -> None:
        settled_ms, settling = self.times.settled_ms, self._settling
        while settling and settling[0][0] <= settled_ms and len(outcomes) < count_max:
            _, at_ms, _, key, index, action = heapq.heappop(settling)
            outcome = action.outcomes[index]
            verdict = decide(action, outcome) if action.conversation.interactions else PENDING
            if verdict is PENDING:
                verdict = expired(outcome)
            outcome.is_settled = True
            action.open_count -= 1
            self.open_count -= 1
            self.counts["settled", verdict.status] += 1
            rule, carried = outcome.rule, action.carried
            if verdict.decided_by is not None and verdict.resolved_at_ms is not None:
                self.counts["check", check_of(rule.window_ms)] += 1
                self.label_delays[carried.action_type].update(verdict.resolved_at_ms - at_ms)
            lead = (key, carried.action_type, rule.type, rule.window_ms, carried.confidence_source)
            is_lead = self._leads.take(lead, at_ms, outcome.end_ms)
            outcomes.append(self._say(action, outcome, verdict, is_lead))
            self._conversations.on_settled(key)

    def _decide_touched(self, outcomes: list[Outcome]) -> None:
        for action in self._touched:
            action.is_touched = False
            for outcome in action.outcomes:
                if outcome.is_settled:
                    continue
                verdict = decide(action, outcome) if action.conversation.interactions else PENDING
                if verdict != outcome.said:
                    outcomes.append(self._say(action, outcome, verdict, None))
        self._touched.clear()

    def _say(
        self, action: HeldAction, outcome: OpenOutcome, verdict: Verdict, is_lead: bool | None
    ) -> Outcome:
        """The next revision of an outcome, to be published."""
        self._conversations.on_said(action)
        outcome.said = verdict
        outcome.revision += 1
        return outcome_of(action, outcome, is_lead)

    def open_outcomes(self) -> Iterator[Outcome]:
        """What was last said of each outcome that has not settled."""
        for action in {id(entry[-1]): entry[-1] for entry in self._settling}.values():
            yield from (outcome_of(action, o, None) for o in action.outcomes if not o.is_settled)

    # ---- rebuild -------------------------------------------------------------------------------

    def revise(self, revisions: Mapping[str, int]) -> None:
        """Open outcomes go on from the revisions that were published, by id."""
        for action in {id(entry[-1]): entry[-1] for entry in self._settling}.values():
            for outcome in action.outcomes:
                if not outcome.is_settled:
                    outcome.revision = revisions.get(outcome.id, outcome.revision)

    def relog(self) -> None:
        """The next step writes a row for everything that is held, whatever was logged."""
        self._conversations.relog()
        self._leads.relog()
        for ids in self._ids.values():
            ids.relog()

    # ---- restore -------------------------------------------------------------------------------

    def drop(self) -> None:
        """Lets all conversations go; its times and counters still tell where it stood."""
        self._conversations.drop()

    def restore(self, key: bytes, row: Any) -> None:
        """Takes back one row of the changelog; each key comes once, with its last row.

        Raises:
            KeyError: the state names a policy version that the policy lacks.
        """
        kind, *rest = key.split(b"/")
        if kind == b"a":
            self._hold(action_of(row, self._conversations.of(row[0]), self.policy))
        elif kind == b"i":
            self._conversations.hold(self._conversations.of(row[0]), interaction_of(row))
        elif kind == b"l":
            self._leads.restore(int(rest[0]), int(rest[1]), row)
        elif kind == b"d":
            self._ids[rest[0].decode()].restore(int(rest[1]), int(rest[2]), row)
        else:
            raise AssertionError(f"no such row: {key!r}")


def _unknown_word(
    event: Action, version: PolicyVersion, rules: tuple[OutcomeRule, ...]
) -> tuple[str, str] | None:
    """What of an action its policy version does not know: reason and detail; None where it does."""
    if not rules:
        reason = "unknown_outcome_type" if event.outcome_type else "unknown_action_type"
        named = event.outcome_type or event.action_type
        return reason, f"the policy does not know {named!r}"
    label = event.confidence_label
    if label is None or label in version.confidence_labels:
        return None
    return "unknown_confidence_label", f"the policy does not know {label!r} as a confidence"

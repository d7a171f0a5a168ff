"""The demo's world: tenants whose agents have a known truth, and eight weeks of their records.

Everything follows from the seed; no clock is read. An agent's truth is the rate at which its
successes are *seen in time*: a signal that is lost or comes too late is one of its failures, and
ambiguity strikes before the outcome is drawn. So the settled, unambiguous outcomes have the rate
that `Agent.actual` names, and a fair picture of the agent must find it.

A record stands in the log where it arrives. What is out of order arrives less than 55 minutes after
it happened, so that it is within the hour of grace whatever the partition count; what is late
stands behind a record of its own key that happened over an hour after it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import msgspec

from agents_topics.events import STAGE_RANKS, to_ms, to_timestamp
from agents_topics.identifiers import key_of, tenant_id_of
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS, DAY_MS, HOUR_MS
from trueup.demo_agents import AGENTS, Agent

ACTIONS_DEFAULT = 6_000
ACTIONS_MIN = 200
START_MS = to_ms("2026-01-05T00:00:00Z")
ACTIONS_END_MS = START_MS + 56 * DAY_MS
CLOCK_UNTIL_MS = ACTIONS_END_MS + 8 * DAY_MS
GRACE_MS = HOUR_MS

ACTIONS, INTERACTIONS = AGENT_ACTIONS.name, AGENT_INTERACTIONS.name
_MINUTE_MS = 60_000
_DISORDER_MS_MAX = 50 * _MINUTE_MS
_REPEAT_MS_MAX = 54 * _MINUTE_MS
_STAGES = tuple(STAGE_RANKS)
_POSITIVE_KINDS = {
    "email_engagement": "reply_received",
    "deal_progression": "stage_changed",
    "meeting_outcome": "meeting_held",
    "escalation_result": "escalation_resolved",
}
_NEGATIVE_KINDS = {
    "deal_progression": "stage_changed",
    "meeting_outcome": "meeting_no_show",
    "escalation_result": "escalation_reopened",
}
_NOISE_KINDS = ("message_opened", "link_clicked")
_encode = msgspec.json.Encoder().encode

# Every so many-th of its kind, counted from the first, so that none of them is ever missing.
_AMBIGUOUS_EVERY = 40
_LATE_EVERY = 9
_REPEATED_EVERY = 60
_BEFORE_ITS_ACTION_EVERY = 25
_ORPHAN_EVERY = 100
_POISON_EVERY = 2_000

_LONGEST = max(AGENTS, key=lambda agent: agent.window_ms)


@dataclass(frozen=True, slots=True)
class Record:
    """A record to send, and the event time at which it reaches the log."""

    topic: str
    key: bytes | None
    value: bytes
    at_ms: int


@dataclass(slots=True)
class Expected:
    """What was planted, and so must be found once the clock has moved to `clock_until`.

    `settled` is by agent and status, `dead_letters` by reason. `open_actions` have a window that
    is still open then, whatever was seen in it.
    """

    settled: dict[str, Counter[str]] = field(default_factory=dict)
    open_actions: int = 0
    late: int = 0
    duplicates: int = 0
    ignored: int = 0
    orphans: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)

    @property
    def by_status(self) -> Counter[str]:
        """Settled outcomes by status, over all agents."""
        return sum(self.settled.values(), Counter())


@dataclass(frozen=True, slots=True)
class Workload:
    """The agents, their records in log order, and what must come of them."""

    seed: int
    agents: tuple[Agent, ...]
    records: Sequence[Record]
    expected: Expected
    clock_until: str


def workload(seed: int, actions: int = ACTIONS_DEFAULT) -> Workload:
    """The world of a seed with so many actions (poison and repetitions not counted).

    Raises:
        ValueError: fewer than 200 actions cannot show everything.
    """
    if actions < ACTIONS_MIN:
        raise ValueError(f"a workload has at least {ACTIONS_MIN} actions, not {actions}")
    world = _World(Random(seed))
    for index, group in enumerate(_conversations(world.random, actions)):
        world.play(f"{group[0].agent.tenant}-deal-{index:05d}", group)
    world.lose_actions(actions // _ORPHAN_EVERY)
    for number in range(1 + actions // _POISON_EVERY):
        world.poison(number)
    return Workload(
        seed, AGENTS, world.in_log_order(), world.expected, to_timestamp(CLOCK_UNTIL_MS)
    )


@dataclass(frozen=True, slots=True)
class _Planned:
    """An action before its outcome is known. `is_nudge`: it repeats the one before it."""

    agent: Agent
    at_ms: int
    stated: float
    is_nudge: bool = False


def _conversations(random: Random, actions: int) -> Iterator[list[_Planned]]:
    """Conversations of one action, of an action and its nudge, or of several agents' actions."""
    shares = [agent.share for agent in AGENTS]
    made = index = 0
    while made < actions:
        rest = actions - made
        step_ms = (ACTIONS_END_MS - START_MS) / actions
        at_ms = START_MS + int((made + random.random()) * step_ms)
        agent = AGENTS[index] if index < len(AGENTS) else random.choices(AGENTS, shares)[0]
        if rest == 1:
            agent = _LONGEST  # some window is open at the end
        group = [_planned(random, agent, at_ms)]
        kind = random.random()
        if kind < 0.08 and rest > 2:
            nudged_ms = at_ms + random.randrange(_MINUTE_MS, 20 * _MINUTE_MS)
            group.append(_Planned(agent, _not_after_end(nudged_ms), group[0].stated, True))
        elif kind < 0.18 and rest > 4:
            colleagues = [other for other in AGENTS if other.tenant == agent.tenant]
            for _ in range(random.randint(1, 3)):
                at_ms += random.randrange(30 * _MINUTE_MS, 30 * HOUR_MS)
                colleague = random.choice(colleagues)
                group.append(_planned(random, colleague, _not_after_end(at_ms)))
        yield group
        made += len(group)
        index += 1


def _not_after_end(at_ms: int) -> int:
    return min(at_ms, ACTIONS_END_MS - 1)


def _planned(random: Random, agent: Agent, at_ms: int) -> _Planned:
    spread = agent.highest - agent.lowest
    stated = agent.lowest + spread * random.betavariate(*agent.shape)
    return _Planned(agent, at_ms, round(stated, 2))


@dataclass(frozen=True, slots=True)
class _Signal:
    """An interaction that is to come.

    `delay_ms` is how long it is under way, where that matters; `is_late`: too long to be admitted.
    """

    kind: str
    at_ms: int
    stage: str | None = None
    delay_ms: int | None = None
    is_late: bool = False


class _World:
    """Plays conversations into records."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.expected = Expected(settled={agent.name: Counter() for agent in AGENTS})
        self._records: list[Record] = []
        self._actions: list[tuple[int, str, dict[str, Any]]] = []
        self._events = 0
        self._turns: Counter[str] = Counter()

    def in_log_order(self) -> list[Record]:
        """All records as they arrive."""
        return sorted(self._records, key=lambda record: record.at_ms)

    # ---- conversations -------------------------------------------------------------------------

    def play(self, conversation_id: str, group: Sequence[_Planned]) -> None:
        """The conversation's actions and everything that follows them are in the log."""
        if group[-1].is_nudge:
            self._play_action(conversation_id, group[0], nudge=group[1])
            return
        for planned in group:
            self._play_action(conversation_id, planned, is_shared=len(group) > 1)

    def _play_action(
        self,
        conversation_id: str,
        planned: _Planned,
        *,
        nudge: _Planned | None = None,
        is_shared: bool = False,
    ) -> None:
        """In a shared conversation a signal names its action; a nudge shares what it repeats."""
        agent, random = planned.agent, self.random
        stage = random.choice(_STAGES[:4]) if agent.outcome_type == "deal_progression" else None
        status, signals = self._outcome(planned, nudge.at_ms if nudge else 0, stage)
        delay_ms = self._delay_ms()
        is_prompt = status == "positive" and len(signals) == 1 and nudge is None
        if is_prompt and self._is_turn("prompt", _BEFORE_ITS_ACTION_EVERY):
            soon_ms = planned.at_ms + random.randrange(_MINUTE_MS, 10 * _MINUTE_MS)
            signals = [_Signal(signals[0].kind, soon_ms, signals[0].stage, delay_ms=0)]
            delay_ms = _DISORDER_MS_MAX
        action_id = self._put_action(conversation_id, planned, stage, delay_ms)
        self._count_outcome(planned, status)
        if nudge:
            self._put_action(conversation_id, nudge, stage, self._delay_ms())
            self._count_outcome(nudge, status)
        is_named = is_shared or (nudge is None and random.random() < 0.2)
        for signal in signals:
            self._put_signal(agent, conversation_id, signal, action_id if is_named else None)
        if random.random() < 0.5:
            opened_ms = planned.at_ms + random.randrange(_MINUTE_MS, 12 * HOUR_MS)
            self._put_noise(agent, conversation_id, opened_ms)

    def _count_outcome(self, planned: _Planned, status: str) -> None:
        if planned.at_ms + planned.agent.window_ms + GRACE_MS <= CLOCK_UNTIL_MS:
            self.expected.settled[planned.agent.name][status] += 1
        else:
            self.expected.open_actions += 1

    def _outcome(
        self, planned: _Planned, not_before_ms: int, stage: str | None
    ) -> tuple[str, list[_Signal]]:
        """What becomes of an action (and of its nudge), and the signals that say so."""
        agent, random = planned.agent, self.random
        can_fail_loudly = agent.outcome_type in _NEGATIVE_KINDS
        first_ms = max(planned.at_ms + 1_000, not_before_ms)
        end_ms = planned.at_ms + agent.window_ms
        at_ms = first_ms + int((end_ms - first_ms) * random.betavariate(1.0, 5.0) * 0.999)
        if can_fail_loudly and self._is_turn("ambiguous", _AMBIGUOUS_EVERY):
            return "ambiguous", [self._success(agent, at_ms, stage), self._failure(agent, at_ms)]
        if random.random() < agent.actual(planned.stated):
            signals = [self._success(agent, at_ms, stage)]
            if can_fail_loudly and random.random() < 0.1:
                signals.append(self._failure(agent, random.randint(at_ms + 1, end_ms)))
            return "positive", signals
        if at_ms + 6 * HOUR_MS < CLOCK_UNTIL_MS and self._is_turn("late", _LATE_EVERY):
            return "expired", [replace(self._success(agent, at_ms, stage), is_late=True)]
        if can_fail_loudly and random.random() < 0.55:
            return "negative", [self._failure(agent, at_ms)]
        if random.random() < 0.1:
            too_late_ms = end_ms + random.randrange(HOUR_MS, 48 * HOUR_MS)
            return "expired", [self._success(agent, too_late_ms, stage)]
        return "expired", []

    def _success(self, agent: Agent, at_ms: int, stage: str | None) -> _Signal:
        above = self.random.choice(_STAGES[STAGE_RANKS[stage] + 1 :]) if stage else None
        return _Signal(_POSITIVE_KINDS[agent.outcome_type], at_ms, above)

    def _failure(self, agent: Agent, at_ms: int) -> _Signal:
        kind = _NEGATIVE_KINDS[agent.outcome_type]
        has_stage = agent.outcome_type == "deal_progression"
        stage = self.random.choice(("stalled", "closed_lost")) if has_stage else None
        return _Signal(kind, at_ms, stage)

    def lose_actions(self, count: int) -> None:
        """So many replies come to conversations whose action was lost."""
        for number in range(count):
            at_ms = self.random.randrange(START_MS, ACTIONS_END_MS)
            agent = self.random.choice(AGENTS)
            signal = _Signal("reply_received", at_ms)
            self._put_signal(agent, f"{agent.tenant}-lost-{number:03d}", signal, None)
            self.expected.orphans += 1

    # ---- events --------------------------------------------------------------------------------

    def _put_action(
        self, conversation_id: str, planned: _Planned, stage: str | None, delay_ms: int
    ) -> str:
        """Returns the action's id."""
        agent, random = planned.agent, self.random
        event = self._event(agent.tenant_id, conversation_id, planned.at_ms, "a")
        event["action_type"] = agent.action_type
        event["predicted_confidence"] = planned.stated
        event["confidence_source"] = "self_report"
        event["agent_id"] = agent.name
        event["agent_version"] = "1.4"
        event["cost_usd"] = round(random.uniform(0.002, 0.05), 4)
        event["latency_ms"] = random.randrange(400, 9_000)
        event["interaction_count"] = random.randrange(1, 12)
        if stage:
            event["deal_stage"] = stage
        if self._events % 2:
            event["action_id"] = f"act-{self._events:06d}"
        key = key_of(agent.tenant_id, conversation_id)
        self._actions.append((planned.at_ms, key, event))
        self._put(ACTIONS, key, event, planned.at_ms, delay_ms)
        action_id: str = event.get("action_id", event["event_id"])
        return action_id

    def _put_signal(
        self, agent: Agent, conversation_id: str, signal: _Signal, action_id: str | None
    ) -> None:
        if signal.at_ms >= CLOCK_UNTIL_MS:
            return  # the demo ends before it happens
        event = self._event(agent.tenant_id, conversation_id, signal.at_ms, "i")
        event["kind"] = signal.kind
        if signal.stage:
            event["deal_stage"] = signal.stage
        if action_id:
            event["action_id"] = action_id
        key = key_of(agent.tenant_id, conversation_id)
        if not signal.is_late:
            delay_ms = self._delay_ms() if signal.delay_ms is None else signal.delay_ms
            self._put(INTERACTIONS, key, event, signal.at_ms, delay_ms)
            return
        ahead_ms = signal.at_ms + GRACE_MS + self.random.randrange(5 * _MINUTE_MS, 3 * HOUR_MS)
        arrived_ms = self._put_noise(agent, conversation_id, ahead_ms)
        arrived_ms += self.random.randrange(1_000, 10 * _MINUTE_MS)
        self._send(INTERACTIONS, key, event, arrived_ms)
        self.expected.late += 1

    def _put_noise(self, agent: Agent, conversation_id: str, at_ms: int) -> int:
        """Something that no policy listens to has happened; returns when it arrives."""
        event = self._event(agent.tenant_id, conversation_id, at_ms, "n")
        event["kind"] = self.random.choice(_NOISE_KINDS)
        arrived_ms = at_ms + self._delay_ms()
        self._send(INTERACTIONS, key_of(agent.tenant_id, conversation_id), event, arrived_ms)
        self.expected.ignored += 1
        return arrived_ms

    def _event(
        self, tenant_id: str, conversation_id: str, at_ms: int, prefix: str
    ) -> dict[str, Any]:
        self._events += 1
        return {
            "event_id": f"{prefix}-{self._events:06d}",
            "tenant_id": tenant_id,
            "conversation_id": conversation_id,
            "occurred_at": to_timestamp(at_ms),
        }

    def _delay_ms(self) -> int:
        """Most are under way for seconds; one in eight overtakes or is overtaken."""
        if self.random.random() < 0.125:
            return self.random.randrange(_MINUTE_MS, _DISORDER_MS_MAX)
        return self.random.randrange(50, 5_000)

    def _put(self, topic: str, key: str, event: dict[str, Any], at_ms: int, delay_ms: int) -> None:
        """The event is in the log, now and then twice."""
        self._send(topic, key, event, at_ms + delay_ms)
        if self._is_turn(f"{topic} again", _REPEATED_EVERY):
            again_ms = delay_ms + self.random.randrange(1_000, _REPEAT_MS_MAX - _DISORDER_MS_MAX)
            self._send(topic, key, event, at_ms + again_ms)
            self.expected.duplicates += 1

    def _send(self, topic: str, key: str | None, event: dict[str, Any], arrived_ms: int) -> None:
        self._send_bytes(topic, key, _encode(event), arrived_ms)

    def _send_bytes(self, topic: str, key: str | None, value: bytes, arrived_ms: int) -> None:
        self._records.append(
            Record(topic, None if key is None else key.encode(), value, arrived_ms)
        )

    def _is_turn(self, what: str, every: int) -> bool:
        """Whether this is the first, or the next after so many, of its kind."""
        self._turns[what] += 1
        return self._turns[what] % every == 1

    # ---- poison --------------------------------------------------------------------------------

    def poison(self, number: int) -> None:
        """One of each record that must be refused is in the log, each with its reason."""
        for reason, put in (
            ("json_invalid", self._put_cut_off),
            ("less_than_equal", self._put_too_sure),
            ("literal_error", self._put_unknown_stage),
            ("key", self._put_foreign_key),
            ("no_key", self._put_without_key),
            ("conflict", self._put_conflict),
            ("unknown_action_type", self._put_unknown_type),
            ("future", self._put_future),
        ):
            put(f"poison-{number:03d}")
            self.expected.dead_letters[reason] += 1

    def _some_action(self, conversation_id: str) -> tuple[int, str, dict[str, Any]]:
        """The time and key of some action in another conversation, and its changed body."""
        at_ms, _, original = self.random.choice(self._actions)
        self._events += 1
        event = original | {
            "event_id": f"p-{self._events:06d}",
            "conversation_id": conversation_id,
        }
        event.pop("action_id", None)
        return at_ms, key_of(event["tenant_id"], conversation_id), event

    def _put_cut_off(self, conversation_id: str) -> None:
        at_ms, key, event = self._some_action(conversation_id)
        value = _encode(event)
        self._send_bytes(ACTIONS, key, value[: len(value) // 2], at_ms)

    def _put_too_sure(self, conversation_id: str) -> None:
        at_ms, key, event = self._some_action(conversation_id)
        self._send(ACTIONS, key, event | {"predicted_confidence": 1.7}, at_ms)

    def _put_unknown_stage(self, conversation_id: str) -> None:
        at_ms, key, action = self._some_action(conversation_id)
        names = ("event_id", "tenant_id", "conversation_id", "occurred_at")
        event = {name: action[name] for name in names}
        event |= {"kind": "stage_changed", "deal_stage": "handshake"}
        self._send(INTERACTIONS, key, event, at_ms)

    def _put_foreign_key(self, conversation_id: str) -> None:
        at_ms, _, event = self._some_action(conversation_id)
        key = key_of(tenant_id_of("umbrella"), conversation_id)
        self._send(ACTIONS, key, event, at_ms)

    def _put_without_key(self, conversation_id: str) -> None:
        at_ms, _, event = self._some_action(conversation_id)
        self._send(ACTIONS, None, event, at_ms)

    def _put_conflict(self, _conversation_id: str) -> None:
        """The id of an admitted action comes again, soon enough, with another confidence."""
        at_ms, key, event = self.random.choice(self._actions)
        other = event | {
            "predicted_confidence": round(1 - event["predicted_confidence"], 2) + 0.001
        }
        self._send(ACTIONS, key, other, at_ms + _REPEAT_MS_MAX)

    def _put_unknown_type(self, conversation_id: str) -> None:
        at_ms, key, event = self._some_action(conversation_id)
        self._send(ACTIONS, key, event | {"action_type": "send_fax"}, at_ms)

    def _put_future(self, conversation_id: str) -> None:
        at_ms, key, event = self._some_action(conversation_id)
        self._send(ACTIONS, key, event | {"occurred_at": "2099-12-31T23:59:59Z"}, at_ms)

"""What a task remembers of one topic, and the classes that this leaves open to a record.

An id is remembered until W reaches its time plus the grace; an action until it is settled, then
while an open action of its conversation began before its end; an interaction until
W of the actions reaches its time plus their grace and no open action began at or before it. W is
known between bounds, so what is remembered is too: `sure` where it must be, `may` where it can be.
"""

import json
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from agents_topics.policy import OutcomeRule, Policy
from trueup.audit.contract import Event
from trueup.audit.forgetting import plain
from trueup.audit.reading import ACTIONS
from trueup.audit.rules import Rules
from trueup.audit.times import TopicTime

HELD_MAX = 10_000
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Span:
    """An admitted action in time: when it began, when its windows ended, when it settled."""

    at: int
    end: int
    settled: int


@dataclass(frozen=True, slots=True)
class Bound:
    """A time that is known between two bounds."""

    least: int
    most: int


Spans = dict[str, list[Span]]
"""The admitted actions of each conversation key."""


def action_id_of(event: Any) -> str:
    """An action's id; its event's where it has none of its own."""
    return str(event.action_id or event.event_id)


def rules_of(action: Event, policy: Policy) -> tuple[OutcomeRule, ...]:
    """The outcomes that an action may have under the version of its time."""
    body = action.body
    return policy.version_at(action.at).rules_of(
        body.tenant_id, body.action_type, body.outcome_type
    )


def span_of(event: Event, rules: Rules) -> Span:
    """An action in time."""
    outcomes = rules_of(event, rules.policy)
    windows = [outcome.window_hours for outcome in outcomes]
    labels = [outcome.label_window_hours for outcome in outcomes]
    end = event.at + max(windows) * HOUR_MS
    return Span(event.at, end, event.at + max(windows + labels) * HOUR_MS)


def is_equal(one: Any, other: Any) -> bool:
    """Whether two events are equal as decoded: 1 and 1.0 and true are three values."""
    left, right = (json.dumps(asdict(event), sort_keys=True) for event in (one, other))
    return left == right


class Remembered:
    """What was admitted of one topic-partition, asked before each record, told after it."""

    def __init__(self, topic: str, spans: Spans, time: TopicTime, rules: Rules) -> None:
        self._topic, self._spans, self._time, self._rules = topic, spans, time, rules
        self._events: dict[tuple[str, str], Event] = {}
        self._actions: dict[tuple[str, str], Span] = {}
        self._held_until: dict[str, list[int]] = defaultdict(list)
        self._held_at: dict[str, list[int]] = defaultdict(list)

    def classes_of(self, event: Event, claimed: str) -> set[str]:
        """What a record that is neither late nor ignored may be, one of them if it is sure.

        Args:
            event: The record's event.
            claimed: What it is said to be; what is costly to ask is asked only then.
        """
        first = self._events.get((plain(event.key), event.body.event_id))
        if first is not None and is_equal(first.body, event.body):
            return {"duplicate"}
        open_until = self._settled()
        classes = set()
        questions: list[tuple[str, Callable[[], tuple[bool, bool]]]] = [
            ("conflict", lambda: self._has_conflict(first)),
            ("conflict", lambda: self._has_rival(event, open_until)),
            ("conversation_full", lambda: self._is_full(event.key, claimed, open_until)),
        ]
        for name, ask in questions:
            may, sure = ask()
            if may:
                classes.add(name)
            if sure:
                return classes
        return {*classes, "admitted"}

    def on_admitted(self, event: Event) -> None:
        """The record is admitted."""
        self._events[plain(event.key), event.body.event_id] = event
        if self._topic == ACTIONS:
            span = span_of(event, self._rules)
            self._actions[event.key, action_id_of(event.body)] = span
            self._spans.setdefault(event.key, []).append(span)
            insort(self._held_until[event.key], span.settled)
        else:
            insort(self._held_until[event.key], event.at + self._rules.grace_ms[ACTIONS])
            self._held_at[event.key].append(event.at)

    def _settled(self) -> Bound:
        """Every outcome with a settle time up to here is settled when this record comes."""
        grace_ms, time = self._rules.grace_ms, self._time
        own_ms = time.furthest_ms - grace_ms[self._topic]
        return Bound(time.before.settled_ms(grace_ms), min(own_ms, time.after.settled_ms(grace_ms)))

    def _has_conflict(self, first: Event | None) -> tuple[bool, bool]:
        """Whether the id stands for another body."""
        if first is None:
            return False, False
        until_ms = first.at + self._rules.grace_ms[self._topic]
        return self._time.sure_ms < until_ms, self._time.furthest_ms < until_ms

    def _has_rival(self, event: Event, settled: Bound) -> tuple[bool, bool]:
        """Whether another action of the conversation has the action_id."""
        if self._topic != ACTIONS:
            return False, False
        rival = self._actions.get((event.key, action_id_of(event.body)))
        if rival is None:
            return False, False
        began_ms = self._first_open(event.key, settled)
        return _is_held(rival, began_ms, settled), rival.settled > settled.most

    def _is_full(self, key: str, claimed: str, settled: Bound) -> tuple[bool, bool]:
        """Whether the conversation holds as many as it may."""
        until = self._held_until[key]
        if len(until) < HELD_MAX:
            return False, False
        actions_ms = Bound(self._time.before.time_ms(ACTIONS), self._time.after.time_ms(ACTIONS))
        passed_ms = settled.most if self._topic == ACTIONS else actions_ms.most
        if len(until) - bisect_right(until, passed_ms) >= HELD_MAX:
            return True, True
        if claimed != "conversation_full":
            return False, False
        began_ms = self._first_open(key, settled)
        if self._topic == ACTIONS:
            held = sum(_is_held(span, began_ms, settled) for span in self._spans[key])
        else:
            closed_ms = actions_ms.least - self._rules.grace_ms[ACTIONS]
            held = sum(at > closed_ms or at >= began_ms for at in self._held_at[key])
        return held >= HELD_MAX, False

    def _first_open(self, key: str, settled: Bound) -> int:
        """When the first action of a conversation that may still be open began."""
        began = (span.at for span in self._spans.get(key, ()) if span.settled > settled.least)
        return min(began, default=2**62)


def _is_held(span: Span, began_ms: int, settled: Bound) -> bool:
    """Whether an action may still be remembered."""
    return span.settled > settled.least or span.end > began_ms

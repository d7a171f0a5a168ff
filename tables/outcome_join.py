"""The law that settles an action: F, a pure function of one conversation's admitted events.

Everything that decides an outcome is in this file. It knows no clock, no order of arrival and no
earlier verdict: whenever something changes, the touched outcomes are decided anew from what is
held. (Patching a verdict when "an earlier signal" comes was wrong in most simulated runs.)

1. An outcome's window is [occurred_at, end), in whole milliseconds.
2. A human label that names the action, inside [occurred_at, settle time), decides; of several the
   greatest (time, event_id).
3. A signal is an interaction inside the window that the policy's rule calls positive, negative or
   ambiguous, comparing fields of the two events only.
4. An interaction with an action_id concerns that action alone.
5. Attribution `last`: it counts for the greatest (time, action_id) among the actions it would
   count for and whose window contains it, resolved or not; `direct`: only where it names the
   action; `all`: for every one.
6. The earliest time decides. At that millisecond: only positive ones -> positive, only negative
   -> negative, else ambiguous; the deciding event is the smallest event_id there.
7. None: expired at the window's end, once settled; pending until then.
8. Scores: positive 1, or how far the deal came; negative 0; ambiguous and expired none.
"""

from bisect import bisect_left
from typing import Any, NamedTuple

import msgspec

from agents_topics.events import STAGE_RANKS
from agents_topics.policy import OutcomeRule
from agents_topics.rules import HUMAN_LABEL

_LOST = frozenset({"closed_lost", "stalled"})
_LABEL_SCORES = {"positive": 1.0, "negative": 0.0, "ambiguous": None}
_WON_RANK = STAGE_RANKS["closed_won"]
_NOTHING: frozenset[str] = frozenset()


class Verdict(NamedTuple):
    """What is known of an outcome; the first of equal events in log order is long since chosen."""

    status: str
    score: float | None
    signal_source: str | None
    decided_by: str | None
    resolved_at_ms: int | None
    known_at_ms: int | None


PENDING = Verdict("pending", None, None, None, None, None)


class HeldInteraction(msgspec.Struct, eq=False, gc=False):
    """What is kept of an admitted interaction: its time, its id and what signals compare."""

    at_ms: int
    event_id: str
    kind: str
    action_id: str | None
    stage: str | None
    count: int | None
    label: str | None
    label_score: float | None
    known_at_ms: int
    is_matched: bool = False
    is_logged: bool = False
    is_dropped: bool = False


class OpenOutcome(msgspec.Struct, eq=False, gc=False):
    """One outcome of an action: its rule, its times, and what was last said of it.

    `id` is empty until something is said; `revision` counts what was said, from 0 on.
    """

    rule: OutcomeRule
    end_ms: int
    settle_ms: int
    said: Verdict | None = None
    is_settled: bool = False
    revision: int = -1
    id: str = ""


class Carried(msgspec.Struct, eq=False, gc=False):
    """What stands in an action's outcomes and decides none of them.

    `passed_on` are the fields that only pass through (`agents_topics.events.Outcome`, from `rep_id`
    on).
    """

    policy_version: str
    action_type: str
    predicted_confidence: float | None
    confidence_source: str
    passed_on: tuple[Any, ...]
    confidence_label: str | None = None


class HeldAction(msgspec.Struct, eq=False):
    """What is kept of an admitted action: open until all its outcomes are settled.

    `end_ms` is when the last of its windows ends, `settle_ms` when the last outcome settles;
    `has_last`: a later action may take a signal from one of its outcomes (law 5).
    """

    conversation: "Conversation"
    action_id: str
    at_ms: int
    stage: str | None
    count: int | None
    carried: Carried
    outcomes: list[OpenOutcome] = []
    end_ms: int = 0
    settle_ms: int = 0
    open_count: int = 0
    has_last: bool = False
    is_touched: bool = False
    is_changed: bool = False
    is_logged: bool = False
    is_dropped: bool = False

    def add(self, outcome: OpenOutcome) -> None:
        """Gives the action one of its outcomes."""
        self.outcomes.append(outcome)
        if outcome.end_ms > self.end_ms:
            self.end_ms = outcome.end_ms
        if outcome.settle_ms > self.settle_ms:
            self.settle_ms = outcome.settle_ms
        if outcome.rule.attribution == "last":
            self.has_last = True
        self.open_count += not outcome.is_settled


class Conversation(msgspec.Struct, eq=False):
    """What is held of a conversation: all that one decision may look at.

    Actions by id, open or remembered; interactions ordered by (time, event_id), each with both.
    """

    key: str
    actions: dict[str, HeldAction] = {}
    interactions: list[tuple[int, str, HeldInteraction]] = []


def meanings_of(
    interaction: HeldInteraction, action: HeldAction, rule: OutcomeRule
) -> frozenset[str]:
    """What an interaction means for an action by the rule's signals, time left aside (law 3, 4)."""
    signals = rule.signals_of(interaction.kind)
    if not signals or interaction.kind == HUMAN_LABEL:
        return _NOTHING
    if interaction.action_id is not None:
        if interaction.action_id != action.action_id:
            return _NOTHING
    elif rule.attribution == "direct":
        return _NOTHING
    return frozenset(
        [signal.means for signal in signals if _compares(signal.when, interaction, action)]
    )


def _compares(when: str, interaction: HeldInteraction, action: HeldAction) -> bool:
    if when == "always":
        return True
    if when == "count_above":
        return (
            interaction.count is not None
            and action.count is not None
            and interaction.count > action.count
        )
    if when == "stage_lost":
        return interaction.stage in _LOST
    own, other = STAGE_RANKS.get(action.stage or ""), STAGE_RANKS.get(interaction.stage or "")
    return own is not None and other is not None and other > own


def decide(action: HeldAction, outcome: OpenOutcome) -> Verdict:
    """F: the verdict on one outcome of an action from everything that its conversation holds."""
    rule, end_ms, settle_ms = outcome.rule, outcome.end_ms, outcome.settle_ms
    interactions = action.conversation.interactions
    decisive: list[tuple[HeldInteraction, frozenset[str]]] = []
    label: HeldInteraction | None = None
    furthest_rank = -1
    for at_ms, _, interaction in interactions[bisect_left(interactions, (action.at_ms,)) :]:
        if at_ms >= settle_ms:
            break
        if interaction.kind == HUMAN_LABEL:
            if interaction.action_id == action.action_id and interaction.label is not None:
                label = interaction
            continue
        if at_ms >= end_ms:
            continue
        means = meanings_of(interaction, action, rule)
        if not means or (rule.attribution == "last" and not is_last(interaction, action, rule)):
            continue
        if not decisive or at_ms == decisive[0][0].at_ms:
            decisive.append((interaction, means))
        if rule.score == "stages" and "positive" in means:
            furthest_rank = max(furthest_rank, STAGE_RANKS.get(interaction.stage or "", -1))
    if label is not None:
        return _verdict_of_label(label)
    if not decisive:
        return PENDING
    return _verdict_of_signals(action, decisive, furthest_rank)


def is_last(interaction: HeldInteraction, action: HeldAction, rule: OutcomeRule) -> bool:
    """Law 5: no later action takes the interaction for its outcome of the same type."""
    own = (action.at_ms, action.action_id)
    return not any(
        (other.at_ms, other.action_id) > own
        and other.at_ms <= interaction.at_ms < outcome.end_ms
        and outcome.rule.type == rule.type
        and meanings_of(interaction, other, outcome.rule)
        for other in action.conversation.actions.values()
        for outcome in other.outcomes
    )


def _verdict_of_label(label: HeldInteraction) -> Verdict:
    status = label.label or ""
    score = label.label_score if label.label_score is not None else _LABEL_SCORES[status]
    return Verdict(status, score, "human_label", label.event_id, label.at_ms, label.known_at_ms)


def _verdict_of_signals(
    action: HeldAction, decisive: list[tuple[HeldInteraction, frozenset[str]]], furthest_rank: int
) -> Verdict:
    means = _NOTHING.union(*(meant for _, meant in decisive))
    status = next(iter(means)) if len(means) == 1 else "ambiguous"
    event = decisive[0][0]
    score = None
    if status == "negative":
        score = 0.0
    elif status == "positive":
        own_rank = STAGE_RANKS.get(action.stage or "")
        if furthest_rank >= 0 and own_rank is not None and own_rank < _WON_RANK:
            score = (furthest_rank - own_rank) / (_WON_RANK - own_rank)
        else:
            score = 1.0
    return Verdict(status, score, "automatic", event.event_id, event.at_ms, event.known_at_ms)


def expired(outcome: OpenOutcome) -> Verdict:
    """The verdict on a settled outcome that nothing decided (law 7)."""
    return Verdict("expired", None, "automatic", None, outcome.end_ms, None)

"""What an interaction meant for an outcome, in words; whether it meant anything, the core says."""

from dataclasses import dataclass, replace

from agents_topics.events import STAGE_RANKS, Outcome
from agents_topics.policy import OutcomeRule, Signal
from agents_topics.rules import HUMAN_LABEL
from tables.holding import held_interaction
from tables.outcome_join import HeldAction, HeldInteraction, OpenOutcome, is_last, meanings_of
from trueup.explain import Arrived, Case, Chapter
from trueup.plain_text import duration, shown, utc


@dataclass(frozen=True, slots=True)
class Meaning:
    """What it meant (empty: nothing), by which of the rule's signals, and what else to say."""

    means: tuple[str, ...]
    why: str
    signals: tuple[Signal, ...] = ()
    decided: bool = False
    is_in_window: bool = True


def signal_in_words(signal: Signal) -> str:
    """A rule's signal as a condition.

    >>> signal_in_words(Signal(kind="stage_changed", when="stage_lost", means="negative"))
    'stage_changed to a lost or stalled stage is negative'
    """
    return f"{signal.kind}{condition_of(signal)} is {signal.means}"


def condition_of(signal: Signal) -> str:
    """What must be so beside the kind; empty where nothing must."""
    return {
        "always": "",
        "stage_above": " to a stage above the action's own",
        "stage_lost": " to a lost or stalled stage",
        "count_above": " with an interaction_count above the action's own",
    }[signal.when]


def rule_in_words(rule: OutcomeRule) -> str:
    """What counts for an outcome; signals that any kind can give are told once."""
    always = [s for s in rule.signals if s.when != "count_above"]
    counted = {s.means: None for s in rule.signals if s.when == "count_above"}
    told = [signal_in_words(signal) for signal in always]
    for means in counted:
        kinds = [s.kind for s in rule.signals if s.when == "count_above" and s.means == means]
        kind = kinds[0] if len(kinds) == 1 else "any listened kind"
        told.append(f"{kind} with an interaction_count above the action's own is {means}")
    attribution = {
        "all": "",
        "last": "; it counts for the last action that it can count for",
        "direct": "; only where it names the action",
    }[rule.attribution]
    return "; ".join(told) + attribution


def meaning_of(case: Case, chapter: Chapter, one: Arrived) -> Meaning:
    """What a record of the conversation meant for an outcome."""
    outcome, open_outcome, action = chapter.outcome, chapter.held, case.action
    assert open_outcome
    assert action
    at_ms = one.at_ms
    is_in = at_ms is not None and outcome.created_at_ms <= at_ms < open_outcome.settle_ms
    if one.became != "admitted":
        return Meaning((), _not_admitted(one), is_in_window=is_in)
    held = held_interaction(one.at_ms or 0, one.event, one.broker_ms)
    decided = chapter.outcome.decided_by == held.event_id
    if held.kind == HUMAN_LABEL:
        return _of_label(held, action, open_outcome, decided)
    if not is_in or held.at_ms >= open_outcome.end_ms:
        return Meaning((), _outside(held, open_outcome, action), is_in_window=False)
    means = meanings_of(held, action, open_outcome.rule)
    if not means:
        return Meaning((), _why_nothing(held, action, open_outcome.rule))
    if open_outcome.rule.attribution == "last" and not is_last(held, action, open_outcome.rule):
        return Meaning((), "it counts for a later action of the conversation")
    why = ""
    if outcome.resolved_at_ms is not None and not decided:
        is_same = held.at_ms == outcome.resolved_at_ms
        why = "an earlier one decided"
        if outcome.signal_source == HUMAN_LABEL:
            why = "a person's label decided"
        elif is_same:
            why = "it came at the same millisecond as the one that decided"
    signals = tuple(matched(held, action, open_outcome.rule))
    return Meaning(tuple(sorted(means)), why, signals, decided)


def matched(held: HeldInteraction, action: HeldAction, rule: OutcomeRule) -> list[Signal]:
    """The rule's signals that an interaction is, by the core's law."""
    return [s for s in rule.signals if meanings_of(held, action, replace(rule, signals=(s,)))]


def _of_label(
    held: HeldInteraction, action: HeldAction, outcome: OpenOutcome, decided: bool
) -> Meaning:
    if held.action_id != action.action_id:
        named = f"the action {shown(held.action_id)}" if held.action_id else "no action"
        return Meaning((), f"a person's label that names {named}")
    if held.label is None:
        return Meaning((), "a person's label that says nothing")
    if not action.at_ms <= held.at_ms < outcome.settle_ms:
        why = f"a person's label outside its time, which ended {utc(outcome.settle_ms)}"
        return Meaning((), why, is_in_window=False)
    why = "" if decided else "a later label decided"
    return Meaning((held.label,), why, decided=decided)


def _not_admitted(one: Arrived) -> str:
    if one.became == "dead":
        assert one.letter or one.event is None
        if one.letter is None:
            return "it cannot be read"
        return f"dead letter {one.letter.id}: {shown(one.letter.reason)}"
    if one.became == "late":
        assert one.late
        behind = duration(one.late.compared_ms - one.late.occurred_at_ms)
        return f"late: its topic was {behind} further by then, the grace is " + duration(
            one.late.grace_ms
        )
    return {
        "ignored": "no rule of any policy version listens to this kind",
        "duplicate": "a copy of an event that was there already",
        "waiting": "no worker has read it yet",
    }[one.became]


def _outside(held: HeldInteraction, outcome: OpenOutcome, action: HeldAction) -> str:
    if held.at_ms < action.at_ms:
        return f"{duration(action.at_ms - held.at_ms)} before the action"
    past_ms = held.at_ms - outcome.end_ms
    return f"{duration(past_ms)} after the window" if past_ms else "exactly at the window's end"


def _why_nothing(held: HeldInteraction, action: HeldAction, rule: OutcomeRule) -> str:
    signals = rule.signals_of(held.kind)
    if not signals:
        return f"no rule of {rule.type} listens to {shown(held.kind)}"
    if held.action_id is not None and held.action_id != action.action_id:
        return f"it concerns the action {shown(held.action_id)} alone"
    if held.action_id is None and rule.attribution == "direct":
        return "it names no action, and only what names the action counts"
    return ", and ".join(dict.fromkeys(_why_not(signal, held, action) for signal in signals))


def _why_not(signal: Signal, held: HeldInteraction, action: HeldAction) -> str:
    """Why a comparison does not hold."""
    if signal.when == "count_above":
        if held.count is None or action.count is None:
            who = "the action" if held.count is not None else "it"
            return f"{who} states no interaction_count"
        return f"its interaction_count {held.count} is not above the action's own, {action.count}"
    if signal.when == "stage_lost":
        return f"{held.stage or 'no stage'} is not lost or stalled"
    if held.stage is None or action.stage is None:
        return f"{'the action' if held.stage else 'it'} states no stage"
    if held.stage not in STAGE_RANKS or action.stage not in STAGE_RANKS:
        return f"from {action.stage} to {held.stage} is no step up"
    return f"{held.stage} does not rank above {action.stage}"


def stated_in_words(about: Outcome) -> str:
    """How sure the agent said that it was, in a number, a word or both."""
    label = shown(about.confidence_label) if about.confidence_label else ""
    if about.predicted_confidence is None:
        return f"said {label} of its confidence"
    return f"was {about.predicted_confidence:.0%} sure" + (f" ({label})" if label else "")


def among_whom(outcome: Outcome) -> str:
    """Whose bin it is in; or whose label, where no number was stated."""
    if outcome.predicted_confidence is None:
        return f"that said {shown(outcome.confidence_label or '')}, in no bin,"
    low = min(int(outcome.predicted_confidence * 1_000_000 + 0.5) // 100_000, 9) * 10
    return f"{low} to {low + 10} % sure"

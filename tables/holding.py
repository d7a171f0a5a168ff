"""What is held of an admitted event: one form for the step that takes it in and whoever retells."""

from sys import intern

from agents_topics.events import Action, Interaction
from agents_topics.policy import OutcomeRule, PolicyVersion
from agents_topics.rules import HUMAN_LABEL
from tables.outcome_join import Conversation, HeldAction, HeldInteraction, OpenOutcome
from tables.outcome_record import carried_of, passed_on_of


def held_action(
    conversation: Conversation,
    at_ms: int,
    event: Action,
    version: PolicyVersion,
    rules: tuple[OutcomeRule, ...],
) -> HeldAction:
    """An action with an open outcome for each rule; its conversation does not hold it yet."""
    carried = carried_of(
        version.digest, event.action_type, event.predicted_confidence,
        version.source_of(event.action_type, event.confidence_source), passed_on_of(event),
        event.confidence_label,
    )  # fmt: skip
    action = HeldAction(
        conversation, event.action_id or event.event_id, at_ms,
        event.deal_stage and intern(event.deal_stage), event.interaction_count, carried,
    )  # fmt: skip
    for rule in rules:
        action.add(OpenOutcome(rule, at_ms + rule.window_ms, at_ms + rule.settle_after_ms))
    return action


def held_interaction(at_ms: int, event: Interaction, known_at_ms: int) -> HeldInteraction:
    """An interaction; `known_at_ms` is the broker's timestamp of its record."""
    return HeldInteraction(
        at_ms, event.event_id, event.kind, event.action_id, event.deal_stage,
        event.interaction_count, event.label, event.label and _label_score_of(event), known_at_ms,
    )  # fmt: skip


def _label_score_of(event: Interaction) -> float | None:
    """The score that a label brings along."""
    score = event.metadata.get("score") if event.metadata else None
    return float(score) if isinstance(score, int | float) else None


def meets(held: HeldInteraction, action: HeldAction) -> bool:
    """Whether the interaction lies in the action's time and may concern it; a label is of one."""
    if held.action_id is None:
        is_about = held.kind != HUMAN_LABEL
    else:
        is_about = held.action_id == action.action_id
    return is_about and action.at_ms <= held.at_ms < action.settle_ms

"""The changelog's rows of actions and interactions: written and read here alone."""

from sys import intern
from typing import Any

from agents_topics.policy import Policy
from tables.outcome_join import (
    PENDING,
    Conversation,
    HeldAction,
    HeldInteraction,
    OpenOutcome,
    Verdict,
)
from tables.outcome_record import carried_of


def action_key(action: HeldAction) -> bytes:
    """`a/`, conversation key, NUL, action_id."""
    return f"a/{action.conversation.key}\0{action.action_id}".encode()


def interaction_key(key: str, held: HeldInteraction) -> bytes:
    """`i/`, conversation key, NUL, time, `/`, event_id.

    With the time, because an id that was forgotten may come again while its first one is held.
    """
    return f"i/{key}\0{held.at_ms}/{held.event_id}".encode()


def action_row(action: HeldAction) -> tuple[Any, ...]:
    """What is needed to hold the action again."""
    carried = action.carried
    passed_on = carried.passed_on
    return (
        action.conversation.key,
        action.action_id,
        action.at_ms,
        action.stage,
        action.count,
        carried.policy_version,
        carried.action_type,
        carried.predicted_confidence,
        carried.confidence_source,
        passed_on if passed_on[-1] else passed_on[:-1],  # without a channel as ever
        carried.confidence_label,
        [(o.rule.type, o.revision, o.is_settled, o.said) for o in action.outcomes],
    )


def interaction_row(key: str, held: HeldInteraction) -> tuple[Any, ...]:
    """What is needed to hold the interaction again."""
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


def action_of(row: Any, conversation: Conversation, policy: Policy) -> HeldAction:
    """The action of a row; one that an earlier release wrote has no label.

    Raises:
        KeyError: the row names a policy version that the policy lacks.
    """
    key, action_id, at_ms, stage, count, *about, outcomes = row
    carried = carried_of(*about)
    tenant_id = key.partition("/")[0]
    version = policy.by_digest[carried.policy_version]
    rules = {rule.type: rule for rule in version.rules_of(tenant_id, carried.action_type)}
    action = HeldAction(conversation, action_id, at_ms, stage and intern(stage), count, carried)
    action.is_logged = True
    for outcome_type, revision, is_settled, said in outcomes:
        rule = rules[outcome_type]
        verdict = PENDING if said[0] == PENDING.status else Verdict(*said)
        end_ms, settle_ms = at_ms + rule.window_ms, at_ms + rule.settle_after_ms
        action.add(OpenOutcome(rule, end_ms, settle_ms, verdict, is_settled, revision))
    return action


def interaction_of(row: Any) -> HeldInteraction:
    """The interaction of a row."""
    _, *fields = row
    held = HeldInteraction(*fields)
    held.is_logged = True
    return held

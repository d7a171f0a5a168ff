"""The outcome as it is published: made anew, whole, each time something is said of it."""

from collections.abc import Callable
from operator import attrgetter
from sys import intern
from typing import Any, cast

from agents_topics.events import Outcome
from agents_topics.identifiers import outcome_id_of
from tables.outcome_join import PENDING, Carried, HeldAction, OpenOutcome
from tables.structs import struct_of, written_struct_of

OutcomeStruct = struct_of(Outcome)

_outcome: Callable[..., Outcome] = cast(Any, written_struct_of(Outcome))

passed_on_of = attrgetter(
    "rep_id", "agent_id", "agent_version", "model", "cost_usd", "latency_ms", "metadata", "channel"
)
"""The fields of an action that only pass through, in the order of an outcome's last ones."""
PASSED_ON_COUNT = 8


def carried_of(
    policy_version: str,
    action_type: str,
    predicted_confidence: float | None,
    confidence_source: str,
    passed_on: tuple[Any, ...],
    confidence_label: str | None = None,
) -> Carried:
    """What stands in an action's outcomes.

    Words that many actions share are held once: there may be millions of open ones.
    """
    if len(passed_on) < PASSED_ON_COUNT:
        passed_on = (*passed_on, None)  # an action without a channel is kept as ever
    rep_id, agent_id, agent_version, model, cost_usd, latency_ms, metadata, channel = passed_on
    return Carried(
        intern(policy_version),
        intern(action_type),
        predicted_confidence,
        intern(confidence_source),
        (
            rep_id and intern(rep_id),
            agent_id and intern(agent_id),
            agent_version and intern(agent_version),
            model and intern(model),
            cost_usd,
            latency_ms,
            metadata,
            channel and intern(channel),
        ),
        confidence_label and intern(confidence_label),
    )


def outcome_of(action: HeldAction, outcome: OpenOutcome, is_lead: bool | None) -> Outcome:
    """What was last said of an outcome, with all that goes with it."""
    carried, rule = action.carried, outcome.rule
    status, score, signal_source, decided_by, resolved_at_ms, known_at_ms = outcome.said or PENDING
    tenant_id, _, conversation_id = action.conversation.key.partition("/")
    if not outcome.id:
        outcome.id = outcome_id_of(tenant_id, conversation_id, action.action_id, rule.type)
    return _outcome(
        # By position, in the order of the contract: names would cost ten times as much.
        outcome.id,
        tenant_id,
        conversation_id,
        action.action_id,
        carried.action_type,
        rule.type,
        carried.predicted_confidence,
        carried.confidence_label,
        carried.confidence_source,
        status,
        score,
        signal_source,
        decided_by,
        action.at_ms,
        outcome.end_ms,
        outcome.settle_ms,
        resolved_at_ms,
        known_at_ms,
        max(outcome.revision, 0),
        outcome.is_settled,
        rule.calibrates,
        is_lead,
        rule.confidence_means == "success_in_window",
        carried.policy_version,
        action.stage,
        action.count,
        *carried.passed_on,
    )

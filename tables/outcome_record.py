"""The outcome as it is published, held as a struct and revised by replacing what a verdict says."""

from collections.abc import Callable
from operator import attrgetter
from sys import intern
from typing import Any, cast

import msgspec

from agents_topics.events import Outcome
from agents_topics.identifiers import outcome_id_of
from agents_topics.policy import OutcomeRule
from tables.outcome_join import HeldAction, OpenOutcome, Verdict
from tables.structs import struct_of

OutcomeStruct = struct_of(Outcome)

_revised: Callable[..., Outcome] = cast(Any, msgspec.structs.replace)

carried_of = attrgetter(
    "rep_id", "agent_id", "agent_version", "model", "cost_usd", "latency_ms", "metadata"
)
"""The fields that only pass through, of an action or an outcome."""


def unpublished(
    key: str,
    action: HeldAction,
    rule: OutcomeRule,
    version: str,
    action_type: str,
    confidence: float | None,
    confidence_source: str,
    carried: tuple[Any, ...],
    label: str | None = None,
) -> Outcome:
    """An outcome of an action before anything was said of it.

    Words that many actions share are held once: there may be millions of open ones.
    """
    tenant_id, _, conversation_id = key.partition("/")
    rep_id, agent_id, agent_version, model, cost_usd, latency_ms, metadata = carried
    at_ms = action.at_ms
    return _revised(
        _template(rule, version, action_type),
        id=outcome_id_of(tenant_id, conversation_id, action.action_id, rule.type),
        tenant_id=intern(tenant_id),
        conversation_id=conversation_id,
        action_id=action.action_id,
        predicted_confidence=confidence,
        confidence_label=label and intern(label),
        confidence_source=intern(confidence_source),
        created_at_ms=at_ms,
        window_expires_at_ms=at_ms + rule.window_ms,
        settled_at_ms=at_ms + rule.settle_after_ms,
        deal_stage=action.stage,
        interaction_count=action.count,
        rep_id=rep_id and intern(rep_id),
        agent_id=agent_id and intern(agent_id),
        agent_version=agent_version and intern(agent_version),
        model=model and intern(model),
        cost_usd=cost_usd,
        latency_ms=latency_ms,
        metadata=metadata,
    )


_templates: dict[tuple[str, str, str, bool, str], Outcome] = {}


def _template(rule: OutcomeRule, version: str, action_type: str) -> Outcome:
    """What the rule alone says of an outcome; a tenant's own rule may say something else."""
    of = (version, action_type, rule.type, rule.calibrates, rule.confidence_means)
    template = _templates.get(of)
    if template is None:
        template = _templates[of] = OutcomeStruct(
            id="",
            tenant_id="",
            conversation_id="",
            action_id="",
            action_type=action_type,
            outcome_type=rule.type,
            predicted_confidence=None,
            confidence_source="",
            status="pending",
            score=None,
            signal_source=None,
            decided_by=None,
            created_at_ms=0,
            window_expires_at_ms=0,
            settled_at_ms=0,
            resolved_at_ms=None,
            known_at_ms=None,
            revision=0,
            is_settled=False,
            calibrates=rule.calibrates,
            is_lead=None,
            expired_counts=rule.confidence_means == "success_in_window",
            policy_version=version,
        )
    return template


def with_verdict(
    outcome: OpenOutcome, verdict: Verdict, revision: int, is_lead: bool | None
) -> Outcome:
    """The next revision of an outcome."""
    status, score, signal_source, decided_by, resolved_at_ms, known_at_ms = verdict
    return _revised(
        outcome.record,
        status=status,
        score=score,
        signal_source=signal_source,
        decided_by=decided_by,
        resolved_at_ms=resolved_at_ms,
        known_at_ms=known_at_ms,
        revision=revision,
        is_settled=outcome.is_settled,
        is_lead=is_lead,
    )

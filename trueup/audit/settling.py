"""The law that settles an action, applied the slow way to whole lists of admitted events.

docs/semantics.md says it in words: windows, signals, human labels, attribution, scores; and which
settled outcome leads its conversation in its stream.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from agents_topics.events import STAGE_RANKS, Action, Interaction
from agents_topics.policy import OutcomeRule, Policy
from trueup.audit.contract import Event
from trueup.audit.remembering import HOUR_MS, action_id_of, rules_of

Name = tuple[str, str, str]
"""Conversation key, action_id, outcome type."""


def settle(
    admitted: Mapping[int, Mapping[str, list[Event]]], policy: Policy, as_of: Mapping[int, int]
) -> tuple[dict[Name, dict[str, Any]], set[Name]]:
    """Every settled outcome by name, and the names of those still open."""
    settled: dict[Name, dict[str, Any]] = {}
    open_names: set[Name] = set()
    for partition, topics in admitted.items():
        by_key: dict[str, list[Event]] = defaultdict(list)
        for interaction in topics["agent-interactions"]:
            by_key[interaction.key].append(interaction)
        actions_of: dict[str, list[Event]] = defaultdict(list)
        for action in topics["agent-actions"]:
            actions_of[action.key].append(action)
        for key, actions in actions_of.items():
            for action in actions:
                version = policy.version_at(action.at)
                source = version.source_of(action.body.action_type, action.body.confidence_source)
                for rule in rules_of(action, policy):
                    name = (key, action_id_of(action.body), rule.type)
                    outcome = _decide(action, rule, actions, by_key[key], policy)
                    outcome["policy_version"] = version.digest
                    outcome["stream"] = (*outcome["stream"][:-1], source)
                    if outcome["settled_at"] <= as_of.get(partition, -(2**62)):
                        settled[name] = outcome
                    else:
                        open_names.add(name)
    _mark_leads(settled)
    return settled, open_names


def _decide(
    action: Event,
    rule: OutcomeRule,
    actions: list[Event],
    interactions: list[Event],
    policy: Policy,
) -> dict[str, Any]:
    event = action.body
    end = action.at + rule.window_hours * HOUR_MS
    settled_at = action.at + max(rule.window_hours, rule.label_window_hours) * HOUR_MS
    outcome: dict[str, Any] = {
        "status": "expired",
        "score": None,
        "signal_source": "automatic",
        "decided_by": None,
        "resolved_at": end,
        "created_at": action.at,
        "window_expires_at": end,
        "settled_at": settled_at,
        "calibrates": rule.calibrates,
        "expired_counts": rule.confidence_means == "success_in_window",
        "confidence": event.predicted_confidence,
        "confidence_label": event.confidence_label,
        "stream": (event.tenant_id, event.action_type, rule.type, rule.window_hours * HOUR_MS,
                   event.confidence_source),
    }  # fmt: skip
    labels = [
        i
        for i in interactions
        if i.body.kind == "human_label"
        and i.body.label
        and i.body.action_id == action_id_of(event)
        and action.at <= i.at < settled_at
    ]
    if labels:
        last = max(labels, key=lambda i: (i.at, i.body.event_id))
        score = (last.body.metadata or {}).get("score")
        if not isinstance(score, int | float):
            score = {"positive": 1.0, "negative": 0.0}.get(last.body.label)
        outcome.update(status=last.body.label, score=score, signal_source="human_label",
                       decided_by=last.body.event_id, resolved_at=last.at)  # fmt: skip
        return outcome
    signals = [
        (i.at, i.body.event_id, meant, i.body.deal_stage)
        for i in interactions
        if action.at <= i.at < end and (meant := _meant(i.body, event, rule))
        and (rule.attribution != "last" or _takes(i, action, rule.type, actions, policy))
    ]  # fmt: skip
    if not signals:
        return outcome
    first_at = min(at for at, *_ in signals)
    decisive = sorted(signal for signal in signals if signal[0] == first_at)
    meanings = {meaning for _, _, meant, _ in decisive for meaning in meant}
    status = meanings.pop() if len(meanings) == 1 else "ambiguous"
    own = STAGE_RANKS.get(event.deal_stage or "")
    ranks = [STAGE_RANKS[s] for _, _, m, s in signals if s in STAGE_RANKS and "positive" in m]
    score = {"positive": 1.0, "negative": 0.0}.get(status)
    if status == "positive" and rule.score == "stages" and ranks and own is not None and own < 5:
        score = (max(ranks) - own) / (5 - own)
    outcome.update(status=status, score=score, decided_by=decisive[0][1], resolved_at=first_at)
    return outcome


def _meant(interaction: Interaction, action: Action, rule: OutcomeRule) -> tuple[str, ...]:
    """What an interaction means by the rule's signals; sorted, empty where it means nothing."""
    if interaction.kind == "human_label":
        return ()
    if interaction.action_id not in (None, action_id_of(action)):
        return ()
    if rule.attribution == "direct" and interaction.action_id is None:
        return ()
    own = STAGE_RANKS.get(action.deal_stage or "", 99)
    counts = (interaction.interaction_count, action.interaction_count)
    holds = {
        "always": True,
        "stage_above": STAGE_RANKS.get(interaction.deal_stage or "", -1) > own,
        "stage_lost": interaction.deal_stage in ("closed_lost", "stalled"),
        "count_above": counts[0] is not None and counts[1] is not None and counts[0] > counts[1],
    }
    meant = {s.means for s in rule.signals if s.kind in ("*", interaction.kind) and holds[s.when]}
    return tuple(sorted(meant))


def _takes(
    interaction: Event,
    action: Event,
    outcome_type: str,
    actions: list[Event],
    policy: Policy,
) -> bool:
    """Attribution `last`: no later action takes the interaction."""
    rivals = [
        (other.at, action_id_of(other.body))
        for other in actions
        for rule in rules_of(other, policy)
        if rule.type == outcome_type
        and other.at <= interaction.at < other.at + rule.window_hours * HOUR_MS
        and _meant(interaction.body, other.body, rule)
    ]
    return max(rivals) == (action.at, action_id_of(action.body))


def _mark_leads(settled: Mapping[Name, dict[str, Any]]) -> None:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for (key, action_id, _), outcome in settled.items():
        order = (outcome["settled_at"], outcome["created_at"], action_id)
        groups[key, outcome["stream"]].append((order, outcome))
    for members in groups.values():
        end = None
        for _, outcome in sorted(members, key=lambda member: member[0]):
            outcome["is_lead"] = end is None or outcome["created_at"] >= end
            end = outcome["window_expires_at"] if outcome["is_lead"] else end

"""A policy in words, and what differs between two."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from agents_topics.events import PolicyRecord
from agents_topics.policy import CONFIDENCE_LABELS, OutcomeRule, Policy, PolicyVersion, Signal

_MEANS = ("positive", "negative", "ambiguous")
_WHEN = {
    "always": "{}",
    "stage_above": "{} to a stage above the action's own",
    "stage_lost": "{} to closed_lost or stalled",
    "count_above": "{} with an interaction_count above the action's own",
}
_ATTRIBUTION = {
    "all": "counts for all open actions of the conversation",
    "last": "counts for the last action that it could count for",
    "direct": "counts for the action that it names",
}
_EXPIRED = {
    "success_in_window": "expired counts as no success",
    "success_given_signal": "expired is left out",
}


def told(policy: Policy, versions: Iterable[PolicyVersion], tenant_id: str | None) -> Iterator[str]:
    """The versions in words, for one tenant or for all."""
    names = {tenant: name for name, tenant in policy.tenants.items()}
    if policy.is_listed:
        yield f"only these tenants may send events: {', '.join(sorted(policy.tenants))}"
    for version in versions:
        yield f"{begin_of(version.effective_from)} ({version.digest})"
        if version.confidence_labels != CONFIDENCE_LABELS:
            yield f"  words for a confidence: {', '.join(version.confidence_labels)}"
        for owner, action_type, rules in _parts(version, tenant_id):
            own = f", for {names.get(owner, owner)} alone" if owner else ""
            source = version.confidence_sources.get(action_type)
            stated = f"; its confidence is {source} unless the event says" if source else ""
            yield f"  {action_type}{own}{stated}"
            for rule in rules:
                yield from _rule(rule, version.kinds)


def begin_of(effective_from: str | None) -> str:
    """When a version begins, in words."""
    return f"from {effective_from} on" if effective_from else "from the beginning"


def _parts(
    version: PolicyVersion, tenant_id: str | None
) -> Iterator[tuple[str | None, str, tuple[OutcomeRule, ...]]]:
    if tenant_id is None:
        yield from version.parts()
        return
    own = version.tenants.get(tenant_id, {})
    for action_type in version.action_types_of(tenant_id):
        owner = tenant_id if action_type in own else None
        yield owner, action_type, version.rules_of(tenant_id, action_type)


def _rule(rule: OutcomeRule, every_kind: frozenset[str]) -> Iterator[str]:
    about = [f"within {_hours(rule.window_hours)}", _ATTRIBUTION[rule.attribution]]
    if rule.label_window_hours:
        about.append(f"a person may label it for {_hours(rule.label_window_hours)}")
    if rule.score == "stages":
        about.append("scored by how far the deal came")
    yield f"    {rule.type}: {'; '.join(about)}"
    for means in _MEANS:
        if signals := [signal for signal in rule.signals if signal.means == means]:
            yield f"      {means:9} {', '.join(_signals(signals, every_kind))}"
    if rule.calibrates:
        yield (
            f"      calibrates: {_EXPIRED[rule.confidence_means]}"
            f"; success wanted in {rule.target_success:.0%}; acts from {rule.first_threshold:.0%}"
        )


def _signals(signals: Iterable[Signal], every_kind: frozenset[str]) -> Iterator[str]:
    """Each way of comparing with its kinds."""
    kinds: dict[str, list[str]] = {}
    for signal in signals:
        kinds.setdefault(signal.when, []).append(signal.kind)
    for when, named in kinds.items():
        is_any = len(named) > 1 and every_kind == set(named)
        yield _WHEN[when].format("any kind with a rule" if is_any else " or ".join(named))


def _hours(hours: int) -> str:
    return f"{hours // 24} days" if hours % 24 == 0 and hours > 24 else f"{hours} h"


# ---- differences -------------------------------------------------------------------------------


def differences(old: Iterable[PolicyRecord], new: Iterable[PolicyRecord]) -> Iterator[str]:
    """What differs, version by version: `+` is new, `-` is gone, `~` has changed."""
    before = {record.effective_from: record for record in old}
    after = {record.effective_from: record for record in new}
    begins = sorted(before.keys() | after.keys(), key=lambda begin: begin or "")
    for begin in begins:
        left, right = before.get(begin), after.get(begin)
        if left and right:
            changed = list(_changed(_flat(left), _flat(right)))
            if changed:
                yield f"~ the version {begin_of(begin)}"
                yield from (f"    {line}" for line in changed)
        else:
            yield f"{'+' if right else '-'} the version {begin_of(begin)}"


def _changed(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"+ {name} = {new[name]}"
        elif name not in new:
            yield f"- {name} = {old[name]}"
        elif old[name] != new[name]:
            yield f"~ {name}: {old[name]} -> {new[name]}"


def _flat(record: PolicyRecord) -> dict[str, Any]:
    """Each field by its path; what is at its default is not there."""
    return dict(_leaves("", json.loads(record.content)))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, held in value.items():
            yield from _leaves(f"{path}.{name}" if path else name, held)
    elif isinstance(value, list) and value and isinstance(value[0], str):
        yield path, ", ".join(value)
    elif isinstance(value, list) and value and "type" in value[0]:
        for rule in value:
            yield from _leaves(f"{path}.{rule['type']}", rule)
    elif isinstance(value, list):
        for signal in value:
            kind, when = signal["kind"], signal.get("when", "always")
            yield f"{path}.{kind} {when}", signal["means"]
    else:
        yield path, value

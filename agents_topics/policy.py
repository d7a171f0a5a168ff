"""Which interaction settles which action: the policy's types, versioned by event time.

An action keeps for life the version in force at its occurred_at; `digest` names a version in state
and in outcomes. Files are read in `agents_topics.policy_file`.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from agents_topics.events import Confidence, ConfidenceSource, Name50, TenantId, Timestamp, to_ms
from agents_topics.rules import HUMAN_LABEL

BEGINNING_OF_TIME_MS = -(2**62)
HOUR_MS = 3_600_000
CONFIDENCE_LABELS = ("high", "medium", "low")
"""The words for a confidence, unless a policy has its own."""

_STRICT = ConfigDict(extra="forbid")

TypeName = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[^/\x00-\x1f\x7f-\x9f]+$")]
"""A type's name is part of keys, where `/` separates."""


Dimension = Literal["agent_id", "agent_version", "model", "rep_id", "deal_stage", "channel"]
"""A field of an action that may tell segments apart."""


class PolicyProblem(Exception):
    """The policy file breaks a rule: says file, line and reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """An interaction of `kind` means something for an action, if the two events compare so.

    `when`: `always`; `stage_above` (its stage ranks above the action's own); `stage_lost` (closed
    lost or stalled); `count_above` (its interaction_count exceeds the action's own). In a file the
    kind `*` is any kind that a signal of the same version names. A missing field never makes a
    signal.
    """

    __pydantic_config__ = _STRICT

    kind: Name50
    when: Literal["always", "stage_above", "stage_lost", "count_above"] = "always"
    means: Literal["positive", "negative", "ambiguous"]


@dataclass(frozen=True, kw_only=True)
class OutcomeRule:
    """How one type of outcome of an action is found.

    `target_success` is the success rate that the action is meant to have (ρ), `first_threshold` the
    confidence from which on an agent may act before anything was learned (τ); both concern the
    action type, whose calibrating outcome says them.
    """

    __pydantic_config__ = _STRICT

    type: TypeName
    window_hours: Annotated[int, Field(ge=1, le=24 * 366)]
    signals: tuple[Signal, ...]
    calibrates: bool = False
    label_window_hours: Annotated[int, Field(ge=0, le=24 * 366)] = 0
    attribution: Literal["all", "last", "direct"] = "all"
    score: Literal["unit", "stages"] = "unit"
    confidence_means: Literal["success_in_window", "success_given_signal"] = "success_in_window"
    target_success: Confidence = 0.7
    first_threshold: Confidence = 0.7

    @cached_property
    def window_ms(self) -> int:
        """The window's length."""
        return self.window_hours * HOUR_MS

    @cached_property
    def settle_after_ms(self) -> int:
        """From the action to its settle time: the longer of window and label window."""
        return max(self.window_hours, self.label_window_hours) * HOUR_MS

    def signals_of(self, kind: str) -> tuple[Signal, ...]:
        """The signals that an interaction of this kind may be."""
        return self._signals_by_kind.get(kind, ())

    @cached_property
    def _signals_by_kind(self) -> dict[str, tuple[Signal, ...]]:
        return {
            named.kind: tuple(s for s in self.signals if s.kind == named.kind)
            for named in self.signals
        }


ActionTypes = dict[TypeName, tuple[OutcomeRule, ...]]


@dataclass(frozen=True, kw_only=True)
class PolicyVersion:
    """The rules in force from a moment of event time on.

    `tenants` holds by tenant the action types for which that tenant has rules of its own, in the
    place of everybody's. `confidence_sources` says by action type where a confidence comes from
    whose event does not say it, `confidence_labels` which words an action may say for it.
    `segments` names the fields of actions by which calibration is told apart as well.
    """

    __pydantic_config__ = _STRICT

    effective_from: Timestamp | None = None
    action_types: ActionTypes = field(default_factory=dict)
    tenants: dict[TenantId, ActionTypes] = field(default_factory=dict)
    confidence_sources: dict[TypeName, ConfidenceSource] = field(default_factory=dict)
    confidence_labels: Annotated[tuple[TypeName, ...], Field(min_length=1, max_length=20)] = (
        CONFIDENCE_LABELS
    )
    segments: tuple[Dimension, ...] = ()

    @cached_property
    def effective_from_ms(self) -> int:
        """The moment in milliseconds; the first version's is the beginning of time."""
        return to_ms(self.effective_from) if self.effective_from else BEGINNING_OF_TIME_MS

    @cached_property
    def content(self) -> str:
        """The version as JSON with sorted names.

        What is at its default is left out: a rule that a later release adds, with a default that
        changes nothing, leaves the digests in states and outcomes what they were.
        """
        content = _VERSION.dump_python(self, mode="json", exclude_defaults=True)
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the version's content."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:16]

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Every kind that one of its signals names."""
        rules = [rule for _, _, rules in self.parts() for rule in rules]
        return frozenset(signal.kind for rule in rules for signal in rule.signals) - {"*"}

    def parts(self) -> Iterator[tuple[str | None, str, tuple[OutcomeRule, ...]]]:
        """Every tenant (None: everybody), action type and its rules."""
        for action_type, rules in self.action_types.items():
            yield None, action_type, rules
        for tenant_id, action_types in self.tenants.items():
            for action_type, rules in action_types.items():
                yield tenant_id, action_type, rules

    def rules_of(
        self, tenant_id: str, action_type: str, outcome_type: str | None = None
    ) -> tuple[OutcomeRule, ...]:
        """The outcomes that a tenant's action may have; empty where the policy knows none."""
        rules = self.action_types.get(action_type, ())
        if tenant_id in self.tenants:
            rules = self.tenants[tenant_id].get(action_type, rules)
        return rules if outcome_type is None else tuple(r for r in rules if r.type == outcome_type)

    def action_types_of(self, tenant_id: str) -> list[str]:
        """The action types that a tenant may use."""
        return sorted(self.action_types.keys() | self.tenants.get(tenant_id, {}).keys())

    def source_of(self, action_type: str, stated: str) -> str:
        """Where an action's confidence comes from, its event having stated it or not."""
        return self.confidence_sources.get(action_type, stated) if stated == "unknown" else stated


@dataclass(frozen=True)
class Policy:
    """All versions, ordered by event time.

    Args:
        versions: Each begins later than the one before it.
        tenants: UUID by name.
        is_listed: Whether only these tenants may send events.
        places: File and line where a version begins, by digest.
    """

    versions: tuple[PolicyVersion, ...]
    tenants: dict[str, str] = field(default_factory=dict)
    is_listed: bool = False
    places: dict[str, str] = field(default_factory=dict)

    @cached_property
    def listed_tenants(self) -> frozenset[str] | None:
        """The tenants that may send events; None where anybody may."""
        return frozenset(self.tenants.values()) if self.is_listed else None

    def version_at(self, at_ms: int) -> PolicyVersion:
        """The version in force at a moment of event time."""
        return self.versions[bisect_right(self._starts_ms, at_ms) - 1]

    @cached_property
    def _starts_ms(self) -> list[int]:
        return [version.effective_from_ms for version in self.versions]

    @cached_property
    def by_digest(self) -> dict[str, PolicyVersion]:
        """The versions by digest."""
        return {version.digest: version for version in self.versions}

    def kinds_at(self, at_ms: int) -> frozenset[str]:
        """The kinds that a version in force by then listens to; all others are ignored.

        An interaction concerns only actions that began by its own time, so what is ignored does
        not depend on which later versions the file already has.
        """
        return self._kinds[bisect_right(self._starts_ms, at_ms) - 1]

    @cached_property
    def _kinds(self) -> list[frozenset[str]]:
        kinds = accumulate(
            self.versions, lambda named, v: named | v.kinds, initial=frozenset({HUMAN_LABEL})
        )
        return list(kinds)[1:]

    def begun_by(self, at_ms: int) -> tuple[PolicyVersion, ...]:
        """The versions that are or were in force by then."""
        return self.versions[: bisect_right(self._starts_ms, at_ms)]

    @cached_property
    def settle_after_ms_max(self) -> int:
        """The longest wait from an action to its settle time."""
        return max(self.settle_after_ms_of.values())

    @cached_property
    def settle_after_ms_of(self) -> dict[tuple[str, str, int], int]:
        """The longest such wait in any version, by (action type, outcome type, window)."""
        longest: dict[tuple[str, str, int], int] = {}
        for version in self.versions:
            for _, action_type, rules in version.parts():
                for rule in rules:
                    of = (action_type, rule.type, rule.window_ms)
                    longest[of] = max(longest.get(of, 0), rule.settle_after_ms)
        return longest


_VERSION = TypeAdapter(PolicyVersion)


def version_of(content: str) -> PolicyVersion | None:
    """The version of a content; None where a later release says what this one does not know.

    >>> version = PolicyVersion(segments=("model",))
    >>> version_of(version.content) == version, version_of('{"unheard_of": 1}')
    (True, None)
    """
    try:
        return _VERSION.validate_json(content)
    except ValidationError:
        return None

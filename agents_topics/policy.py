"""Which interaction settles which action: the policy, a typed TOML file, versioned by event time.

An action keeps for life the version in force at its occurred_at; `digest` names a version in state
and in outcomes. Beside the versions a file may name tenants (`[tenants]`, name = UUID) and say
that there are no others (`tenants_are = "listed"`). The default below is the rule book of the
first release.
"""

import hashlib
import json
import tomllib
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from agents_topics.events import Name50, TenantId, Timestamp, to_ms

BEGINNING_OF_TIME_MS = -(2**62)
HOUR_MS = 3_600_000
HUMAN_LABEL = "human_label"

_STRICT = ConfigDict(extra="forbid")

TypeName = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[^/\x00-\x1f\x7f-\x9f]+$")]
"""A type's name is part of keys, where `/` separates."""


class PolicyProblem(Exception):
    """The policy file breaks a rule: says file, place and reason."""


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
    """How one type of outcome of an action is found."""

    __pydantic_config__ = _STRICT

    type: TypeName
    window_hours: Annotated[int, Field(ge=1, le=24 * 366)]
    signals: tuple[Signal, ...]
    calibrates: bool = False
    label_window_hours: Annotated[int, Field(ge=0, le=24 * 366)] = 0
    attribution: Literal["all", "last", "direct"] = "all"
    score: Literal["unit", "stages"] = "unit"
    confidence_means: Literal["success_in_window", "success_given_signal"] = "success_in_window"

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


@dataclass(frozen=True, kw_only=True)
class PolicyVersion:
    """The rules in force from a moment of event time on."""

    __pydantic_config__ = _STRICT

    effective_from: Timestamp | None = None
    action_types: dict[TypeName, tuple[OutcomeRule, ...]] = field(default_factory=dict)

    @cached_property
    def effective_from_ms(self) -> int:
        """The moment in milliseconds; the first version's is the beginning of time."""
        return to_ms(self.effective_from) if self.effective_from else BEGINNING_OF_TIME_MS

    @cached_property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the version's content.

        What is at its default is left out: a rule that a later release adds, with a default that
        changes nothing, leaves the digests in states and outcomes what they were.
        """
        content = _VERSION.dump_python(self, mode="json", exclude_defaults=True)
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Every kind that one of its signals names."""
        rules = [rule for rules in self.action_types.values() for rule in rules]
        return frozenset(signal.kind for rule in rules for signal in rule.signals) - {"*"}

    def rules_of(self, action_type: str, outcome_type: str | None) -> tuple[OutcomeRule, ...]:
        """The outcomes that an action may have; empty where the policy knows none."""
        rules = self.action_types.get(action_type, ())
        return rules if outcome_type is None else tuple(r for r in rules if r.type == outcome_type)

    @cached_property
    def rules_by_type(self) -> dict[str, dict[str, OutcomeRule]]:
        """The rules by action type and outcome type."""
        return {name: {r.type: r for r in rules} for name, rules in self.action_types.items()}


@dataclass(frozen=True)
class Policy:
    """All versions, ordered by event time; and the tenants that have a name.

    Where tenants are `listed`, others' records are dead letters.
    """

    versions: tuple[PolicyVersion, ...]
    tenants: dict[str, str] = field(default_factory=dict)
    are_tenants_listed: bool = False

    @cached_property
    def listed_tenants(self) -> frozenset[str] | None:
        """The UUIDs of all tenants that there are; None where any may come."""
        return frozenset(self.tenants.values()) if self.are_tenants_listed else None

    @cached_property
    def _starts_ms(self) -> list[int]:
        return [version.effective_from_ms for version in self.versions]

    def version_at(self, at_ms: int) -> PolicyVersion:
        """The version in force at a moment of event time."""
        return self.versions[bisect_right(self._starts_ms, at_ms) - 1]

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
    def settle_after_ms_of(self) -> dict[tuple[str, str, int], int]:
        """The longest such wait in any version, by (action type, outcome type, window)."""
        longest: dict[tuple[str, str, int], int] = {}
        for version in self.versions:
            for action_type, rules in version.action_types.items():
                for rule in rules:
                    of = (action_type, rule.type, rule.window_ms)
                    longest[of] = max(longest.get(of, 0), rule.settle_after_ms)
        return longest


DEFAULT_POLICY_TOML = """\
[[version]]

[[version.action_types.send_email]]
type = "email_engagement"
calibrates = true
window_hours = 24
signals = [
  { kind = "reply_received", means = "positive" },
  { kind = "*", when = "count_above", means = "positive" },
]

[[version.action_types.send_chat]]
type = "email_engagement"
calibrates = true
window_hours = 24
signals = [
  { kind = "reply_received", means = "positive" },
  { kind = "*", when = "count_above", means = "positive" },
]

[[version.action_types.process_reply]]
type = "email_engagement"
calibrates = true
window_hours = 24
signals = [
  { kind = "reply_received", means = "positive" },
  { kind = "*", when = "count_above", means = "positive" },
]

[[version.action_types.qualify]]
type = "deal_progression"
calibrates = true
window_hours = 720
score = "stages"
signals = [
  { kind = "stage_changed", when = "stage_above", means = "positive" },
  { kind = "stage_changed", when = "stage_lost", means = "negative" },
]

[[version.action_types.recommend_action]]
type = "meeting_outcome"
calibrates = true
window_hours = 168
signals = [
  { kind = "meeting_held", means = "positive" },
  { kind = "meeting_no_show", means = "negative" },
]

[[version.action_types.escalate]]
type = "escalation_result"
calibrates = true
window_hours = 168
signals = [
  { kind = "escalation_resolved", means = "positive" },
  { kind = "escalation_reopened", means = "negative" },
]
"""


@dataclass(frozen=True, kw_only=True)
class _PolicyFile:
    __pydantic_config__ = _STRICT

    version: Annotated[list[PolicyVersion], Field(min_length=1)]
    tenants_are: Literal["open", "listed"] = "open"
    tenants: dict[Annotated[str, Field(min_length=1)], TenantId] = field(default_factory=dict)


_FILE = TypeAdapter(_PolicyFile)
_VERSION = TypeAdapter(PolicyVersion)


def parse_policy(text: str, name: str = "policy") -> Policy:
    """Policy of a TOML text.

    Raises:
        PolicyProblem: the text breaks a rule.
    """
    try:
        file = _FILE.validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as problem:
        raise PolicyProblem(f"{name}: not TOML: {problem}") from None
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PolicyProblem(f"{name}: {where}: {first['msg']}") from None
    _check_versions(file.version, name)
    versions = tuple(map(_with_every_kind, file.version))
    return Policy(versions, file.tenants, file.tenants_are == "listed")


def _with_every_kind(version: PolicyVersion) -> PolicyVersion:
    """The version with a signal for each of its kinds in the place of `*`."""

    def spelt(rule: OutcomeRule) -> OutcomeRule:
        signals = [
            replace(signal, kind=kind)
            for signal in rule.signals
            for kind in (sorted(version.kinds) if signal.kind == "*" else (signal.kind,))
        ]
        return replace(rule, signals=tuple(signals))

    types = {name: tuple(map(spelt, rules)) for name, rules in version.action_types.items()}
    return replace(version, action_types=types)


def _check_versions(versions: list[PolicyVersion], name: str) -> None:
    if versions[0].effective_from is not None:
        raise PolicyProblem(f"{name}: the first version is in force from the beginning of time")
    try:
        starts = [version.effective_from_ms for version in versions]
    except ValueError as problem:
        raise PolicyProblem(f"{name}: effective_from: {problem}") from None
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise PolicyProblem(f"{name}: versions must be ordered by effective_from, each later")
    for number, version in enumerate(versions):
        if not version.action_types:
            raise PolicyProblem(f"{name}: version {number} names no action type")
        for action_type, rules in version.action_types.items():
            types = [rule.type for rule in rules]
            if len(set(types)) < len(types):
                raise PolicyProblem(f"{name}: {action_type} lists an outcome type twice")
            if sum(rule.calibrates for rule in rules) != 1:
                raise PolicyProblem(f"{name}: {action_type}: exactly one outcome calibrates")


def load_policy(path: Path | None) -> Policy:
    """The policy of a file, or the default one.

    Raises:
        PolicyProblem: the file cannot be read or breaks a rule.
    """
    if path is None:
        return parse_policy(DEFAULT_POLICY_TOML, "the default policy")
    try:
        return parse_policy(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as problem:
        raise PolicyProblem(f"{path}: {problem}") from None

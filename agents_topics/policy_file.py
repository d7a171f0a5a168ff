"""The policy file: TOML in, `Policy` out, or a sentence with file, line and reason."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from agents_topics.identifiers import is_uuid, tenant_id_of
from agents_topics.policy import (
    ActionTypes,
    OutcomeRule,
    Policy,
    PolicyProblem,
    PolicyVersion,
)

BY_NAME = "uuid5"
"""What stands beside a tenant's name whose UUID follows from it."""

Place = tuple[str | int, ...]

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
    __pydantic_config__ = ConfigDict(extra="forbid")

    version: Annotated[list[PolicyVersion], Field(min_length=1)]
    tenants_are: Literal["open", "listed"] = "open"
    tenants: dict[Annotated[str, Field(min_length=1, max_length=100)], str] = field(
        default_factory=dict
    )


_FILE = TypeAdapter(_PolicyFile)


def load_policy(path: Path | None) -> Policy:
    """The policy of a file, or the default one.

    Raises:
        PolicyProblem: the file cannot be read or breaks a rule.
    """
    return parse_policy(policy_text(path), "the default policy" if path is None else str(path))


def policy_text(path: Path | None) -> str:
    """The text of a file, or that of the default policy.

    Raises:
        PolicyProblem: the file cannot be read.
    """
    if path is None:
        return DEFAULT_POLICY_TOML
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise PolicyProblem(f"{path}: {problem}") from None


def parse_policy(text: str, name: str = "policy") -> Policy:
    """Policy of a TOML text.

    Raises:
        PolicyProblem: the text breaks a rule.
    """
    places = _Places(text, name)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise PolicyProblem(f"{name}: not TOML: {problem}") from None
    tenants = _tenants_of(raw, places)
    try:
        file = _FILE.validate_python(_with_tenant_ids(raw, tenants, places))
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise places.problem(first["loc"], f"{where}: {first['msg']}") from None
    _check_versions(file.version, places)
    versions = tuple(map(_with_every_kind, file.version))
    return Policy(
        versions,
        tenants,
        is_listed=file.tenants_are == "listed",
        places={v.digest: places.told(("version", n)) for n, v in enumerate(versions)},
    )


# ---- tenants -----------------------------------------------------------------------------------


def _tenants_of(raw: dict[str, Any], places: "_Places") -> dict[str, str]:
    """UUID by name."""
    table = raw.get("tenants", {})
    found: dict[str, str] = {}
    for name, told in table.items() if isinstance(table, dict) else ():
        at = ("tenants", name)
        if told != BY_NAME and not (isinstance(told, str) and is_uuid(told)):
            why = f"{name!r} needs its UUID in lower case, or {BY_NAME!r}: made of the name"
            raise places.problem(at, why)
        if is_uuid(name):
            raise places.problem(at, f"{name} is a UUID, where a name is wanted")
        tenant_id = tenant_id_of(name) if told == BY_NAME else told
        if tenant_id in found.values():
            raise places.problem(at, f"{name!r} has the UUID of another name")
        found[name] = tenant_id
    return found


def _with_tenant_ids(
    raw: dict[str, Any], tenants: dict[str, str], places: "_Places"
) -> dict[str, Any]:
    """The file's content with UUIDs for the names of tenants that have rules of their own."""
    versions = raw.get("version")
    if not isinstance(versions, list):
        return raw
    return raw | {
        "version": [
            version | {"tenants": dict(_by_id(version["tenants"], number, tenants, places))}
            if isinstance(version, dict) and isinstance(version.get("tenants"), dict)
            else version
            for number, version in enumerate(versions)
        ]
    }


def _by_id(
    own: dict[str, Any], number: int, tenants: dict[str, str], places: "_Places"
) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for name, rules in own.items():
        at = ("version", number, "tenants", name)
        tenant_id = name if is_uuid(name) else tenants.get(name)
        if tenant_id is None:
            raise places.problem(
                at, f"no tenant {name!r} in [tenants]: name it there, or write its UUID here"
            )
        if tenant_id in seen:
            raise places.problem(at, f"tenant {name!r} has rules of its own twice")
        seen.add(tenant_id)
        places.rename(at, tenant_id)
        yield tenant_id, rules


# ---- versions ----------------------------------------------------------------------------------


def _with_every_kind(version: PolicyVersion) -> PolicyVersion:
    """The version with a signal for each of its kinds in the place of `*`."""

    def spelt(rule: OutcomeRule) -> OutcomeRule:
        signals = [
            replace(signal, kind=kind)
            for signal in rule.signals
            for kind in (sorted(version.kinds) if signal.kind == "*" else (signal.kind,))
        ]
        return replace(rule, signals=tuple(signals))

    def all_spelt(types: ActionTypes) -> ActionTypes:
        return {name: tuple(map(spelt, rules)) for name, rules in types.items()}

    return replace(
        version,
        action_types=all_spelt(version.action_types),
        tenants={name: all_spelt(types) for name, types in version.tenants.items()},
    )


def _check_versions(versions: Sequence[PolicyVersion], places: "_Places") -> None:
    if versions[0].effective_from is not None:
        at = ("version", 0, "effective_from")
        raise places.problem(at, "the first version is in force from the beginning of time")
    for number, version in enumerate(versions):
        try:
            _ = version.effective_from_ms
        except ValueError as problem:
            at = ("version", number, "effective_from")
            raise places.problem(at, f"effective_from: {problem}") from None
    for number, (earlier, later) in enumerate(pairwise(versions), 1):
        if later.effective_from_ms <= earlier.effective_from_ms:
            at = ("version", number, "effective_from")
            why = "versions must be ordered by effective_from, each later than the one before"
            raise places.problem(at, why)
    for number, version in enumerate(versions):
        _check_rules(version, number, places)


def _check_rules(version: PolicyVersion, number: int, places: "_Places") -> None:
    at: Place = ("version", number)
    if not version.action_types:
        raise places.problem(at, "the version names no action type")
    for tenant_id, action_type, rules in version.parts():
        own: Place = ("action_types",) if tenant_id is None else ("tenants", tenant_id)
        types = [rule.type for rule in rules]
        for index, name in enumerate(types):
            if name in types[:index]:
                why = f"{action_type} lists the outcome type {name!r} twice"
                raise places.problem((*at, *own, action_type, index), why)
        if sum(rule.calibrates for rule in rules) != 1:
            why = f"{action_type}: exactly one outcome type has calibrates = true"
            raise places.problem((*at, *own, action_type, 0), why)
    labels = version.confidence_labels
    for index, label in enumerate(labels):
        if label in labels[:index]:
            why = f"confidence_labels lists {label!r} twice"
            raise places.problem((*at, "confidence_labels"), why)
    if len(set(version.segments)) < len(version.segments):
        raise places.problem((*at, "segments"), "segments lists a field twice")
    known = {action_type for _, action_type, _ in version.parts()}
    for action_type in version.confidence_sources:
        if action_type not in known:
            why = f"confidence_sources: the version has no action type {action_type!r}"
            raise places.problem((*at, "confidence_sources", action_type), why)


# ---- lines -------------------------------------------------------------------------------------

_NAME = r"""(?:"[^"]*"|'[^']*'|[\w-]+)"""
_NAMES = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = re.compile(rf"\s*\[(\[?)\s*({_NAMES})\s*\]")
_KEY = re.compile(rf"\s*({_NAMES})\s*=")
_ONE_NAME = re.compile(_NAME)


class _Places:
    r"""Where in a TOML text each table and key begins, by path; tomllib does not say.

    >>> _Places("[[a]]\n[[a]]\nb = 1", "f").told(("a", 1, "b"))
    'f, line 3'
    """

    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._lines: dict[Place, int] = {}
        self._counts: dict[Place, int] = {}
        table: Place = ()
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = self._table(_names_of(header[2]), is_array=bool(header[1]))
                self._lines.setdefault(table, number)
            elif key := _KEY.match(line):
                self._lines.setdefault((*table, *_names_of(key[1])), number)

    def _table(self, names: list[str], is_array: bool) -> Place:
        path: Place = ()
        for index, name in enumerate(names):
            path = (*path, name)
            if is_array and index == len(names) - 1:
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def rename(self, path: Place, last: str) -> None:
        """What stands under a path is also found under one with another last part."""
        for held, line in list(self._lines.items()):
            if held[: len(path)] == path:
                self._lines.setdefault((*path[:-1], last, *held[len(path) :]), line)

    def told(self, path: Sequence[str | int]) -> str:
        """File and line where a path begins, or else the nearest thing that holds it."""
        for length in range(len(path), 0, -1):
            sought = tuple(path[:length])
            lines = [line for held, line in self._lines.items() if held[:length] == sought]
            if lines:
                return f"{self._name}, line {min(lines)}"
        return f"{self._name}, line 1"

    def problem(self, path: Sequence[str | int], why: str) -> PolicyProblem:
        """What is wrong at a path."""
        return PolicyProblem(f"{self.told(path)}: {why}")


def _names_of(dotted: str) -> list[str]:
    return [name.strip("\"'") for name in _ONE_NAME.findall(dotted)]

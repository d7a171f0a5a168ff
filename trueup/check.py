"""`trueup check`: which lines of an NDJSON file would become dead letters, and why.

The contract's own decoder judges; this module only says where and what to do. A line is one event;
its topic is told by its fields unless it is given. What only the log can tell (late, duplicate,
conflict, ahead of the broker's time) is not looked for here.
"""

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agents_topics.codec import Decoded, Decoder, Malformed
from agents_topics.events import Action, Feedback, InputEvent, Interaction
from agents_topics.identifiers import key_of
from agents_topics.policy import Policy, PolicyVersion
from agents_topics.rules import NO_CONFIDENCE
from agents_topics.topics import AGENT_ACTIONS, AGENT_FEEDBACK, AGENT_INTERACTIONS

RECORD_BYTES_MAX = AGENT_ACTIONS.message_bytes_max - 1_024
"""What is left of the topic's limit for the key and the envelope."""

EVENT_TYPES: dict[str, type[InputEvent]] = {
    AGENT_ACTIONS.name: Action,
    AGENT_INTERACTIONS.name: Interaction,
    AGENT_FEEDBACK.name: Feedback,
}
_TOLD_BY = "action_type (an action), kind (an interaction) and rating (feedback)"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHAT_IT_MUST_BE = {
    "tenant_id": "must be a UUID in lower case with hyphens: `trueup id NAME` gives a name's",
    "occurred_at": "must be RFC 3339 with a zone, like 2026-01-05T09:30:00Z",
    "conversation_id": "must have no control characters",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a field of a line, or with the line where `field` is empty.

    A warning does not stop an event: it would be taken, perhaps not as it was meant.
    """

    line_number: int
    field: str
    reason: str
    is_warning: bool = False

    def __str__(self) -> str:
        where = f"line {self.line_number}: " + (f"{self.field}: " if self.field else "")
        return where + self.reason + (" (warning)" if self.is_warning else "")


@dataclass(frozen=True, slots=True)
class ReadyLine:
    """A line that may be sent as it is: where to, under which key, and when it happened."""

    topic: str
    key: bytes
    value: bytes
    at_ms: int


class LineReader:
    """Reads one line at a time; keeps nothing of a line.

    Args:
        topic: Where all lines belong; None if each says so by its fields.
        policy: The rules; where given, action types they lack are problems too.
    """

    def __init__(self, topic: str | None = None, policy: Policy | None = None) -> None:
        if topic is not None and topic not in EVENT_TYPES:
            raise ValueError(f"a topic is one of {', '.join(EVENT_TYPES)}, not {topic!r}")
        self._topic = topic
        self._policy = policy
        self._decoders = {name: Decoder(event) for name, event in EVENT_TYPES.items()}
        self._adapters: dict[str, TypeAdapter[Any]] = {
            name: TypeAdapter(event) for name, event in EVENT_TYPES.items()
        }

    def read(self, number: int, line: bytes) -> tuple[ReadyLine | None, list[Problem]]:
        """The line to send, with its warnings; or None, with its problems unless it is blank."""
        value = line.removeprefix(_BYTE_ORDER_MARK if number == 1 else b"").strip()
        if not value:
            return None, []
        if len(value) > RECORD_BYTES_MAX:
            reason = f"has {len(value):,} bytes, at most {RECORD_BYTES_MAX:,} fit into a record"
            return None, [Problem(number, "", reason)]
        body = body_of(value)
        if isinstance(body, str):
            return None, [Problem(number, "", body)]
        topic = self._topic or topic_of(body)
        if topic is None:
            reason = (
                "has both action_type (an action) and kind (an interaction)"
                if "kind" in body
                else f"has none of {_TOLD_BY}"
            )
            return None, [Problem(number, "", reason)]
        warnings = _unknown_fields(number, topic, body)
        key = _key_of(body)
        decoded = self._decoders[topic].decode(key, value)
        if isinstance(decoded, Malformed):
            return None, self._problems(number, topic, value, decoded) + warnings
        refusal = self._refusal(number, decoded)
        if refusal:
            return None, [refusal, *warnings]
        return ReadyLine(topic, key, value, decoded.at_ms), warnings + self._unheard(
            number, decoded
        )

    def _problems(
        self, number: int, topic: str, value: bytes, malformed: Malformed
    ) -> list[Problem]:
        """Every problem of the line, where the decoder names only the first."""
        try:
            self._adapters[topic].validate_json(value)
        except ValidationError as problem:
            errors = problem.errors(include_url=False, include_context=False, include_input=False)
            told = [_problem_of(number, error) for error in errors]
            return told + _no_confidence(number, topic, value)
        field, colon, reason = malformed.detail.partition(": ")
        return [Problem(number, field, reason) if colon else Problem(number, "", malformed.detail)]

    def _refusal(self, number: int, decoded: Decoded) -> Problem | None:
        """Why the policy would refuse the event."""
        event, policy = decoded.event, self._policy
        if policy is None:
            return None
        if policy.listed_tenants is not None and event.tenant_id not in policy.listed_tenants:
            reason = "the policy lists its tenants, and this one is not among them"
            return Problem(number, "tenant_id", reason)
        if not isinstance(event, Action):
            return None
        version = policy.version_at(decoded.at_ms)
        if version.rules_of(event.tenant_id, event.action_type, event.outcome_type):
            return _unknown_label(number, event, version)
        if not version.rules_of(event.tenant_id, event.action_type):
            known = ", ".join(version.action_types_of(event.tenant_id))
            reason = f"the policy does not know {event.action_type!r}, only {known}"
            return Problem(number, "action_type", reason)
        reason = f"the policy does not know {event.outcome_type!r} for {event.action_type}"
        return Problem(number, "outcome_type", reason)

    def _unheard(self, number: int, decoded: Decoded) -> list[Problem]:
        event = decoded.event
        if self._policy is None or not isinstance(event, Interaction):
            return []
        kinds = self._policy.kinds_at(decoded.at_ms)
        if event.kind in kinds:
            return []
        reason = f"no policy listens to {event.kind!r}: it will be ignored"
        near = difflib.get_close_matches(event.kind, kinds, 1)
        if near:
            reason += f"; did you mean {near[0]!r}?"
        return [Problem(number, "kind", reason, is_warning=True)]


def _no_confidence(number: int, topic: str, value: bytes) -> list[Problem]:
    """Beside other problems, that an action does not say how sure the agent was."""
    body = body_of(value)
    stated = ("predicted_confidence", "confidence_label")
    if (
        topic != AGENT_ACTIONS.name
        or isinstance(body, str)
        or any(body.get(name) is not None for name in stated)
    ):
        return []
    return [Problem(number, stated[0], NO_CONFIDENCE)]


def _unknown_label(number: int, event: Action, version: PolicyVersion) -> Problem | None:
    if event.confidence_label in (None, *version.confidence_labels):
        return None
    known = ", ".join(version.confidence_labels)
    reason = f"the policy does not know {event.confidence_label!r}, only {known}"
    return Problem(number, "confidence_label", reason)


def check_lines(
    lines: Iterable[bytes], topic: str | None = None, policy: Policy | None = None
) -> Iterator[Problem]:
    """The problems of NDJSON lines, in order; blank lines have none.

    >>> for problem in check_lines([b'{"kind": "reply_received"', b'{}']):
    ...     problem.line_number, problem.field, problem.reason
    (1, '', "is not JSON: Expecting ',' delimiter at column 26")
    (2, '', 'has none of action_type (an action), kind (an interaction) and rating (feedback)')
    """
    reader = LineReader(topic, policy)
    for number, line in enumerate(lines, 1):
        yield from reader.read(number, line)[1]


def topic_of(body: dict[str, Any]) -> str | None:
    """Where an event belongs by its fields; None if they do not tell."""
    is_action, is_interaction = "action_type" in body, "kind" in body
    if is_action and is_interaction:
        return None
    if not is_action and not is_interaction:
        return AGENT_FEEDBACK.name if "rating" in body else None
    return AGENT_ACTIONS.name if is_action else AGENT_INTERACTIONS.name


def body_of(value: bytes) -> dict[str, Any] | str:
    """The line's JSON object, or why it has none."""
    try:
        body = json.loads(value.decode())
    except UnicodeDecodeError as problem:
        return f"is not UTF-8: byte {problem.start + 1} of the line"
    except json.JSONDecodeError as problem:
        return f"is not JSON: {problem.msg} at column {problem.colno}"
    except RecursionError:
        return "is not JSON: nested too deeply"
    except ValueError:
        return "is not JSON: a number has too many digits"
    return body if isinstance(body, dict) else "is not a JSON object"


def _key_of(body: dict[str, Any]) -> bytes:
    """The record's key; one that cannot be is found by the decoder, by the body."""
    return key_of(str(body.get("tenant_id")), str(body.get("conversation_id"))).encode(
        errors="replace"
    )


def _unknown_fields(number: int, topic: str, body: dict[str, Any]) -> list[Problem]:
    known = EVENT_TYPES[topic].__dataclass_fields__
    problems = []
    for name in body:
        if name in known:
            continue
        near = difflib.get_close_matches(name, [own for own in known if own not in body], 1, 0.7)
        reason = f"is no field of {topic}: it will be ignored"
        if near:
            reason += f"; did you mean {near[0]}?"
        problems.append(Problem(number, name, reason, is_warning=True))
    return problems


def _problem_of(number: int, error: Any) -> Problem:
    field = ".".join(str(part) for part in error["loc"])
    reason = error["msg"][:1].lower() + error["msg"][1:]
    if error["type"] == "missing":
        reason = "is missing"
    elif error["type"] == "string_pattern_mismatch":
        reason = _WHAT_IT_MUST_BE.get(field, reason)
    elif reason.startswith("input should be"):
        reason = "must be" + reason.removeprefix("input should be")
    return Problem(number, field, reason)

"""Bytes to event, or to Malformed: a bad record is a value with a reason, never an exception."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from functools import cache, cached_property
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from agents_topics.envelopes import (
    JSON_TYPE,
    EnvelopeProblem,
    Headers,
    is_enveloped,
    is_structured,
    without_registry_prefix,
)
from agents_topics.events import (
    METADATA_BYTES_MAX,
    Clock,
    CloseAlarm,
    Forget,
    InputEvent,
    ThresholdOverride,
    to_ms,
)
from agents_topics.identifiers import key_of
from agents_topics.rules import NO_CONFIDENCE, broken_rule_of, is_without_confidence

_LONG_DIGITS = re.compile(rb"[0-9]{19}")
EventType = TypeVar("EventType")


@dataclass(frozen=True, slots=True)
class Malformed:
    """Why a record cannot be read: a short reason for counting, a sentence for its producer."""

    reason: str
    detail: str


class Decoded(NamedTuple):
    """An event that keeps every rule of the contract, with its key and time."""

    key: str
    at_ms: int
    event: Any


@cache
def _validator_of(event_type: type[InputEvent]) -> Callable[[bytes], Any]:
    """Made once for each type: it takes 15 ms, and every task that opens has its decoders."""
    return TypeAdapter(event_type).validator.validate_json


class Decoder:
    """Reads the records of one topic.

    >>> from agents_topics.events import Action
    >>> Decoder(Action).decode(b"t/c", b"{}").reason
    'missing'
    """

    def __init__(self, event_type: type[InputEvent]) -> None:
        self._event_type = event_type
        self._validate = _validator_of(event_type)  # type: ignore[arg-type]

    def decode(
        self, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Decoded | Malformed:
        """The event of a record, or why there is none."""
        if not value:
            return Malformed("empty", "the record has no value")
        try:
            value = without_registry_prefix(value)
            event = (
                self._enveloped(value)
                if headers and is_enveloped(headers) and is_structured(headers)
                else self._validate(value)
            )
        except EnvelopeProblem as problem:
            return Malformed("envelope", str(problem))
        except ValidationError as problem:
            return _malformed(problem)
        if is_without_confidence(event):
            return Malformed("missing", f"predicted_confidence: {NO_CONFIDENCE}")
        rule = broken_rule_of(event)
        if rule:
            return Malformed("rule", f"{rule[0]}: {rule[1]}")
        try:
            at_ms = to_ms(event.occurred_at)
        except ValueError as problem:
            return Malformed("time", f"occurred_at: {problem}")
        own_key = key_of(event.tenant_id, event.conversation_id)
        if key is None:
            return Malformed("no_key", f"the record has no key; it must be {own_key!r}")
        if key != own_key.encode():
            return Malformed("key", f"the record's key is not its body's {own_key!r}")
        if event.metadata is not None or b"\\u0000" in value:
            problem_found = _problem_of_text(event)
            if problem_found:
                return problem_found
        return Decoded(own_key, at_ms, event)

    @cached_property
    def _validate_envelope(self) -> Callable[[bytes], Any]:
        """Made when the first one comes: most producers never send any."""
        return TypeAdapter(_envelope_of(self._event_type)).validator.validate_json

    def _enveloped(self, value: bytes) -> Any:
        """The event in the `data` of a structured CloudEvent.

        Raises:
            EnvelopeProblem, ValidationError: the envelope or its event breaks a rule.
        """
        try:
            return self._validate_envelope(value).data
        except ValidationError as problem:
            for error in problem.errors(include_url=False, include_input=False):
                if len(error["loc"]) == 1 or (error["loc"] and error["loc"][0] != "data"):
                    detail = f"{error['loc'][0]}: {error['msg']}"
                    raise EnvelopeProblem(detail) from None
            raise


_Attribute = Annotated[str, Field(min_length=1)]
_JsonType = Annotated[str, Field(pattern=JSON_TYPE)]


def _envelope_of(event_type: type[InputEvent]) -> type[Any]:
    """The type of a structured CloudEvent whose data is an event."""
    return make_dataclass(
        f"CloudEventOf{event_type.__name__}",
        [
            ("specversion", Literal["1.0"]),
            *((name, _Attribute) for name in ("id", "source", "type")),
            ("data", event_type),
            ("datacontenttype", _JsonType | None, None),
            ("data_base64", None, None),
        ],
        namespace={"__pydantic_config__": ConfigDict(strict=True, extra="ignore")},
        kw_only=True,
        slots=True,
    )


ControlRecord = Clock | ThresholdOverride | CloseAlarm | Forget


def decode_control(value: bytes | None) -> ControlRecord | Malformed:
    """What a `control` record says, its time readable; or why there is nothing."""
    found = decode_as(_CONTROL, value)
    if isinstance(found, Malformed):
        return found
    for name in found.__dataclass_fields__:
        if "\0" in str(getattr(found, name)):
            return Malformed("nul", f"{name}: holds the character U+0000")
    if isinstance(found, ThresholdOverride) and not _has_its_value(found):
        return Malformed("rule", "value: a threshold that is set has one, and no other")
    if isinstance(found, Forget):
        return found
    timed = "until" if isinstance(found, Clock) else "occurred_at"
    try:
        to_ms(getattr(found, timed))
    except ValueError as problem:
        return Malformed("time", f"{timed}: {problem}")
    return found


def _has_its_value(override: ThresholdOverride) -> bool:
    return (override.action == "set") == (override.value is not None)


def decode_as(adapter: TypeAdapter[EventType], value: bytes | None) -> EventType | Malformed:
    """An event of the adapter's type, or why there is none."""
    try:
        return adapter.validate_json(value or b"")
    except ValidationError as problem:
        return _malformed(problem)


_CONTROL: TypeAdapter[ControlRecord] = TypeAdapter(
    Annotated[ControlRecord, Field(discriminator="kind")]
)


def _malformed(problem: ValidationError) -> Malformed:
    first = problem.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return Malformed(first["type"], f"{where}: {first['msg']}" if where else first["msg"])


def _problem_of_text(event: InputEvent) -> Malformed | None:
    """U+0000 cannot be stored in Postgres; metadata is finite JSON, 4 kB, 64 bits an integer."""
    try:
        metadata = json.dumps(event.metadata, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return Malformed("metadata", "metadata: NaN and infinity are not JSON")
    if len(metadata) > METADATA_BYTES_MAX:
        return Malformed("metadata", f"metadata: {len(metadata)} bytes, at most 4096")
    if _LONG_DIGITS.search(metadata) and not _fits(event.metadata):
        return Malformed("metadata", "metadata: an integer of more than 64 bits")
    for field in event.__dataclass_fields__:
        text = getattr(event, field)
        if isinstance(text, str) and "\0" in text:
            return Malformed("nul", f"{field}: holds the character U+0000")
    if b"\\u0000" in metadata and "\0" in _texts(event.metadata):
        return Malformed("nul", "metadata: holds the character U+0000")
    return None


def _fits(value: Any) -> bool:
    """Whether every integer inside a JSON value can be kept: msgpack has 64 bits for one."""
    if isinstance(value, dict):
        return all(map(_fits, value.values()))
    if isinstance(value, list):
        return all(map(_fits, value))
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def _texts(value: Any) -> str:
    """All texts inside a JSON value, joined."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "".join(key + _texts(held) for key, held in value.items())
    if isinstance(value, list):
        return "".join(_texts(held) for held in value)
    return ""

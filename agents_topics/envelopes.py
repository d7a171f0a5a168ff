"""What an event may be wrapped in: CloudEvents 1.0 over Kafka, and a schema registry's prefix.

The law: an envelope decides nothing. The event inside is whole, and its own fields are its
identity, time and key; the envelope's `id`, `time` and `subject` are not compared with them,
because gateways give what they forward ids of their own. So an event is the same event plain, in
binary mode and in structured mode. What claims to be a CloudEvent must be one: 1.0, with id, source
and type, its data JSON.

- Binary mode: any header `ce_*`; the value is the event.
- Structured mode: `content-type: application/cloudevents+json`; the event is in `data`.
- Batches (`application/cloudevents-batch+json`) and other formats are refused: a record is one
  event.
- A value that begins with 0x00 has a registry's prefix: a schema id of 4 bytes (Confluent's wire
  format) or 8 bytes (Apicurio's long ids), then the JSON object.
"""

import re
from collections.abc import Sequence

Headers = Sequence[tuple[str, bytes | None]]

CONTENT_TYPE = "content-type"
BINARY_PREFIX = "ce_"
REQUIRED_ATTRIBUTES = ("specversion", "id", "source", "type")
SPEC_VERSION = "1.0"
STRUCTURED = "application/cloudevents+json"
_FAMILY = "application/cloudevents"
_REGISTRY_MAGIC = b"\0"
_SCHEMA_ID_ENDS = (5, 9)
JSON_TYPE = r"(?i)^(application|text)/([^ ;]+\+)?json *(;.*)?$"
"""The media types that say JSON."""

_is_json = re.compile(JSON_TYPE).fullmatch


class EnvelopeProblem(Exception):
    """The envelope breaks a rule: says which."""


def is_enveloped(headers: Headers) -> bool:
    """Whether the headers say that the value is, or is in, a CloudEvent."""
    for name, value in headers:
        if name.startswith(BINARY_PREFIX):
            return True
        if name == CONTENT_TYPE and _text(value).lower().startswith(_FAMILY):
            return True
    return False


def is_structured(headers: Headers) -> bool:
    """Whether the value is an envelope with the event in `data`; binary headers are checked.

    Raises:
        EnvelopeProblem: the headers break a rule.
    """
    told = {name: _text(value) for name, value in headers}
    content_type = told.get(CONTENT_TYPE, "")
    family = content_type.partition(";")[0].strip().lower()
    if family.startswith(_FAMILY):
        if family == STRUCTURED:
            return True
        raise EnvelopeProblem(f"{CONTENT_TYPE} {family}: a record is one event, as {STRUCTURED}")
    if not any(name.startswith(BINARY_PREFIX) for name in told):
        return False
    for name in REQUIRED_ATTRIBUTES:
        if not told.get(BINARY_PREFIX + name):
            raise EnvelopeProblem(f"a CloudEvent needs the header {BINARY_PREFIX}{name}")
    if told[f"{BINARY_PREFIX}specversion"] != SPEC_VERSION:
        raise EnvelopeProblem(f"{BINARY_PREFIX}specversion must be {SPEC_VERSION}")
    if content_type and not _is_json(content_type):
        raise EnvelopeProblem(f"{CONTENT_TYPE} {content_type}: the event must be JSON")
    return False


def without_registry_prefix(value: bytes) -> bytes:
    r"""The JSON behind a schema registry's prefix; the value itself where there is none.

    >>> without_registry_prefix(b'\0' + bytes((0, 0, 0, 7)) + b'{}')
    b'{}'

    Raises:
        EnvelopeProblem: what follows is no JSON object.
    """
    if not value.startswith(_REGISTRY_MAGIC):
        return value
    for end in _SCHEMA_ID_ENDS:
        if value[end : end + 1] == b"{":
            return value[end:]
    raise EnvelopeProblem("0x00 and a schema id of 4 or 8 bytes must be followed by a JSON object")


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")

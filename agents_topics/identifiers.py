"""Identifiers that follow from others. They cannot change once the first event is written."""

import hashlib
import re
import uuid
from functools import lru_cache
from json.encoder import encode_basestring as _quoted

_NAMESPACE = uuid.UUID("6f0b1c5e-6a1d-5c54-9d0e-7e9c3a4f2b10")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in the one form the contract takes."""
    return _UUID.fullmatch(text) is not None


def tenant_id_of(name: str) -> str:
    """The tenant's UUID for a name; a UUID stands for itself.

    >>> tenant_id_of("acme")
    'a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5'
    """
    return name if is_uuid(name) else str(uuid.uuid5(_NAMESPACE, name))


def conversation_state_id_of(tenant_id: str, conversation_id: str) -> str:
    """The conversation's UUID: itself if it is one, else uuid5 within its tenant."""
    return conversation_id if is_uuid(conversation_id) else _uuid5(tenant_id, conversation_id)


def outcome_id_of(tenant_id: str, conversation_id: str, action_id: str, outcome_type: str) -> str:
    """uuid5 of the tenant over the JSON array [conversation, action, outcome type].

    >>> outcome_id_of("a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5", "c1", "e1", "email_engagement")
    '370295ae-77b9-5f8a-a113-59f7372af897'
    """
    name = f"[{_quoted(conversation_id)}, {_quoted(action_id)}, {_quoted(outcome_type)}]"
    return _uuid5(tenant_id, name)


def _uuid5(tenant_id: str, name: str) -> str:
    """Written out, because `uuid.uuid5` costs four times as much and this runs once an outcome."""
    named = _namespace_of(tenant_id) + name.encode()
    text = hashlib.sha1(named, usedforsecurity=False).hexdigest()
    variant = _VARIANTS[text[16]]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


_VARIANTS = {digit: f"{int(digit, 16) & 0x3 | 0x8:x}" for digit in "0123456789abcdef"}
"""A uuid's 17th digit: two bits of the hash behind the two of RFC 9562."""


@lru_cache(maxsize=10_000)
def _namespace_of(tenant_id: str) -> bytes:
    return bytes.fromhex(tenant_id.replace("-", ""))


def key_of(tenant_id: str, conversation_id: str) -> str:
    """The Kafka key of an input record."""
    return f"{tenant_id}/{conversation_id}"

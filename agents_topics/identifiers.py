"""Identifiers that follow from others. They cannot change once the first event is written."""

import hashlib
import json
import re
import uuid

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
    if is_uuid(conversation_id):
        return conversation_id
    return str(uuid.uuid5(uuid.UUID(tenant_id), conversation_id))


def outcome_id_of(tenant_id: str, conversation_id: str, action_id: str, outcome_type: str) -> str:
    """uuid5 of the tenant over the JSON array [conversation, action, outcome type].

    Written out because `uuid.uuid5` costs four times as much and this runs once an outcome.
    """
    name = json.dumps([conversation_id, action_id, outcome_type], ensure_ascii=False)
    namespace = bytes.fromhex(tenant_id.replace("-", ""))
    digest = bytearray(hashlib.sha1(namespace + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def key_of(tenant_id: str, conversation_id: str) -> str:
    """The Kafka key of an input record."""
    return f"{tenant_id}/{conversation_id}"

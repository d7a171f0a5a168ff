"""The contract's decoder, four times as fast for records that are plainly good.

Nearly every record is well formed. Those are read straight into a struct that has the contract's
fields and limits; whatever that reader does not take at once (CloudEvents and human labels too) is
read again by the contract's own decoder, which alone says what is wrong. A property test holds the
two equal on mutated bytes.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from agents_topics.codec import Decoded, Decoder, Malformed
from agents_topics.envelopes import Headers, is_enveloped
from agents_topics.events import METADATA_BYTES_MAX, Action, Interaction, to_ms
from agents_topics.identifiers import is_uuid
from agents_topics.rules import HUMAN_LABEL
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from tables.structs import struct_of

KEYS_MAX = 200_000
HOURS_MAX = 100_000
MILLISECONDS_LENGTH = len("2026-01-05T00:00:00.001Z")
DEPTH_MAX = 60
DEEP_BYTES_MIN = 400
"""What is shorter cannot be as deep as the contract's decoder refuses (200)."""

_PLAIN_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII).fullmatch
_LONG_DIGITS = re.compile(r"\d{19}", re.ASCII).search
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]").search


_tuple = tuple.__new__
"""Makes a named tuple in half the time."""


class FastDecoder:
    """Reads the records of a joined topic.

    Of the patterns it knows those of key and time; no other field of these events has one.
    """

    def __init__(self, event_type: type[Action] | type[Interaction]) -> None:
        self._struct = struct_of(event_type)  # type: ignore[arg-type]
        self._read = msgspec.json.Decoder(self._struct).decode
        self._decode_slowly = Decoder(event_type).decode
        self._has_kind = event_type is Interaction
        self._keys: dict[bytes, str] = {}
        self._new_keys: list[bytes] = []

    def decode(
        self, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Decoded | Malformed:
        """The event of a record, or why there is none; the same as the contract's decoder says."""
        if (headers and is_enveloped(headers)) or key is None or value is None:
            return self._slowly(key, value, headers)
        # Plain: both readers surely see the same text, for it is ASCII, without escapes, not deep.
        is_deep = len(value) >= DEEP_BYTES_MIN and _is_deep(value)
        if is_deep or b"\\" in value or not value.isascii():
            return self._slowly(key, value)
        try:
            event: Any = self._read(value)
            text = self._keys.get(key) or self._new_key(key, event.tenant_id, event.conversation_id)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._slowly(key, value)
        at, at_ms = event.occurred_at, None
        try:
            at_ms = _hours_ms[at[:14]] + _seconds_ms[at[14:19]] + _fractions_ms[at[19:]]
        except KeyError:
            at_ms = _to_ms(at)
        if (
            at_ms is None
            or text != f"{event.tenant_id}/{event.conversation_id}"
            or (event.metadata is not None and not _is_harmless(event.metadata))
            or (
                event.kind == HUMAN_LABEL
                if self._has_kind
                else event.predicted_confidence is None and event.confidence_label is None
            )
        ):
            return self._slowly(key, value)
        return _tuple(Decoded, (text, at_ms, event))

    def take_new_keys(self) -> set[bytes]:
        """The keys of good records that were new since this was last asked."""
        new, self._new_keys = set(self._new_keys), []
        return new

    def forget(self, keys: Iterable[bytes]) -> None:
        """These keys are new when they come again."""
        for key in keys:
            self._keys.pop(key, None)

    def _new_key(self, key: bytes, tenant_id: str, conversation_id: str) -> str:
        """The key's text, once key and parts were found good; empty where they are not."""
        text = f"{tenant_id}/{conversation_id}"
        if text.encode() != key or not is_uuid(tenant_id) or _CONTROL(conversation_id):
            return ""
        if len(self._keys) >= KEYS_MAX:
            self._keys.clear()
        self._keys[key] = text
        self._new_keys.append(key)
        return text

    def _slowly(
        self, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Decoded | Malformed:
        decoded = self._decode_slowly(key, value, headers)
        if type(decoded) is Malformed:
            return decoded
        assert type(decoded) is Decoded
        assert key is not None
        if key not in self._keys:
            self._new_keys.append(key)
        event = msgspec.convert(decoded.event, self._struct, from_attributes=True)
        return decoded._replace(event=event)


def joined_decoders() -> dict[str, FastDecoder]:
    """A decoder of its own for each joined topic, by the topic's name."""
    return {
        AGENT_ACTIONS.name: FastDecoder(Action),
        AGENT_INTERACTIONS.name: FastDecoder(Interaction),
    }


_hours_ms: dict[str, int] = {}
_seconds_ms: dict[str, int] = {}
_fractions_ms: dict[str, int] = {}
"""Times already read, in parts: up to the hour's colon, minutes and seconds, `.mmmZ`. Each part
stood in a good time, so together they are one.
"""


def _to_ms(at: str) -> int | None:
    """The time of a plain timestamp, remembered in its parts; None where it is not plain."""
    if not _PLAIN_TIME(at):
        return None
    try:
        at_ms, second_ms, hour_ms = to_ms(at), to_ms(f"{at[:19]}Z"), to_ms(f"{at[:14]}00:00Z")
    except ValueError:
        return None
    if len(_hours_ms) >= HOURS_MAX:
        _hours_ms.clear()
    _hours_ms[at[:14]] = hour_ms
    _seconds_ms[at[14:19]] = second_ms - hour_ms
    if len(at) <= MILLISECONDS_LENGTH:
        _fractions_ms[at[19:]] = at_ms - second_ms
    return at_ms


def _is_harmless(metadata: dict[str, Any]) -> bool:
    """Whether it is surely small enough, and none of its integers has more than 64 bits."""
    text = json.dumps(metadata, ensure_ascii=False)
    return len(text) <= METADATA_BYTES_MAX and not _LONG_DIGITS(text)


def _is_deep(value: bytes) -> bool:
    """Whether it may be nested more deeply than the contract's decoder takes."""
    return value.count(b"[") + value.count(b"{") >= DEPTH_MAX

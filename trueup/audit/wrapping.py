"""What a record's event is wrapped in, read plainly: CloudEvents, a schema registry's prefix."""

import enum
from collections.abc import Iterable

Headers = Iterable[tuple[str, bytes | None]]


class Wrapping(enum.Enum):
    """What surrounds an event; an event of binary mode stands alone."""

    NONE = 0
    STRUCTURED = 1
    BROKEN = 2


def wrapping_of(value: bytes, headers: Headers) -> Wrapping:
    """How a record's value is to be read, by its first bytes and its headers."""
    if value[0] == 0 and unwrapped(value) is value:
        return Wrapping.BROKEN
    told = {name: (text or b"").decode("utf-8", "replace") for name, text in headers}
    content_type = told.get("content-type", "")
    media_type = content_type.split(";")[0].strip().lower()
    if media_type == "application/cloudevents+json":
        return Wrapping.STRUCTURED
    if media_type.startswith("application/cloudevents"):
        return Wrapping.BROKEN
    if not [name for name in told if name[:3] == "ce_"]:
        return Wrapping.NONE
    is_whole = all(told.get(f"ce_{name}") for name in ("id", "source", "type"))
    is_read = told.get("ce_specversion") == "1.0"
    is_json = not content_type or is_json_type(content_type)
    return Wrapping.NONE if is_whole and is_read and is_json else Wrapping.BROKEN


def unwrapped(value: bytes) -> bytes:
    """The value behind 0x00 and a schema id of 4 or 8 bytes; itself where there is none."""
    if value[0] == 0:
        for length in (5, 9):
            if value[length:].startswith(b"{"):
                return value[length:]
    return value


def is_json_type(content_type: str) -> bool:
    """Whether a media type says JSON."""
    media_type = content_type.split(";")[0].rstrip(" ").lower()
    family, slash, kind = media_type.partition("/")
    return (
        family in ("application", "text")
        and bool(slash)
        and " " not in kind
        and (kind == "json" or (kind.endswith("+json") and kind != "+json"))
    )

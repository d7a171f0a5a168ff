"""The contract, read plainly: the event that a record holds, or which rule it breaks.

Written apart from the product's codec and without its validation, so that the two can disagree. The
rules, in this order: there is a value; what it is wrapped in is sound (see `wrapping`); it is JSON
in UTF-8; every field is there and within its limits; the fields fit together; the time exists; the
key is the body's; metadata is finite JSON of 4 kB, its integers of 64 bits; no U+0000.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from agents_topics.events import Action, Feedback, Interaction
from trueup.audit.wrapping import Headers, Wrapping, is_json_type, unwrapped, wrapping_of

NESTING_MAX = 201
METADATA_BYTES_MAX = 4096

Check = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Event:
    """A record that keeps the contract: its key, its time, its body."""

    key: str
    at: int
    body: Any


@dataclass(frozen=True, slots=True)
class Broken:
    """The first rule that a record breaks. `field` stands for any rule about a single field."""

    reason: str

    def is_told_as(self, claimed: str) -> bool:
        """Whether a dead letter's reason says this; a field's may have any name of its own."""
        return claimed == self.reason or (self.reason == "field" and claimed not in _REASONS)


_REASONS = frozenset(
    ("empty", "envelope", "json_invalid", "rule", "time", "no_key", "key", "metadata", "nul",
     "wrong_partition", "unknown_tenant", "future", "unknown_action_type", "unknown_outcome_type",
     "unknown_confidence_label", "conflict", "conversation_full")
)  # fmt: skip


def _text(least: int, most: int) -> Check:
    return lambda value: type(value) is str and least <= len(value) <= most


def _like(pattern: str) -> Check:
    matches = re.compile(pattern, re.ASCII).fullmatch
    return lambda value: type(value) is str and matches(value) is not None


def _number(most: float) -> Check:
    return lambda value: type(value) in (int, float) and 0 <= value <= most


def _word(*words: str) -> Check:
    return lambda value: type(value) is str and value in words


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 2_147_483_647


_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):([0-5]\d))",
    re.ASCII,
)
_ID, _NAME, _CHANNEL = _text(1, 100), _text(1, 50), _text(0, 20)
_STAGE = _word("prospecting", "discovery", "qualification", "evaluation", "negotiation",
               "closed_won", "closed_lost", "stalled")  # fmt: skip
_UUID = _like("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REQUIRED: dict[str, Check] = {
    "event_id": _ID,
    "tenant_id": _UUID,
    "conversation_id": _like(r"[^\x00-\x1f\x7f-\x9f]{1,200}"),
    "occurred_at": _like(_TIME.pattern),
}
_OPTIONAL: dict[str, Check] = {
    "action_id": _ID,
    "deal_stage": _STAGE,
    "interaction_count": _count,
    "metadata": lambda value: type(value) is dict,
}
_SOURCE = _word("self_report", "logprob", "classifier", "agreement", "judge", "heuristic", "human",
                "unknown")  # fmt: skip
_EVENTS: dict[str, tuple[type[Any], dict[str, Check], dict[str, Check]]] = {
    "agent-actions": (
        Action,
        {**_REQUIRED, "action_type": _NAME},
        {**_OPTIONAL, "predicted_confidence": _number(1), "confidence_label": _NAME,
         "outcome_type": _NAME, "rep_id": _ID, "agent_id": _ID, "agent_version": _ID,
         "model": _ID, "cost_usd": _number(1e12), "latency_ms": _number(1e12),
         "channel": _CHANNEL},
    ),
    "agent-interactions": (
        Interaction,
        {**_REQUIRED, "kind": _NAME},
        {**_OPTIONAL, "channel": _CHANNEL, "label": _word("positive", "negative", "ambiguous"),
         "account_id": _ID, "contact_id": _ID, "contact_email": _text(0, 255),
         "contact_name": _text(0, 200), "persona_type": _text(0, 20)},
    ),
    "agent-feedback": (
        Feedback,
        {**_REQUIRED, "target_type": _word("message", "decision", "conversation"),
         "target_id": _ID, "source": _word("inline", "dashboard"),
         "rating": lambda value: type(value) is int and -1 <= value <= 5,
         "reviewer_id": _UUID, "reviewer_role": _word("rep", "manager", "executive")},
        {"outcome_record_id": _UUID, "action_id": _ID, "comment": _text(0, 1000),
         "metadata": _OPTIONAL["metadata"]},
    ),
}  # fmt: skip
_FLOATS = ("predicted_confidence", "cost_usd", "latency_ms")


def read_event(
    topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()
) -> Event | Broken:
    """The event of an input topic's record."""
    wrapping = wrapping_of(value, headers) if value else Wrapping.NONE
    if wrapping is Wrapping.BROKEN:
        return Broken("envelope")
    document = _document_of(unwrapped(value) if value else value)
    if isinstance(document, Broken):
        return document
    if wrapping is Wrapping.STRUCTURED and type(document) is dict:
        if not _is_envelope(document):
            return Broken("envelope")
        document = document["data"]
    event_type, required, optional = _EVENTS[topic]
    if type(document) is not dict or not _keeps(document, required, optional):
        return Broken("field")
    if topic == "agent-actions" and not _says_how_sure(document):
        return Broken("field")
    if not _fits_together(topic, document):
        return Broken("rule")
    at_ms = _ms_of(document["occurred_at"])
    if at_ms is None:
        return Broken("time")
    own_key = f"{document['tenant_id']}/{document['conversation_id']}"
    if key is None:
        return Broken("no_key")
    if key != own_key.encode():
        return Broken("key")
    fields = {name: document[name] for name in (*required, *optional) if name in document}
    broken = _broken_text(fields)
    if broken:
        return broken
    fields |= {name: float(fields[name]) for name in _FLOATS if fields.get(name) is not None}
    if "confidence_source" in document and topic == "agent-actions":
        fields["confidence_source"] = document["confidence_source"]
    return Event(own_key, at_ms, event_type(**fields))


@dataclass(frozen=True, slots=True)
class Forget:
    """What a forget record wants forgotten: of a conversation, or of a tenant where it is None."""

    id: str
    tenant_id: str
    conversation_id: str | None


def read_control(value: bytes | None) -> int | Forget | Broken | None:
    """Where a clock record lets the time jump to, or what a forget record wants forgotten; None
    where it is a person's decision.
    """
    document = _document_of(value or b"")
    if isinstance(document, Broken):
        return Broken("json_invalid")
    if type(document) is not dict:
        return Broken("field")
    if document.get("kind") in ("threshold", "close_alarm"):
        return _broken_override(document)
    if document.get("kind") == "forget":
        return _forget_of(document)
    if not _keeps(
        document, {"kind": _word("clock"), "event_id": _ID, "until": _like(_TIME.pattern)}, {}
    ):
        return Broken("field")
    if "\0" in document["event_id"]:
        return Broken("nul")
    until_ms = _ms_of(document["until"])
    return Broken("time") if until_ms is None else until_ms


def _broken_override(document: dict[str, Any]) -> Broken | None:
    required = {"event_id": _ID, "tenant_id": _UUID, "reviewer": _ID}
    required |= {"occurred_at": _like(_TIME.pattern)}
    optional = {"outcome_type": _NAME, "confidence_source": _SOURCE}
    if document["kind"] == "threshold":
        required["action"] = _word("set", "roll_back", "release")
        optional["value"] = _number(1)
    is_named = _NAME(document.get("action_type"))
    if not is_named or not _keeps(document, required, optional):
        return Broken("field")
    if any("\0" in document[name] for name in ("event_id", "action_type", "reviewer")):
        return Broken("nul")
    if "\0" in (document.get("outcome_type") or ""):
        return Broken("nul")
    is_set = document.get("action") == "set"
    if document["kind"] == "threshold" and is_set != (document.get("value") is not None):
        return Broken("rule")
    return Broken("time") if _ms_of(document["occurred_at"]) is None else None


def _forget_of(document: dict[str, Any]) -> Forget | Broken:
    required = {"event_id": _ID, "tenant_id": _UUID}
    if not _keeps(document, required, {"conversation_id": _REQUIRED["conversation_id"]}):
        return Broken("field")
    if "\0" in document["event_id"]:
        return Broken("nul")
    return Forget(document["event_id"], document["tenant_id"], document.get("conversation_id"))


def _document_of(value: bytes | None) -> Any:
    if not value:
        return Broken("empty")
    try:
        document = json.loads(value.decode("utf-8", "strict"))
        if value.count(b"[") + value.count(b"{") > NESTING_MAX < _depth_of(document):
            return Broken("json_invalid")
        if b"\\u" in value:  # half a surrogate pair is no text
            json.dumps(document, ensure_ascii=False).encode("utf-8", "strict")
    except (ValueError, RecursionError):
        return Broken("json_invalid")
    return document


def _depth_of(document: Any) -> int:
    depth, level = 0, [document]
    while level := [held for held in level if isinstance(held, dict | list)]:
        depth += 1
        level = [
            inner for held in level for inner in (held.values() if type(held) is dict else held)
        ]
    return depth


def _keeps(
    document: dict[str, Any], required: dict[str, Check], optional: dict[str, Check]
) -> bool:
    return (
        all(name in document and check(document[name]) for name, check in required.items())
        and all(document.get(name) is None or check(document[name])
                for name, check in optional.items())
        and ("action_type" not in required
             or _SOURCE(document.get("confidence_source", "unknown")))
    )  # fmt: skip


def _says_how_sure(action: dict[str, Any]) -> bool:
    """Whether an action has a number or a label for its confidence."""
    stated = (action.get("predicted_confidence"), action.get("confidence_label"))
    return any(value is not None for value in stated)


def _is_envelope(document: dict[str, Any]) -> bool:
    """Whether it is a CloudEvent 1.0 with JSON in `data`."""
    named = all(_text(1, 2**31)(document.get(name)) for name in ("id", "source", "type"))
    told = document.get("datacontenttype")
    return (
        named
        and document.get("specversion") == "1.0"
        and type(document.get("data")) is dict
        and (told is None or (type(told) is str and is_json_type(told)))
        and document.get("data_base64") is None
    )


def _fits_together(topic: str, document: dict[str, Any]) -> bool:
    """The rules over several fields: a human label's, and the scale of a rating."""
    if topic == "agent-feedback":
        rating = document["rating"]
        return bool(rating >= 1 if document["source"] == "dashboard" else rating <= 1)
    if topic == "agent-actions" or document["kind"] != "human_label":
        return True
    more = document.get("metadata") or {}
    score, reviewer = more.get("score"), more.get("reviewer")
    return (
        document.get("action_id") is not None
        and document.get("label") is not None
        and (score is None or _number(1)(score))
        and (reviewer is None or _ID(reviewer))
    )


def _ms_of(text: str) -> int | None:
    """Whole milliseconds since 1970, rounded down; None where there is no such time."""
    match = _TIME.fullmatch(text)
    assert match
    year, month, day, hour, minute, second = (int(match[index]) for index in range(1, 7))
    away_hours, away_minutes = int(match[9] or 0), int(match[10] or 0)
    if hour > 23 or minute > 59 or second > 59 or away_hours > 23:
        return None
    try:
        days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return None
    away = (away_hours * 60 + away_minutes) * (-1 if match[8] == "-" else 1)
    seconds = ((days * 24 + hour) * 60 + minute - away) * 60 + second
    return seconds * 1000 + int((match[7] or "").ljust(3, "0")[:3])


def _broken_text(fields: dict[str, Any]) -> Broken | None:
    leaves = list(fields.values())
    metadata = fields.get("metadata")
    if metadata is not None:
        leaves += _leaves(metadata)
        try:
            told = json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode()
        except ValueError:
            return Broken("metadata")
        if len(told) > METADATA_BYTES_MAX or not all(map(_fits, leaves)):
            return Broken("metadata")
    is_nul = any(type(leaf) is str and "\0" in leaf for leaf in leaves)
    return Broken("nul") if is_nul else None


def _fits(value: Any) -> bool:
    return type(value) is not int or -(2**63) <= value < 2**64


def _leaves(value: Any) -> list[Any]:
    """Every value inside a JSON value that holds no other, names of fields included."""
    if type(value) is dict:
        return [*value, *(leaf for held in value.values() for leaf in _leaves(held))]
    if type(value) is list:
        return [leaf for held in value for leaf in _leaves(held)]
    return [value]

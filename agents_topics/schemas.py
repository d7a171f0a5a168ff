"""The events as JSON Schema (draft 2020-12), made from their types and never written by hand.

A schema says every rule that JSON Schema can express. What it cannot is in `UNSAID`; the decoder
alone is complete.
"""

import ast
import inspect
import json
import re
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter

from agents_topics import calibration
from agents_topics.events import (
    Action,
    BinSums,
    CalibrationUpdate,
    Clock,
    CloseAlarm,
    Feedback,
    Forget,
    Forgotten,
    Interaction,
    LateEvent,
    Outcome,
    PolicyRecord,
    Promise,
    ThresholdOverride,
)
from agents_topics.examples import EXAMPLES
from agents_topics.label_rates import LabelCounts, LabelRate
from agents_topics.letters import Redriven
from agents_topics.rules import HUMAN_LABEL, RATINGS, REVIEWER_LENGTH_MAX

INPUTS: tuple[type[Any], ...] = (
    Action,
    Interaction,
    Feedback,
    Clock,
    Forget,
    ThresholdOverride,
    CloseAlarm,
)
OUTPUTS: tuple[type[Any], ...] = (
    Outcome,
    Promise,
    CalibrationUpdate,
    LabelRate,
    *calibration.RECORDS,
    LateEvent,
    Forgotten,
    PolicyRecord,
    Redriven,
)
UNSAID = (
    "the key is `tenant_id/conversation_id`, as in the body",
    "the day and time exist, and the zone is less than 24 hours",
    "an integer is written without fraction and exponent",
    "no number is NaN or infinite, as 1e400 is",
    "metadata has at most 4,096 bytes as UTF-8 JSON, and its integers at most 64 bits",
    "JSON is nested at most 200 deep",
)
"""What the decoder asks of an event and its schema does not say."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NO_NUL = "^[^\\u0000]*$"
_JSON_VALUE = {
    "description": "Any JSON whose texts have no U+0000.",
    "anyOf": [
        {"type": ["null", "boolean", "number"]},
        {"type": "string", "pattern": _NO_NUL},
        {"type": "array", "items": {"$ref": "#/$defs/JsonValue"}},
        {
            "type": "object",
            "propertyNames": {"pattern": _NO_NUL},
            "additionalProperties": {"$ref": "#/$defs/JsonValue"},
        },
    ],
}
_RULES: dict[type[Any], list[dict[str, Any]]] = {
    Action: [
        {
            "anyOf": [
                {"required": [name], "properties": {name: {"type": kind}}}
                for name, kind in (
                    ("predicted_confidence", "number"),
                    ("confidence_label", "string"),
                )
            ]
        }
    ],
    Interaction: [
        {
            "if": {"properties": {"kind": {"const": HUMAN_LABEL}}},
            "then": {
                "required": ["action_id", "label"],
                "properties": {
                    "action_id": {"type": "string"},
                    "label": {"type": "string"},
                    "metadata": {
                        "properties": {
                            "score": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
                            "reviewer": {
                                "type": ["string", "null"],
                                "minLength": 1,
                                "maxLength": REVIEWER_LENGTH_MAX,
                            },
                        }
                    },
                },
            },
        }
    ],
    ThresholdOverride: [
        {
            "if": {"properties": {"action": {"const": "set"}}},
            "then": {"required": ["value"], "properties": {"value": {"type": "number"}}},
            "else": {"properties": {"value": {"type": "null"}}},
        }
    ],
    Feedback: [
        {
            "if": {"properties": {"source": {"const": source}}},
            "then": {"properties": {"rating": {"minimum": scale[0], "maximum": scale[-1]}}},
        }
        for source, scale in RATINGS.items()
    ],
}
"""`agents_topics.rules` as JSON Schema."""


def schema_of(event_type: type[Any]) -> dict[str, Any]:
    """The JSON Schema of an event: of what is read of an input, of what is written of an output.

    Unknown fields are allowed everywhere: readers ignore them.
    """
    is_input = event_type in INPUTS
    schema = TypeAdapter(event_type).json_schema(mode="validation" if is_input else "serialization")
    definitions = schema.pop("$defs", {})
    if "JsonValue" in definitions:
        definitions["JsonValue"] = _JSON_VALUE
    _describe(schema, event_type)
    for inner in (BinSums, LabelCounts):
        if inner.__name__ in definitions:
            _describe(definitions[inner.__name__], inner)
    if is_input:
        for field in schema["properties"].values():
            _refuse_nul(field)
    told = {
        "$schema": _DIALECT,
        "$id": f"urn:trueup:{name_of(event_type)}",
        **schema,
    }
    if event_type in _RULES:
        told["allOf"] = _RULES[event_type]
    told["examples"] = list(EXAMPLES[event_type].values())
    if definitions:
        told["$defs"] = definitions
    return told


def name_of(event_type: type[Any]) -> str:
    """An event's name in files: `calibration-update`.

    >>> name_of(CalibrationUpdate)
    'calibration-update'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", event_type.__name__).lower()


def text_of(document: dict[str, Any]) -> str:
    """A document as it is committed."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _describe(schema: dict[str, Any], event_type: type[Any]) -> None:
    """Puts the words of the source beside type and fields."""
    schema["description"] = inspect.cleandoc(event_type.__doc__ or "")
    meanings = meanings_of(event_type)
    for name, field in schema["properties"].items():
        field.pop("title", None)
        field.pop("description", None)
        schema["properties"][name] = {"description": meanings[name], **field}


def meanings_of(event_type: type[Any]) -> dict[str, str]:
    """What stands under each field in the source."""
    (declared,) = ast.parse(inspect.getsource(event_type)).body
    assert isinstance(declared, ast.ClassDef)
    meanings: dict[str, str] = {}
    for field, text in pairwise(declared.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str())):
                meanings[name] = ast.literal_eval(text.value)
    return meanings


def _refuse_nul(field: dict[str, Any]) -> None:
    """Free text in a field may not hold U+0000, which Postgres cannot store."""
    for schema in field.get("anyOf", [field]):
        is_free = schema.get("type") == "string" and not {"pattern", "enum", "const"} & set(schema)
        if is_free:
            schema["pattern"] = _NO_NUL
        if schema.get("type") == "object":
            schema["propertyNames"] = {"pattern": _NO_NUL}

"""The topics as an AsyncAPI 3.0 document, made from TOPICS, AGENTS and the events' schemas.

Channels are the topics, operations are what Trueup does with them. Changelogs are left out: they
are a task's own state, not a contract.
"""

from typing import Any

from agents_topics import calibration
from agents_topics.events import CloseAlarm, Forget, Forgotten, Promise, ThresholdOverride
from agents_topics.examples import EXAMPLES
from agents_topics.label_rates import LabelRate
from agents_topics.roster import AGENTS
from agents_topics.schemas import INPUTS, meanings_of, schema_of
from agents_topics.topics import (
    CALIBRATION_UPDATES,
    CONTROL,
    DEAD_LETTERS,
    OUTCOMES,
    SETTLED_OUTCOMES,
    TOPICS,
    Topic,
)

CONTRACT_VERSION = "1.1.0"
_KAFKA = "0.5.0"
_JSON = "application/json"
_DEAD_LETTER = "DeadLetter"
_BESIDE: dict[str, tuple[type[Any], ...]] = {
    CONTROL.name: (ThresholdOverride, CloseAlarm, Forget),
    OUTCOMES.name: (Forgotten,),
    SETTLED_OUTCOMES.name: (Promise, Forgotten, ThresholdOverride, CloseAlarm),
    CALIBRATION_UPDATES.name: (
        LabelRate,
        *calibration.RECORDS,
    ),
}
"""What a topic carries beside its own event."""
_REASON_HEADERS = {
    "topic": "Where the record stood.",
    "partition": "Its partition.",
    "offset": "Its offset.",
    "stage": "The agent that refused it.",
    "exception.class.name": "The reason, a short name.",
    "exception.message": "The reason, a sentence.",
}


def asyncapi() -> dict[str, Any]:
    """The document."""
    public = [topic for topic in TOPICS if messages_of(topic)]
    events = {event for topic in public for event in messages_of(topic) if event != _DEAD_LETTER}
    ordered = sorted(events, key=lambda event: event.__name__)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Trueup",
            "version": CONTRACT_VERSION,
            "description": (
                "What agents did and what then happened, in; settled outcomes and calibration, "
                "out. Every topic has the same number of partitions, which the operator chooses. "
                "Inputs are partitioned by murmur2 over the key. A reader ignores fields that it "
                "does not know. Inputs are plain JSON, CloudEvents 1.0 (binary or structured), or "
                "JSON behind a schema registry's prefix; records of `control` plain JSON only."
            ),
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": _JSON,
        "channels": {topic.name: _channel_of(topic) for topic in public},
        "operations": _operations(public),
        "components": {
            "messages": {
                **{event.__name__: _message_of(event) for event in ordered},
                _DEAD_LETTER: _dead_letter(),
            },
            "schemas": _schemas(ordered),
        },
    }


def messages_of(topic: Topic) -> tuple[Any, ...]:
    """The types of event that a topic carries; none for a task's own state."""
    if topic == DEAD_LETTERS:
        return (_DEAD_LETTER,)
    return (topic.event, *_BESIDE.get(topic.name, ())) if topic.event else ()


def _name(event: Any) -> str:
    return event if isinstance(event, str) else str(event.__name__)


def _channel_of(topic: Topic) -> dict[str, Any]:
    config = topic.broker_config()
    kept: dict[str, Any] = {
        "cleanup.policy": [config["cleanup.policy"]],
        "retention.ms": int(config["retention.ms"]),
        "max.message.bytes": int(config["max.message.bytes"]),
    }
    described = f"Key: {topic.key}. Timestamps: {config['message.timestamp.type']}."
    if not topic.is_needed:
        described += " No agent reads it yet."
    return {
        "address": topic.name,
        "description": described,
        "messages": {
            _name(event): {"$ref": f"#/components/messages/{_name(event)}"}
            for event in messages_of(topic)
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "topicConfiguration": kept,
                "bindingVersion": _KAFKA,
            }
        },
    }


def _operations(public: list[Topic]) -> dict[str, Any]:
    operations = {}
    for row in AGENTS:
        for action, verb, topics in (
            ("receive", "reads", row.reads),
            ("send", "writes", row.writes),
        ):
            for topic in topics:
                if topic not in public:
                    continue
                channel = f"#/channels/{topic.name}"
                operations[f"{row.name}-{verb}-{topic.name}"] = {
                    "action": action,
                    "channel": {"$ref": channel},
                    "messages": [
                        {"$ref": f"{channel}/messages/{_name(event)}"}
                        for event in messages_of(topic)
                    ],
                }
    return operations


def _message_of(event: type[Any]) -> dict[str, Any]:
    keyed = {"conversation_id", "tenant_id"} <= set(meanings_of(event)) and event in INPUTS
    key = {"type": "string", "description": "tenant_id/conversation_id, as in the body"}
    return {
        "name": event.__name__,
        "contentType": _JSON,
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "examples": [
            {"name": name, "payload": example} for name, example in EXAMPLES[event].items()
        ],
        "bindings": {"kafka": {**({"key": key} if keyed else {}), "bindingVersion": _KAFKA}},
    }


def _dead_letter() -> dict[str, Any]:
    headers = {
        f"__connect.errors.{name}": {"type": "string", "description": meaning}
        for name, meaning in _REASON_HEADERS.items()
    }
    pointer = "Topic/partition/offset, in the place of a value too large to be copied."
    return {
        "name": _DEAD_LETTER,
        "summary": "A refused record, its key, value and headers as they came, and why.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "required": list(headers),
            "properties": {
                **headers,
                "trueup.pointer": {"type": "string", "description": pointer},
            },
        },
        "payload": {"description": "The record's value, whatever it is."},
        "bindings": {"kafka": {"bindingVersion": _KAFKA}},
    }


def _schemas(events: list[type[Any]]) -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    for event in events:
        schema = schema_of(event)
        inner = schema.pop("$defs", {})
        for name in ("$schema", "$id", "examples"):
            del schema[name]
        schemas |= {event.__name__: _moved(schema)}
        schemas |= {name: _moved(held) for name, held in inner.items()}
    return dict(sorted(schemas.items()))


def _moved(schema: Any) -> Any:
    """The schema with its references where an AsyncAPI document keeps definitions."""
    if isinstance(schema, dict):
        return {
            name: held.replace("#/$defs/", "#/components/schemas/")
            if name == "$ref"
            else _moved(held)
            for name, held in schema.items()
        }
    return [_moved(held) for held in schema] if isinstance(schema, list) else schema

"""The published schemas and the decoder give one verdict, where a schema can express the rule."""

import json
import re

import jsonschema
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import validators

from agents_topics.codec import Decoded, Decoder, Malformed, decode_control
from agents_topics.events import (
    Action,
    Clock,
    CloseAlarm,
    Feedback,
    Forget,
    Interaction,
    ThresholdOverride,
)
from agents_topics.examples import EXAMPLES
from agents_topics.identifiers import key_of
from agents_topics.schemas import INPUTS, UNSAID, schema_of
from tests.hunt import examples

DECODERS = {event_type: Decoder(event_type) for event_type in (Action, Interaction, Feedback)}
CONTROLS = (Clock, ThresholdOverride, CloseAlarm, Forget)
UNSAID_REASONS = {"time", "metadata"}
"""What the decoder finds and no schema can say: see `UNSAID`."""

TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"


def _pattern(validator, pattern, instance, schema):
    """`$` of ECMA 262 is the end alone; Python's is also before a last line break."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _type(validator, types, instance, schema):
    """An integer is one that is written so: the rule that JSON Schema cannot express."""
    if isinstance(instance, float) and "integer" in types:
        yield jsonschema.ValidationError(f"{instance!r} is not written as an integer")
    else:
        told = jsonschema.Draft202012Validator.VALIDATORS["type"]
        yield from told(validator, types, instance, schema)


Validator = validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern, "type": _type})
VALIDATORS = {event_type: Validator(schema_of(event_type)) for event_type in INPUTS}

odd = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 8), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(
        [
            "", "x" * 20, "x" * 21, "x" * 50, "x" * 51, "x" * 100, "x" * 101, "é" * 255, "é" * 256,
            "x" * 1000, "x" * 1001, "a\0b", "c\n", "\x7f", "\x85", TENANT, TENANT.upper(),
            f"{TENANT}\n", "positive", "closed_won", "dashboard", "inline", "human_label", "rep",
            "clock", "set", "release",
            "2026-01-05T00:00:00Z", "2026-01-05T00:00:00Z\n", "2026-01-05t00:00:00Z",
            "2026-01-05T00:00:00.1234567890Z", "2026-01-05T00:00:00+05:60", 1.0, 1e12, 1.1e12,
            2**31 - 1, 2**31, 1e300, {}, [], {"score": 1}, {"score": 1.5}, {"score": True},
            {"score": "1"}, {"score": None}, {"reviewer": ""}, {"reviewer": "x" * 101},
            {"reviewer": 1}, {"a\0": 1}, {"a": [{"b": "\0"}]}, {"a": [{"b\0": None}]}, [1],
        ]
    ),
)  # fmt: skip


@st.composite
def documents(draw):
    event_type = draw(st.sampled_from(INPUTS))
    document = dict(draw(st.sampled_from(list(EXAMPLES[event_type].values()))))
    names = st.sampled_from([*event_type.__dataclass_fields__, "unknown"])
    document |= draw(st.dictionaries(names, odd, max_size=2))
    for name in draw(st.sets(names, max_size=1)):
        document.pop(name, None)
    return event_type, document


def reason_of(event_type, document):
    """Why the decoder refuses a document; None where it does not."""
    value = json.dumps(document).encode()
    if event_type in CONTROLS:
        found = decode_control(value)
        return found.reason if isinstance(found, Malformed) else None
    key = key_of(str(document.get("tenant_id")), str(document.get("conversation_id")))
    found = DECODERS[event_type].decode(key.encode(), value)
    return None if isinstance(found, Decoded) else found.reason


@settings(max_examples=examples(800))
@given(documents())
@example((Clock, EXAMPLES[Clock]["full"] | {"event_id": "\0"}))
def test_a_document_keeps_the_schema_where_the_decoder_takes_it(drawn):
    event_type, document = drawn

    reason = reason_of(event_type, document)
    errors = [error.message for error in VALIDATORS[event_type].iter_errors(document)]

    if reason not in UNSAID_REASONS:
        assert bool(errors) == (reason is not None), (reason, errors, document)


def test_what_no_schema_says_is_written_down():
    action = EXAMPLES[Action]["minimal"]
    beyond = [
        action | {"occurred_at": "2026-02-30T00:00:00Z"},
        action | {"metadata": {"a": "x" * 4096}},
        action | {"metadata": {"a": 2**64}},
    ]

    assert {reason_of(Action, document) for document in beyond} == UNSAID_REASONS
    assert not any(list(VALIDATORS[Action].iter_errors(document)) for document in beyond)
    assert any("metadata" in line for line in UNSAID)
    assert any("time exist" in line for line in UNSAID)

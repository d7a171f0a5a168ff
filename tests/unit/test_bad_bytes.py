"""Every bad byte sequence is a value with a reason, never an exception, to all three readers."""

import json
import random

import pytest

from agents_topics.codec import Decoded, Decoder, Malformed, decode_control
from agents_topics.events import Action
from streams.fast_decoder import FastDecoder
from tests.wrapping import APICURIO, BINARY, CONFLUENT, STRUCTURED, enveloped
from trueup.audit.contract import Broken, Event, read_control, read_event

TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
KEY = f"{TENANT}/c1".encode()
GOOD = {
    "event_id": "e1",
    "tenant_id": TENANT,
    "conversation_id": "c1",
    "action_type": "send_email",
    "predicted_confidence": 0.5,
    "occurred_at": "2026-01-05T00:00:00.000Z",
}
slow, fast = Decoder(Action), FastDecoder(Action)


def decode(key, value, headers=()):
    """What the contract's decoder says; the fast one and the audit must say the same."""
    decoded = slow.decode(key, value, headers)
    quickly = fast.decode(key, value, headers)
    audited = read_event("agent-actions", key, value, headers)
    if isinstance(decoded, Malformed):
        assert quickly == decoded
        assert isinstance(audited, Broken)
        assert audited.is_told_as(decoded.reason), (audited, decoded)
    else:
        assert quickly[:2] == decoded[:2]
        assert audited == Event(decoded.key, decoded.at_ms, decoded.event)
    return decoded


def body(**changes):
    return json.dumps({**GOOD, **changes}).encode()


def raw(text):
    """The good body with some raw JSON for metadata."""
    return body()[:-1] + b', "metadata": ' + text + b"}"


def test_a_good_record_is_an_event():
    decoded = decode(KEY, body(unknown="field"))

    assert isinstance(decoded, Decoded)
    assert decoded.at_ms == 1_767_571_200_000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (KEY, None),
        (KEY, b""),
        (KEY, b"null"),
        (KEY, b"[]"),
        (KEY, b"not json"),
        (KEY, b"\xff\xfe"),
        (KEY, b"[" * 100_000),
        (KEY, b'{"a":' * 100_000),
        (KEY, b"9" * 10_000),
        (None, body()),
        (b"", body()),
        (b"\xff", body()),
        (f"{TENANT}/c2".encode(), body()),
        (KEY, body(tenant_id="49e7c4f4-ee9d-5ea4-a9ef-f15f2c7d5d0c")),
        (KEY, body()[:-1] + b', "tenant_id": "49e7c4f4-ee9d-5ea4-a9ef-f15f2c7d5d0c"}'),
        (KEY, body(tenant_id=TENANT.upper())),
        (KEY, body(tenant_id=7)),
        (KEY, body(event_id="")),
        (KEY, body(event_id="x" * 101)),
        (KEY, body(event_id="a\0b")),
        (KEY, body(conversation_id="c\n1")),
        (KEY, body(conversation_id="c" * 201)),
        (KEY, body(action_type="x" * 51)),
        (KEY, body(predicted_confidence="0.5")),
        (KEY, body(predicted_confidence=True)),
        (KEY, body(predicted_confidence=1.0000001)),
        (KEY, body(predicted_confidence=-0.1)),
        (KEY, body(predicted_confidence=None)),
        (KEY, body().replace(b"0.5", b"NaN")),
        (KEY, body().replace(b"0.5", b"1e400")),
        (KEY, body().replace(b"0.5", b"9" * 5000)),
        (KEY, body(occurred_at=1_767_571_200)),
        (KEY, body(occurred_at="1767571200")),
        (KEY, body(occurred_at="2026-01-05")),
        (KEY, body(occurred_at="2026-01-05T00:00:00")),
        (KEY, body(occurred_at="2026-02-30T00:00:00Z")),
        (KEY, body(occurred_at="2026-01-05T24:00:00Z")),
        (KEY, body(occurred_at="2026-01-05T25:00:00Z")),
        (KEY, body(deal_stage="sold")),
        (KEY, body(interaction_count=2**40)),
        (KEY, body(interaction_count=1.5)),
        (KEY, body().replace(b'"e1"', b'"\\ud800"')),
        (KEY, raw(b'{"a": NaN}')),
        (KEY, raw(b'{"a": 1e400}')),
        (KEY, raw(b'{"a": "\\u0000"}')),
        (KEY, raw(b'{"a": {"b\\u0000": 1}}')),
        (KEY, raw(b'{"a": "' + b"x" * 5000 + b'"}')),
        (KEY, raw(b"[1]")),
        (KEY, raw(b'{"a": 18446744073709551616}')),
        (KEY, raw(b'{"a": [{"b": -9223372036854775809}]}')),
        (KEY, raw(b'{"score": ' + b"9" * 400 + b"}")),
        (KEY, body(occurred_at="2026-01-05T00:00:00+05:60")),
    ],
)
def test_a_bad_record_is_a_reason(key, value):
    found = decode(key, value)

    assert isinstance(found, Malformed), found
    assert found.reason
    assert found.detail


FIELD = "field"
"""Any reason that names a rule of one field."""

POISON = {
    "empty": (KEY, b"", (), "empty"),
    "null": (KEY, b"null", (), FIELD),
    "tombstone": (KEY, None, (), "empty"),
    "no key": (None, body(), (), "no_key"),
    "empty key": (b"", body(), (), "key"),
    "tenant in body and key differ": (KEY.replace(b"a4", b"b4"), body(), (), "key"),
    "not JSON": (KEY, b"event_id=e1", (), "json_invalid"),
    "cut off": (KEY, body()[:-1], (), "json_invalid"),
    "more after it": (KEY, body() + b"{}", (), "json_invalid"),
    "byte order mark": (KEY, b"\xef\xbb\xbf" + body(), (), "json_invalid"),
    "UTF-16": (KEY, body().decode().encode("utf-16"), (), "json_invalid"),
    "bad UTF-8": (KEY, body().replace(b"e1", b"\xc3("), (), "json_invalid"),
    "overlong UTF-8": (KEY, body().replace(b"e1", b"\xc0\xaf"), (), "json_invalid"),
    "NaN": (KEY, body(predicted_confidence=float("nan")), (), FIELD),
    "NaN in metadata": (KEY, raw(b'{"a": NaN}'), (), "metadata"),
    "1e400": (KEY, body().replace(b"0.5", b"1e400"), (), FIELD),
    "1e400 in metadata": (KEY, raw(b'{"a": -1e400}'), (), "metadata"),
    "deep nesting": (KEY, b"[" * 100_000, (), "json_invalid"),
    "deep unknown field": (
        KEY, body()[:-1] + b', "x": ' + b"[" * 300 + b"]" * 300 + b"}", (), "json_invalid",
    ),
    "lone surrogate": (KEY, body().replace(b'"e1"', b'"\\ud800"'), (), "json_invalid"),
    "lone surrogate in bytes": (KEY, body().replace(b"e1", b"\xed\xa0\x80"), (), "json_invalid"),
    "U+0000": (KEY, body(event_id="a\0b"), (), "nul"),
    "U+0000 as a byte": (KEY, body().replace(b"e1", b"a\0b"), (), "json_invalid"),
    "U+0000 in metadata": (KEY, raw(b'{"a\\u0000": 1}'), (), "nul"),
    "duplicate key": (KEY, body()[:-1] + b', "tenant_id": "' + b"0" * 36 + b'"}', (), FIELD),
    "huge integer": (KEY, body(interaction_count=10**30), (), FIELD),
    "huge integer in metadata": (KEY, raw(b'{"a": ' + b"9" * 40 + b"}"), (), "metadata"),
    "wrong type": (KEY, body(event_id=1), (), FIELD),
    "no confidence": (KEY, body(predicted_confidence=None), (), "missing"),
    "an empty label": (KEY, body(confidence_label=""), (), FIELD),
    "a label of 51 characters": (KEY, body(confidence_label="x" * 51), (), FIELD),
    "a label that is no text": (KEY, body(confidence_label=1), (), FIELD),
    "a label with U+0000": (KEY, body(confidence_label="a\0b"), (), "nul"),
    "a number as text": (KEY, body(predicted_confidence="0.5"), (), FIELD),
    "seconds for a time": (KEY, body(occurred_at=1_767_571_200), (), FIELD),
    "no such day": (KEY, body(occurred_at="2026-02-30T00:00:00Z"), (), "time"),
    "unknown enum": (KEY, body(deal_stage="sold"), (), FIELD),
    "missing field": (KEY, b"{}", (), FIELD),
    "too much metadata": (KEY, raw(b'{"a": "' + b"x" * 4_096 + b'"}'), (), "metadata"),
    "prefix alone": (KEY, CONFLUENT, (), "envelope"),
    "prefix and other bytes": (KEY, CONFLUENT + b"\x02" + body(), (), "envelope"),
    "prefix and a bad event": (KEY, APICURIO + b"{}", (), FIELD),
    "a batch": (
        KEY, b"[" + body() + b"]", (("content-type", b"application/cloudevents-batch+json"),),
        "envelope",
    ),
    "Avro": (KEY, body(), (*BINARY, ("content-type", b"application/avro")), "envelope"),
    "no ce_id": (KEY, body(), BINARY[:1] + BINARY[2:], "envelope"),
    "CloudEvents 0.3": (KEY, body(), (("ce_specversion", b"0.3"), *BINARY[1:]), "envelope"),
    "a plain event that says it is an envelope": (KEY, body(), STRUCTURED, "envelope"),
    "envelope of 0.3": (KEY, enveloped(body(), specversion="0.3"), STRUCTURED, "envelope"),
    "envelope without id": (KEY, enveloped(body(), id=None), STRUCTURED, "envelope"),
    "envelope of XML": (
        KEY, enveloped(body(), datacontenttype="text/xml"), STRUCTURED, "envelope",
    ),
    "envelope of base64": (KEY, enveloped(body(), data_base64="e30="), STRUCTURED, "envelope"),
    "envelope of a text": (KEY, enveloped(b'"{}"'), STRUCTURED, "envelope"),
    "envelope of a bad event": (KEY, enveloped(b"{}"), STRUCTURED, FIELD),
    "envelope without saying so": (KEY, enveloped(body()), (), FIELD),
}  # fmt: skip


@pytest.mark.parametrize("name", POISON)
def test_poison_is_refused_with_its_reason(name):
    key, value, headers, reason = POISON[name]

    found = decode(key, value, headers)

    assert isinstance(found, Malformed)
    assert Broken(reason).is_told_as(found.reason), found
    assert found.detail


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"event_id": "a\0b"}, "nul"),
        ({"until": "2026-02-30T00:00:00Z"}, "time"),
        ({"until": "2026-01-05"}, FIELD),
        ({"kind": "Clock"}, FIELD),
    ],
)
def test_a_bad_clock_record_is_refused_with_its_reason(told, reason):
    clock = {"kind": "clock", "event_id": "c-1", "until": "2026-01-05T00:00:00Z"} | told
    value = json.dumps(clock).encode()

    found = decode_control(value)

    assert isinstance(found, Malformed)
    assert Broken(reason).is_told_as(found.reason), found
    assert read_control(value) == Broken(reason)


DECISION = {
    "kind": "threshold",
    "event_id": "d-1",
    "tenant_id": TENANT,
    "action_type": "send_email",
    "reviewer": "ann",
    "occurred_at": "2026-01-05T00:00:00Z",
    "action": "set",
    "value": 0.8,
}


@pytest.mark.parametrize("kind", ["threshold", "close_alarm"])
def test_a_decision_is_one_to_decoder_and_audit(kind):
    value = json.dumps(DECISION | {"kind": kind, "confidence_source": None}).encode()

    assert decode_control(value).kind == kind
    assert read_control(value) is None


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"tenant_id": "acme"}, FIELD),
        ({"action_type": "x" * 51}, FIELD),
        ({"reviewer": ""}, FIELD),
        ({"action": "raise"}, FIELD),
        ({"value": 1.1}, FIELD),
        ({"confidence_source": "guess"}, FIELD),
        ({"reviewer": "a\0"}, "nul"),
        ({"outcome_type": "a\0"}, "nul"),
        ({"value": None}, "rule"),
        ({"action": "release"}, "rule"),
        ({"occurred_at": "2026-02-30T00:00:00Z"}, "time"),
    ],
)
def test_a_bad_decision_is_refused_with_its_reason(told, reason):
    value = json.dumps(DECISION | told).encode()

    found = decode_control(value)

    assert isinstance(found, Malformed)
    assert Broken(reason).is_told_as(found.reason), found
    assert read_control(value) == Broken(reason)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"event_id": "a\0b"}, "nul"),
        ({"tenant_id": "acme"}, FIELD),
        ({"tenant_id": None}, FIELD),
        ({"conversation_id": ""}, FIELD),
        ({"conversation_id": "a\nb"}, FIELD),
        ({"conversation_id": 7}, FIELD),
        ({"kind": ["forget"]}, FIELD),
    ],
)
def test_a_bad_forget_record_is_refused_with_its_reason(told, reason):
    forget = {"kind": "forget", "event_id": "f", "tenant_id": TENANT} | told
    value = json.dumps(forget).encode()

    found = decode_control(value)

    assert isinstance(found, Malformed)
    assert Broken(reason).is_told_as(found.reason), found
    assert read_control(value) == Broken(reason)


def test_one_byte_in_ten_at_random_stops_nobody():
    source = random.Random(20)
    for _ in range(2_000):
        value = bytearray(body(metadata={"a": [1, "é"]}))
        for at in source.sample(range(len(value)), len(value) // 10):
            value[at] = source.randrange(256)

        assert isinstance(decode(KEY, bytes(value)), Malformed)


def test_ten_thousand_headers_are_read():
    headers = tuple((f"h{number}", b"x") for number in range(10_000))

    assert isinstance(decode(KEY, body(), headers), Decoded)
    assert isinstance(decode(KEY, body(), (*headers, *BINARY)), Decoded)


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63)])
def test_an_integer_of_64_bits_can_be_kept(number):
    assert isinstance(decode(KEY, body(metadata={"a": [number]})), Decoded)


def test_an_escaped_backslash_before_u0000_is_plain_text():
    assert isinstance(decode(KEY, raw(rb'{"a": "\\u0000"}')), Decoded)


def test_a_duplicate_key_that_smuggles_nothing_is_read_by_its_last_value():
    decoded = decode(KEY, body()[:-1] + b', "predicted_confidence": 0.25}')

    assert isinstance(decoded, Decoded)
    assert decoded.event.predicted_confidence == 0.25

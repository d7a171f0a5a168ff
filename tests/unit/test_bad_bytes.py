"""Every bad byte sequence is a value with a reason, never an exception."""

import json

import pytest

from agents_topics.codec import Decoded, Decoder, Malformed
from agents_topics.events import Action

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
decode = Decoder(Action).decode


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


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63)])
def test_an_integer_of_64_bits_can_be_kept(number):
    assert isinstance(decode(KEY, body(metadata={"a": [number]})), Decoded)


def test_an_escaped_backslash_before_u0000_is_plain_text():
    assert isinstance(decode(KEY, raw(rb'{"a": "\\u0000"}')), Decoded)


def test_a_duplicate_key_that_smuggles_nothing_is_read_by_its_last_value():
    decoded = decode(KEY, body()[:-1] + b', "predicted_confidence": 0.25}')

    assert isinstance(decoded, Decoded)
    assert decoded.event.predicted_confidence == 0.25

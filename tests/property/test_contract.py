"""The contract is read twice, by the codec and by the audit's plain code, and they agree."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from agents_topics.codec import Decoded, Decoder
from agents_topics.events import Action, Feedback, Interaction
from tests.hunt import examples
from tests.wrapping import BINARY, wrapped
from trueup.audit.contract import Broken, Event, read_event

TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
KEY = f"{TENANT}/c1".encode()
DECODERS = {
    "agent-actions": Decoder(Action),
    "agent-interactions": Decoder(Interaction),
    "agent-feedback": Decoder(Feedback),
}
COMMON = {
    "event_id": "e1",
    "tenant_id": TENANT,
    "conversation_id": "c1",
    "occurred_at": "2026-01-05T00:00:00.000Z",
    "action_id": "a1",
    "deal_stage": "evaluation",
    "interaction_count": 3,
    "metadata": {"score": 0.5, "é": [1, None, True, "x"]},
}
WHOLE = {
    "agent-actions": COMMON
    | {"action_type": "send_email", "predicted_confidence": 0.5, "outcome_type": "o",
       "confidence_source": "judge", "confidence_label": "high", "rep_id": "r", "cost_usd": 0.25,
       "latency_ms": 7},
    "agent-interactions": COMMON
    | {"kind": "human_label", "label": "positive", "channel": "mail", "contact_email": "a@b",
       "contact_name": "n", "persona_type": "p", "account_id": "x", "contact_id": "y"},
    "agent-feedback": COMMON
    | {"target_type": "message", "target_id": "m1", "source": "inline", "rating": 0,
       "reviewer_id": TENANT, "reviewer_role": "rep", "outcome_record_id": TENANT, "comment": "ok"},
}  # fmt: skip
ODD = (
    None, True, 0, 1, -1, 1.0, -0.0, 0.5, 2**31, 2**63, 2**64, -(2**63) - 1, 1e300, float("nan"),
    float("inf"), "", "x", "x" * 51, "x" * 101, "\0", "\x7f", "\x85", "\ud800", "é" * 20, [], {},
    [1], {"a": 1}, {"a": "\0"}, {"\0": 1}, {"a": 2**64}, {"a": float("nan")}, {"a": "y" * 4_088},
    {"a": "y" * 4_089}, "positive", "closed_won", "unknown", "2026-02-29T00:00:00Z",
    "2024-02-29T00:00:00Z", "2026-01-01T23:59:60Z", "2026-01-01T24:00:00Z",
    "2026-01-01T00:00:00+05:59", "2026-01-01T00:00:00+05:60", "2026-01-01T00:00:00-24:00",
    "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.9995Z",
    "0001-01-01T00:00:00+23:59", "2026-01-01t00:00:00Z", TENANT.upper(), 5, 6, "dashboard",
    "human_label", "reply_received", "x" * 1001, {"score": 1.5}, {"score": True}, {"score": None},
    {"score": float("nan")}, {"reviewer": ""}, {"reviewer": "x" * 100}, {"reviewer": 7},
)  # fmt: skip
PIECES = (b'"', b"\\", b"{", b"[", b"]", b"}", b"0", b"\\u0000", b"\\ud83d", b"-", b".", b" ",
          b"NaN", b"1e9", b"1e400", b",", b"null", b"\xe9", b"\xff", b"[" * 200)  # fmt: skip

topics = st.sampled_from(sorted(DECODERS))


def assert_agreed(topic, key, value, headers=()):
    decoded = DECODERS[topic].decode(key, value, headers)
    found = read_event(topic, key, value, headers)
    if isinstance(decoded, Decoded):
        assert found == Event(decoded.key, decoded.at_ms, decoded.event)
    else:
        assert isinstance(found, Broken), (decoded, found)
        assert found.is_told_as(decoded.reason), (decoded, found)


@settings(max_examples=examples(400))
@given(st.data(), topics)
def test_both_read_a_document_with_odd_fields_alike(data, topic):
    names = st.sampled_from([*WHOLE[topic], "unknown", "confidence_source", "label"])
    document = WHOLE[topic] | data.draw(st.dictionaries(names, st.sampled_from(ODD), max_size=2))
    for name in data.draw(st.sets(names, max_size=1)):
        document.pop(name, None)
    own_key = f"{document.get('tenant_id')}/{document.get('conversation_id')}"
    keys = st.sampled_from([own_key.encode("utf-8", "replace"), KEY, None, b"", b"\xff"])

    assert_agreed(topic, data.draw(keys), json.dumps(document).encode())


@settings(max_examples=examples(600))
@given(st.data(), topics)
def test_both_read_mutilated_bytes_alike(data, topic):
    value = json.dumps(WHOLE[topic]).encode()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(value)))
        end = min(len(value), start + data.draw(st.sampled_from([0, 0, 1, 1, 5])))
        value = value[:start] + data.draw(st.sampled_from((b"", *PIECES))) + value[end:]

    assert_agreed(topic, KEY, value)


@settings(max_examples=examples(600))
@given(st.data(), topics)
def test_both_read_envelopes_alike(data, topic):
    names = st.sampled_from([*WHOLE[topic]])
    document = WHOLE[topic] | data.draw(st.dictionaries(names, st.sampled_from(ODD), max_size=1))
    value, headers = data.draw(wrapped(json.dumps(document).encode()))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value)))
        value = value[:at] + data.draw(st.sampled_from((b"", *PIECES))) + value[at + 1 :]

    assert_agreed(topic, KEY, value, headers)


def test_an_envelope_says_nothing_of_its_event():
    value, other = json.dumps(WHOLE["agent-actions"]).encode(), (("ce_id", b"another"),)

    assert_agreed("agent-actions", KEY, value, (*BINARY, *other, ("ce_time", b"1970")))
    found = read_event("agent-actions", KEY, value, (*BINARY, *other, ("ce_time", b"1970")))

    assert isinstance(found, Event)
    assert found.body.event_id == "e1"

"""The fast decoder against the contract's: equal on good, odd and broken bytes."""

import json
from dataclasses import asdict

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agents_topics.codec import Decoded, Decoder, Malformed
from agents_topics.events import Action, Interaction
from streams.fast_decoder import FastDecoder
from tests.hunt import examples
from tests.wrapping import BINARY, CONFLUENT, STRUCTURED, enveloped, wrapped

TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
GOOD = {
    "event_id": "e1",
    "tenant_id": TENANT,
    "conversation_id": "c1",
    "occurred_at": "2026-01-05T00:00:00.001Z",
}
REQUIRED = {
    Action: {"action_type": "send_email", "predicted_confidence": 0.5},
    Interaction: {"kind": "reply_received"},
}
LABEL = {"kind": "human_label", "action_id": "a1", "label": "positive", "metadata": {"score": 0.5}}
LONG = json.dumps(GOOD | REQUIRED[Action]).encode()[:-1] + b', "metadata": {"a": [%s]}}'
DECODERS = {kind: (Decoder(kind), FastDecoder(kind)) for kind in REQUIRED}

odd_texts = st.one_of(
    st.text(max_size=120),
    st.sampled_from(["", "x" * 100, "x" * 101, "é", "\0", "a/b", "\x7f", "\x85", TENANT.upper()]),
)
odd_times = st.sampled_from(
    [
        "2026-01-05T00:00:00Z", "2026-01-05T00:00:00.123456789Z", "2026-01-05T01:00:00+01:00",
        "2026-02-30T00:00:00Z", "2026-01-05T00:00:00", "2026-01-05 00:00:00Z", "20260105T000000Z",
        "2026-01-05T00:00:00,123Z", "0000-01-05T00:00:00Z", "9999-12-31T23:59:59.999Z",
        "2026-01-05T24:00:00Z", "2026-W01-1T00:00:00.000Z", "2026-01-05T00:00:00.000Z\n",
    ]
)  # fmt: skip
# Made of parts that the decoder has seen in other times, good ones and bad.
odd_times |= st.tuples(
    st.sampled_from(
        ["2026-01-05T00:", "2026-02-29T07:", "2024-02-29T23:", "2026-01-05 00:", "", "x"]
    ),
    st.sampled_from(["00:00", "59:59", "60:00", "00:60", "7:007", ""]),
    st.sampled_from(["Z", ".001Z", ".1Z", ".1234Z", ".Z", "", "Z.001Z", "+01:00", ":00Z"]),
).map("".join)
odd_values = st.one_of(
    odd_texts, odd_times, st.none(), st.booleans(), st.integers(), st.floats(),
    st.sampled_from([0, 1, 1.0, -0.0, 2**31, 1e12, 1e13, 10**400, "positive", "closed_won"]),
    st.sampled_from(["human_label", "dashboard", -1, 5, 6, {"score": 1.5}, {"score": True}]),
    st.sampled_from([{"reviewer": ""}, {"reviewer": 7}, {"score": None, "reviewer": "x" * 101}]),
    st.recursive(
        st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.just({"x": "y" * 4090}),
)  # fmt: skip


@st.composite
def bodies(draw):
    kind = draw(st.sampled_from([Action, Interaction]))
    body = GOOD | REQUIRED[kind]
    if kind is Interaction and draw(st.booleans()):
        body |= LABEL
    if kind is Action and draw(st.booleans()):
        body |= {"confidence_label": "high"}
    names = [*kind.__dataclass_fields__, "unknown"]
    body |= draw(st.dictionaries(st.sampled_from(names), odd_values, max_size=3))
    for name in draw(st.sets(st.sampled_from(names), max_size=1)):
        body.pop(name, None)
    value = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(value)))
        value = value[:at] + draw(st.binary(max_size=3)) + value[at + draw(st.integers(0, 2)) :]
    key = f"{body.get('tenant_id')}/{body.get('conversation_id')}"
    other = st.sampled_from([None, b"", b"x", f"{TENANT}/c1".encode()])
    key = draw(st.one_of(st.just(key.encode("utf-8", "replace")), other))
    return kind, key, *draw(st.one_of(st.just((value, ())), wrapped(value)))


@settings(max_examples=examples(1500))
@given(bodies())
@example((Action, b"k", b'{"a":' * 300 + b"1" + b"}" * 300, ()))
@example((Action, None, b"", ()))
@example((Action, f"{TENANT}/c1".encode(), LONG % (b"9" * 19), ()))
@example((Action, f"{TENANT}/c1".encode(), LONG % (b"9" * 21), ()))
@example((Action, f"{TENANT}/c1".encode(), LONG % (b"-" + b"9" * 400), ()))
@example((Interaction, f"{TENANT}/c1".encode(), None, ()))
def test_both_decoders_say_the_same(body):
    kind, key, value, headers = body
    slow, fast = (decoder.decode(key, value, headers) for decoder in DECODERS[kind])

    if isinstance(slow, Malformed):
        assert fast == slow
    else:
        assert isinstance(slow, Decoded)
        assert (fast.key, fast.at_ms) == (slow.key, slow.at_ms)
        assert msgspec.structs.asdict(fast.event) == asdict(slow.event)


def test_deep_unknown_fields_are_refused_by_both():
    good = json.dumps(GOOD | REQUIRED[Action])
    value = (good[:-1] + ',"unknown":' + "[" * 300 + "]" * 300 + "}").encode()
    slow, fast = (d.decode(f"{TENANT}/c1".encode(), value) for d in DECODERS[Action])

    assert isinstance(slow, Malformed)
    assert fast == slow


def test_a_key_that_was_refused_once_is_refused_again():
    value = json.dumps(GOOD | REQUIRED[Action]).encode()
    decoder = FastDecoder(Action)

    assert {decoder.decode(b"other", value).reason for _ in range(3)} == {"key"}


def test_plain_events_never_take_the_slow_way(monkeypatch):
    decoder = FastDecoder(Action)
    monkeypatch.setattr(decoder, "_slowly", None)
    value = json.dumps(GOOD | REQUIRED[Action] | {"metadata": {"a": [1, {"b": None}]}}).encode()

    traced = (("traceparent", b"00-1-2-01"), ("content-type", b"application/json"))
    for headers in ((), traced):
        decoded = decoder.decode(f"{TENANT}/c1".encode(), value, headers)
        assert decoded.event.metadata == {"a": [1, {"b": None}]}


def test_a_word_for_a_confidence_never_takes_the_slow_way(monkeypatch):
    decoder = FastDecoder(Action)
    monkeypatch.setattr(decoder, "_slowly", None)
    value = json.dumps(GOOD | {"action_type": "send_email", "confidence_label": "high"}).encode()

    decoded = decoder.decode(f"{TENANT}/c1".encode(), value)

    assert (decoded.event.predicted_confidence, decoded.event.confidence_label) == (None, "high")


def test_an_event_is_the_same_plain_and_in_every_envelope():
    value, key = json.dumps(GOOD | REQUIRED[Action]).encode(), f"{TENANT}/c1".encode()
    plain = [decoder.decode(key, value) for decoder in DECODERS[Action]]

    for wrapped_value, headers in (
        (value, BINARY),
        (value, (*BINARY, ("content-type", b"application/json"))),
        (enveloped(value), STRUCTURED),
        (CONFLUENT + value, ()),
        (CONFLUENT + enveloped(value), STRUCTURED),
    ):
        found = [decoder.decode(key, wrapped_value, headers) for decoder in DECODERS[Action]]
        assert isinstance(found[0], Decoded)
        assert found == plain

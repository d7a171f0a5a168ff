"""Whether a record is a copy does not depend on whether the first one is logged yet."""

from pathlib import Path

import pytest

from agents_topics.codec import Decoder
from agents_topics.events import Action
from streams.fast_decoder import FastDecoder
from tables.remembered_ids import RememberedIds, fingerprint
from tests.ledger import HOME, HOUR, START, body_of, key_of


def event_of(metadata):
    return Decoder(Action).decode(key_of(HOME), body_of("a1", START, metadata=metadata)).event


@pytest.mark.parametrize("is_logged", [False, True])
@pytest.mark.parametrize(
    ("other", "is_copy"),
    [({"b": 2, "a": 1}, True), ({"a": 1.0, "b": 2}, False), ({"a": True, "b": 2}, False)],
)
def test_a_copy_is_told_from_another_body_before_and_after_it_is_logged(other, is_copy, is_logged):
    ids = RememberedIds("agent-actions", HOUR)
    ids.add(("k", "a1"), START, event_of({"a": 1, "b": 2}))

    if is_logged:
        ids.finish(START, {})

    assert ids.is_copy(("k", "a1"), event_of(other), START) is is_copy


@pytest.mark.parametrize(
    ("name", "told"), [("minimal", "39655f4300e29b2d"), ("full", "b576d6f130d9524c")]
)
def test_a_copy_is_a_copy_of_what_an_earlier_release_has_remembered(name, told):
    events = Path(__file__).parents[1] / "fixtures" / "events" / "v1"
    key = b"a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5/deal-1"
    value = (events / f"agent-actions.{name}.json").read_bytes()

    for decoder in (Decoder(Action), FastDecoder(Action)):
        assert fingerprint(decoder.decode(key, value).event) == told


def test_what_is_due_before_its_step_ends_is_forgotten_at_once_and_never_logged():
    ids, changes = RememberedIds("agent-actions", HOUR), {}
    for number in range(10):
        ids.add(("k", f"a{number}"), START + number * HOUR, event_of({}))

    ids.forget_new(START + 9 * HOUR)
    held = [event_id for _, event_id in ids.new]
    ids.finish(START + 9 * HOUR, changes)

    assert held == ["a8", "a9"]
    assert [seen for rows in changes.values() for seen, _, _ in rows] == [("k", "a8"), ("k", "a9")]


def test_a_label_in_the_metadata_is_another_body():
    inside, outside = event_of({"confidence_label": None}), event_of({})

    assert fingerprint(inside) != fingerprint(outside)


def test_a_channel_is_another_body():
    events = Path(__file__).parents[1] / "fixtures" / "events"
    value = (events / "v4" / "agent-actions.channel.json").read_bytes()
    key = b"a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5/deal-1"
    told = [value, value.replace(b"mail", b"chat"), value.replace(b', "channel": "mail"', b"")]

    prints = {fingerprint(FastDecoder(Action).decode(key, one).event) for one in told}

    assert len(prints) == 3

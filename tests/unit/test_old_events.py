"""Events that were good once are good for ever, with the same values.

A file under `tests/fixtures/events` is never changed and never taken away: topics keep their
records, and a replay reads them all. A later contract adds a folder. What it adds to an event must
have a default, which is what old events then have.
"""

import json
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

from agents_topics.codec import Decoded, Decoder, decode_control
from agents_topics.events import Action, Clock, Feedback, Interaction, to_ms
from streams.fast_decoder import FastDecoder
from trueup.audit.contract import Event, read_control, read_event

EVENTS = Path(__file__).parents[1] / "fixtures" / "events"
TYPES = {"agent-actions": Action, "agent-interactions": Interaction, "agent-feedback": Feedback}
CASES = [
    pytest.param(folder / name, told, id=f"{folder.name}/{name}")
    for folder in sorted(path for path in EVENTS.iterdir() if path.is_dir())
    for name, told in json.loads(
        (EVENTS / f"{folder.name}.decoded.json").read_text("utf-8")
    ).items()
]


def has_values(event, told):
    """Whether an event has the values, and defaults where nothing was told."""
    return all(
        getattr(event, field.name) == told.get(field.name, field.default) for field in fields(event)
    )


@pytest.mark.parametrize(("path", "told"), CASES)
def test_an_old_event_has_its_values_for_ever(path, told):
    value, topic = path.read_bytes(), told["topic"]
    if topic == "control":
        found = decode_control(value)
        assert has_values(found, told["event"])
        if isinstance(found, Clock):
            assert to_ms(found.until) == read_control(value) == told["at_ms"]
        else:
            read = read_control(value)
            assert (found.event_id, found.tenant_id, found.conversation_id) == (
                read.id, read.tenant_id, read.conversation_id,
            )  # fmt: skip
        return
    key = told["key"].encode()
    headers = [(name, text.encode()) for name, text in told["headers"].items()]

    decoded = Decoder(TYPES[topic]).decode(key, value, headers)

    assert isinstance(decoded, Decoded), decoded
    assert (decoded.key, decoded.at_ms) == (told["key"], told["at_ms"])
    assert has_values(decoded.event, told["event"])
    assert read_event(topic, key, value, headers) == Event(*decoded)
    if topic != "agent-feedback":
        fast = FastDecoder(TYPES[topic]).decode(key, value, headers)
        assert fast[:2] == decoded[:2]
        assert all(
            getattr(decoded.event, name) == held
            for name, held in msgspec.structs.asdict(fast.event).items()
        )


def test_every_old_file_is_read():
    assert {case.values[0] for case in CASES} == {
        path for path in EVENTS.rglob("*") if path.is_file() and path.parent != EVENTS
    }

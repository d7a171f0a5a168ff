"""Letters as commands see them: whatever a producer put into a record, it is not taken for ours."""

import json

import pytest
from aiokafka import ConsumerRecord

from agents_topics.letters import POINTER
from streams.dead_letters import dead_letter_of
from tables.resolver_step import Refused
from trueup.letters import Selection, letter_of
from trueup.mending import EditCommand, MendedFile
from trueup.redrive import MendProblem

TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"


KEY = f"{TENANT}/c1".encode()


def letter(value=b"{}", headers=(), key=KEY, offset=17):
    source = ConsumerRecord(
        "agent-actions", 2, offset, 0, 1, key, value, None, 0, 0, tuple(headers)
    )
    out = dead_letter_of(Refused("agent-actions", source, "missing", "a: b"), "outcome-resolver")
    record = ConsumerRecord(
        "dead-letters", 1, 3, 1_800_000_000_000, 1, out.key, out.value, None, 0, 0,
        tuple(out.headers),
    )  # fmt: skip
    return letter_of(record, with_value=True)


def test_a_letter_of_a_record_that_was_a_letter_before_is_read_by_its_last_headers():
    own = [("__connect.errors.topic", b"control"), ("__connect.errors.offset", b"1")]

    found = letter(headers=own)

    assert (found.id, found.source) == ("1:3", "agent-actions/2/17")
    assert list(found.headers) == own


@pytest.mark.parametrize("place", [b"agent-actions/2/16", b"agent-interactions/2/17", b""])
def test_a_producers_pointer_points_nowhere(place):
    found = letter(b"", [(POINTER, place)])

    assert not found.is_pointer


def test_the_resolvers_pointer_is_one():
    found = letter(b"x" * 1_000_001, [("own", b"1")])

    assert found.is_pointer
    assert found.headers == []


@pytest.mark.parametrize("key", [None, b"", b"\xff/c", b"acme/c1", TENANT.encode()])
def test_a_key_that_tells_no_tenant_belongs_to_none(key):
    assert letter(key=key).tenant_id is None
    assert not Selection(tenant_id=TENANT).has(letter(key=key))


def test_a_file_mends_by_letter_by_event_and_the_only_letter():
    event = json.dumps({"event_id": "e1", "n": 1.50}).encode()
    by_id = MendedFile([b'{"letter": "1:3", "event": {"n": 1.50}}\n', b"\n"])

    assert by_id.mend(letter(), b"{}") == b'{"n": 1.50}'
    assert MendedFile([event]).mend(letter(), b'{"event_id": "e1", "bad"') is None
    assert MendedFile([event]).mend(letter(), b'{"event_id": "e1"}') == event
    assert MendedFile([event], only="1:3").mend(letter(), b"not json") == event


@pytest.mark.parametrize(
    "lines",
    [
        [b"{"],
        [b'{"letter": "second", "event": {}}'],
        [b'{"letter": "1:3"}'],
        [b'{"kind": "x"}'],
        [b'{"letter": "1:3", "event": {}}', b'{"letter": "1:3", "event": {}}'],
    ],
)
def test_a_file_with_a_bad_line_is_refused_whole(lines):
    with pytest.raises(MendProblem, match="line"):
        MendedFile(lines)


def test_a_body_that_belongs_to_no_letter_is_a_mistake():
    with pytest.raises(MendProblem, match="9:9"):
        MendedFile([b'{"letter": "9:9", "event": {}}']).check()


def test_a_command_gets_the_bytes_and_no_shell():
    assert EditCommand("sed s/a/b/").mend(letter(), b'{"a": ";$(x)"}') == b'{"b": ";$(x)"}'


@pytest.mark.parametrize("command", ["", "'", "false", "true", "/no/such/command"])
def test_a_command_that_fails_mends_nothing(command):
    with pytest.raises(MendProblem):
        EditCommand(command).mend(letter(), b"{}")

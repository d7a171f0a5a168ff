"""A dead letter is the record as it came, and Kafka Connect's headers behind its own."""

import pytest
from aiokafka import ConsumerRecord

from agents_topics import letters
from streams.dead_letters import VALUE_BYTES_MAX, dead_letter_of
from tables.resolver_step import Refused

CONNECTS_NAMES = [
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.connector.name",
    "__connect.errors.task.id",
    "__connect.errors.stage",
    "__connect.errors.class.name",
    "__connect.errors.exception.class.name",
    "__connect.errors.exception.message",
    "__connect.errors.exception.stacktrace",
]


def record(value, headers=(), key=b"\xff\x00"):
    return ConsumerRecord(
        "p-agent-actions", 2, 17, 1_800_000_000_000, 1, key, value, None,
        len(key), len(value or b""), tuple(headers),
    )  # fmt: skip


def letter(value, headers=(), reason="json_invalid", detail="not JSON"):
    return dead_letter_of(
        Refused("agent-actions", record(value, headers), reason, detail), "outcome-resolver"
    )


@pytest.mark.parametrize("value", [b"", None, b"\x00\xff\xfe not json", b"x" * VALUE_BYTES_MAX])
def test_key_value_and_headers_are_untouched(value):
    own = [("a", b"\xff"), ("b", None), ("a", b""), ("__connect.errors.topic", b"elsewhere")]

    out = letter(value, own)

    assert (out.key, out.value) == (b"\xff\x00", value)
    assert out.headers[: len(own)] == own


def test_connects_headers_stand_behind_under_connects_names():
    out = letter(b"{", [("own", b"1")], detail="value: no\x1b[31m object")

    assert [name for name, _ in out.headers] == ["own", *CONNECTS_NAMES]
    said = {name.removeprefix("__connect.errors."): text for name, text in out.headers}
    assert said["topic"] == b"agent-actions"
    assert (said["partition"], said["offset"], said["task.id"]) == (b"2", b"17", b"2")
    assert said["connector.name"] == b"outcome-resolver"
    assert said["exception.class.name"] == b"json_invalid"
    assert said["exception.message"] == b"value: no\x1b[31m object"
    assert said["exception.stacktrace"].startswith(b"json_invalid: value: no")


@pytest.mark.parametrize(
    ("reason", "stage"),
    [
        ("missing", b"VALUE_CONVERTER"),
        ("key", b"KEY_CONVERTER"),
        ("wrong_partition", b"KEY_CONVERTER"),
        ("conflict", b"TASK_PUT"),
    ],
)
def test_the_stage_is_one_of_connects(reason, stage):
    assert dict(letter(b"{", reason=reason).headers)[letters.STAGE] == stage


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"x" * (VALUE_BYTES_MAX + 1), [("own", b"1")]),
        (b"x", [("own", b"y" * (VALUE_BYTES_MAX + 16_384))]),
    ],
)
def test_an_oversize_record_becomes_a_pointer(value, headers):
    out = letter(value, headers)

    assert out.value == b""
    assert out.headers[0] == ("trueup.pointer", b"agent-actions/2/17")
    assert [name for name, _ in out.headers[1:]] == CONNECTS_NAMES

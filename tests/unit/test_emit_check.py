"""`trueup check` and `trueup emit`: which lines are good, and what reaches the log."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents_topics.codec import decode_control
from agents_topics.connection import Connection
from agents_topics.events import Clock
from agents_topics.identifiers import tenant_id_of
from agents_topics.policy_file import load_policy
from streams.partitioner import partitions_of
from streams.topic_admin import create_topics
from tests.no_such_day import no_such_day
from trueup.check import RECORD_BYTES_MAX, LineReader, Problem, check_lines
from trueup.demo_workload import workload
from trueup.embedded.problems import EnvironmentProblem
from trueup.emit import clock_value, emit_file, emit_stream, lines_of, send_clock, send_records

ACTIONS, INTERACTIONS = "agent-actions", "agent-interactions"
PARTITIONS = 3


def an_action(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": "a-1",
        "tenant_id": tenant_id_of("acme"),
        "conversation_id": "deal-1",
        "action_type": "send_email",
        "predicted_confidence": 0.8,
        "occurred_at": "2026-01-05T09:30:00Z",
    } | changes


def an_interaction(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": "i-1",
        "tenant_id": tenant_id_of("acme"),
        "conversation_id": "deal-1",
        "kind": "reply_received",
        "occurred_at": "2026-01-05T10:30:00Z",
    } | changes


def a_rating(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": "f-1",
        "tenant_id": tenant_id_of("acme"),
        "conversation_id": "deal-1",
        "target_type": "message",
        "target_id": "m-1",
        "source": "dashboard",
        "rating": 4,
        "reviewer_id": str(uuid.uuid5(uuid.NAMESPACE_DNS, "ann")),
        "reviewer_role": "manager",
        "occurred_at": "2026-01-05T11:30:00Z",
    } | changes


def line_of(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def checked(*events: dict[str, Any] | bytes, topic: str | None = None) -> list[Problem]:
    lines = [event if isinstance(event, bytes) else line_of(event) for event in events]
    return list(check_lines(lines, topic))


# ---- check -------------------------------------------------------------------------------------


def test_good_lines_and_blank_ones_have_no_problem() -> None:
    assert checked(an_action(), b"\n", an_interaction(), b"   \r\n", line_of(an_action())) == []


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    line = b"\xef\xbb\xbf" + line_of(an_action()).replace(b"\n", b"\r\n")

    ready, problems = LineReader().read(1, line)

    assert problems == []
    assert ready is not None
    assert ready.value == json.dumps(an_action()).encode()


def test_every_problem_of_a_line_is_named_with_line_and_field() -> None:
    bad = an_action(tenant_id="acme", predicted_confidence=1.7, occurred_at="yesterday")
    del bad["event_id"]

    problems = checked(an_action(), bad)

    assert problems == [
        Problem(2, "event_id", "is missing"),
        Problem(
            2,
            "tenant_id",
            "must be a UUID in lower case with hyphens: `trueup id NAME` gives a name's",
        ),
        Problem(2, "predicted_confidence", "must be less than or equal to 1"),
        Problem(2, "occurred_at", "must be RFC 3339 with a zone, like 2026-01-05T09:30:00Z"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"kind": "a"', "is not JSON: Expecting ',' delimiter at column 13"),
        (b"[1, 2]", "is not a JSON object"),
        (b"\xff\xfe", "is not UTF-8: byte 1 of the line"),
        (b"[" * 100_000, "is not JSON: nested too deeply"),
        (b'{"n": ' + b"9" * 5_000 + b"}", "is not JSON: a number has too many digits"),
        (
            b"{}",
            "has none of action_type (an action), kind (an interaction) and rating (feedback)",
        ),
        (
            b'{"kind": "a", "action_type": "b"}',
            "has both action_type (an action) and kind (an interaction)",
        ),
    ],
)
def test_a_line_that_is_no_event_says_why(line: bytes, reason: str) -> None:
    assert checked(line) == [Problem(1, "", reason)]


def test_a_line_that_is_too_long_for_a_record_is_a_problem() -> None:
    problems = checked(an_action(metadata={"text": "x" * RECORD_BYTES_MAX}))

    assert len(problems) == 1
    assert problems[0].reason.endswith("at most 1,047,564 fit into a record")


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"occurred_at": "2026-02-30T00:00:00Z"}, "occurred_at", no_such_day(2026, 2, 30)),
        ({"metadata": {"text": "x" * 5_000}}, "metadata", "5012 bytes, at most 4096"),
        ({"agent_id": "a\0b"}, "agent_id", "holds the character U+0000"),
        ({"deal_stage": "handshake"}, "deal_stage", "must be 'prospecting', 'discovery'"),
        ({"conversation_id": "a\tb"}, "conversation_id", "must have no control characters"),
        ({"predicted_confidence": "0.8"}, "predicted_confidence", "must be a valid number"),
        ({"predicted_confidence": None}, "predicted_confidence", "is missing: an action must"),
        ({"confidence_label": ""}, "confidence_label", "string should have at least 1"),
        ({"predicted_confidence": float("nan")}, "", ""),
        ({"tenant_id": 7}, "tenant_id", "must be a valid string"),
    ],
)
def test_what_the_worker_would_refuse_is_a_problem_of_its_field(
    changes: dict[str, Any], field: str, reason: str
) -> None:
    problems = checked(an_action(**changes))

    assert len(problems) == 1
    assert problems[0].reason.startswith(reason)
    if field:
        assert problems[0].field == field


def test_feedback_is_known_by_its_rating_and_held_to_its_scale() -> None:
    lines = [
        a_rating(),
        a_rating(source="inline"),
        a_rating(rating=0),
        a_rating(comment="x" * 1001),
    ]

    problems = checked(*lines, a_rating(source="inline", rating=-1), an_interaction(rating=1))

    assert [str(problem) for problem in problems] == [
        "line 2: rating: must be from -1 to 1 where source is inline",
        "line 3: rating: must be from 1 to 5 where source is dashboard",
        "line 4: comment: string should have at most 1000 characters",
        "line 6: rating: is no field of agent-interactions: it will be ignored (warning)",
    ]


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"action_id": None}, "action_id", "is missing: a human_label must have it"),
        ({"label": None}, "label", "is missing: a human_label must have it"),
        ({"metadata": {"score": 1.5}}, "metadata.score", "must be a number from 0 to 1"),
        ({"metadata": {"score": True}}, "metadata.score", "must be a number from 0 to 1"),
        ({"metadata": {"reviewer": ""}}, "metadata.reviewer", "must be a text of 1 to 100"),
    ],
)
def test_a_label_names_its_action_and_verdict(
    changes: dict[str, Any], field: str, reason: str
) -> None:
    label = an_interaction(
        kind="human_label", action_id="a-1", label="positive",
        metadata={"score": 0.5, "reviewer": "ann"},
    )  # fmt: skip

    problems = checked(label, label | changes)

    assert [(p.line_number, p.field) for p in problems] == [(2, field)]
    assert problems[0].reason.startswith(reason)


def test_a_misspelt_field_is_a_warning_with_the_name_that_was_meant() -> None:
    problems = checked(an_action(agent_vesion="1.0", colour="red"))

    assert [str(problem) for problem in problems] == [
        "line 1: agent_vesion: is no field of agent-actions: it will be ignored; "
        "did you mean agent_version? (warning)",
        "line 1: colour: is no field of agent-actions: it will be ignored (warning)",
    ]


def test_a_topic_that_is_given_is_not_guessed() -> None:
    problems = checked(an_interaction(), topic=ACTIONS)

    assert {problem.field for problem in problems if not problem.is_warning} == {
        "action_type",
        "predicted_confidence",
    }
    with pytest.raises(ValueError, match="agent-actions, agent-interactions"):
        LineReader("outcomes")


def test_with_a_policy_what_it_does_not_know_is_found() -> None:
    lines = [
        line_of(an_action(action_type="send_fax")),
        line_of(an_action(outcome_type="meeting_outcome")),
        line_of(an_interaction(kind="reply_recieved")),
        line_of(an_action(confidence_label="certain")),
        line_of(an_action(confidence_label="low", predicted_confidence=None)),
    ]

    problems = list(check_lines(lines, None, load_policy(None)))

    assert [(p.line_number, p.field, p.is_warning) for p in problems] == [
        (1, "action_type", False),
        (2, "outcome_type", False),
        (3, "kind", True),
        (4, "confidence_label", False),
    ]
    assert problems[3].reason == "the policy does not know 'certain', only high, medium, low"
    assert problems[2].reason.endswith("did you mean 'reply_received'?")


def test_the_demos_poison_is_found_by_the_check() -> None:
    world = workload(5, 200)

    lines = [record.value for record in world.records]
    problems = [p for p in check_lines(lines, None, load_policy(None)) if not p.is_warning]

    # Keys, conflicts and the broker's time are no part of a file.
    assert sorted(p.field for p in problems) == sorted(
        ["", "action_type", "deal_stage", "predicted_confidence"]
    )


# ---- lines -------------------------------------------------------------------------------------


def reader_of(chunks: list[bytes]) -> Any:
    rest: Iterator[bytes] = iter(chunks)
    return lambda: next(rest, b"")


async def all_of(lines: AsyncIterator[bytes]) -> list[bytes]:
    return [line async for line in lines]


async def test_lines_are_put_together_from_chunks() -> None:
    read = reader_of([b"on", b"e\ntwo\n\nth", b"ree\nlast"])

    assert await all_of(lines_of(read)) == [b"one", b"two", b"", b"three", b"last"]


async def test_a_line_comes_before_the_stream_ends() -> None:
    source, sink = os.pipe()
    lines = lines_of(partial(os.read, source, 1 << 16))
    try:
        os.write(sink, b"one\ntw")
        assert await asyncio.wait_for(anext(lines), 5) == b"one"
        os.write(sink, b"o\n")
        assert await asyncio.wait_for(anext(lines), 5) == b"two"
    finally:
        os.close(sink)
    assert await all_of(lines) == []
    os.close(source)


async def test_a_stream_that_cannot_be_read_says_so() -> None:
    def read() -> bytes:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await all_of(lines_of(read))


# ---- emit --------------------------------------------------------------------------------------


@pytest.fixture
async def connection(kafka_bootstrap: str) -> Connection:
    """A connection with topics of its own."""
    connection = Connection(bootstrap=kafka_bootstrap, prefix=f"emit-{uuid.uuid4().hex[:8]}-")
    await create_topics(connection, PARTITIONS)
    return connection


async def logged(connection: Connection, topic: str) -> list[Any]:
    """Everything in a topic, by partition and offset."""
    consumer = AIOKafkaConsumer(**connection.client_options(), enable_auto_commit=False)
    await consumer.start()
    try:
        tps = [TopicPartition(connection.topic(topic), number) for number in range(PARTITIONS)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        records = []
        for tp, end in (await consumer.end_offsets(tps)).items():
            while await consumer.position(tp) < end:
                for fetched in (await consumer.getmany(tp, timeout_ms=200)).values():
                    records += fetched
        return sorted(records, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()


async def test_a_file_is_sent_by_key_in_the_order_of_its_lines(
    connection: Connection, tmp_path: Path
) -> None:
    events = [an_action(event_id=f"a-{n}", conversation_id=f"deal-{n % 7}") for n in range(300)]
    file = tmp_path / "mine.ndjson"
    file.write_bytes(b"".join(map(line_of, events)) + b"\n" + line_of(an_interaction()))
    problems: list[Problem] = []

    emitted = await emit_file(connection, file, problems.append)

    assert (dict(emitted.sent), emitted.bad_lines, problems) == (
        {ACTIONS: 300, INTERACTIONS: 1},
        0,
        [],
    )
    records = await logged(connection, ACTIONS)
    assert len(records) == 300
    keys = [record.key for record in records]
    assert [record.partition for record in records] == partitions_of(keys, PARTITIONS)
    assert {record.timestamp_type for record in records} == {1}
    for conversation in range(7):
        name = f"deal-{conversation}"
        own = [json.loads(r.value) for r in records if r.key.endswith(f"/{name}".encode())]
        assert own == [event for event in events if event["conversation_id"] == name]
    assert emitted.last_at_ms is not None
    assert emitted.first_at_ms is not None
    assert emitted.last_at_ms - emitted.first_at_ms == 3_600_000


async def test_of_a_file_with_one_bad_line_nothing_is_sent(
    connection: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "mine.ndjson"
    bad = an_interaction(occurred_at="now")
    file.write_bytes(b"".join(map(line_of, [an_action(), bad, an_action(event_id="a-2")])))
    problems: list[Problem] = []

    emitted = await emit_file(connection, file, problems.append)

    assert (emitted.sent.total(), emitted.bad_lines) == (0, 1)
    assert [(problem.line_number, problem.field) for problem in problems] == [(2, "occurred_at")]
    assert await logged(connection, ACTIONS) == []


async def test_a_warning_keeps_nothing_from_being_sent(
    connection: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "mine.ndjson"
    file.write_bytes(line_of(an_action(colour="red")))
    problems: list[Problem] = []

    emitted = await emit_file(connection, file, problems.append)

    assert emitted.sent == {ACTIONS: 1}
    assert [problem.is_warning for problem in problems] == [True]


async def test_of_a_stream_the_good_lines_are_sent_and_the_bad_ones_reported(
    connection: Connection,
) -> None:
    lines = [line_of(an_action()), b"oops\n", line_of(an_interaction()).rstrip()]
    problems: list[Problem] = []

    emitted = await emit_stream(connection, reader_of(lines), problems.append)

    assert (dict(emitted.sent), emitted.bad_lines) == ({ACTIONS: 1, INTERACTIONS: 1}, 1)
    assert [problem.line_number for problem in problems] == [2]
    assert [json.loads(r.value) for r in await logged(connection, ACTIONS)] == [an_action()]


async def test_the_longest_line_that_is_good_can_be_sent(
    connection: Connection, tmp_path: Path
) -> None:
    event = an_action(conversation_id="ä" * 200, unknown="")
    event["unknown"] = "x" * (
        RECORD_BYTES_MAX - len(json.dumps(event, ensure_ascii=False).encode())
    )
    file = tmp_path / "mine.ndjson"
    file.write_text(json.dumps(event, ensure_ascii=False), encoding="utf-8")

    emitted = await emit_file(connection, file, lambda _: None)

    assert emitted.sent == {ACTIONS: 1}
    assert len((await logged(connection, ACTIONS))[0].value) == RECORD_BYTES_MAX


async def test_a_demos_records_are_in_the_log_as_they_are(connection: Connection) -> None:
    world = workload(5, 200)

    sent = await send_records(connection, world.records)

    for topic in (ACTIONS, INTERACTIONS):
        records = await logged(connection, topic)
        own = [record for record in world.records if record.topic == topic]
        assert sent[topic] == len(records) == len(own)
        keyed = {record.key for record in own} - {None}
        for key in keyed:
            assert [r.value for r in records if r.key == key] == [
                record.value for record in own if record.key == key
            ]


async def test_a_clock_record_is_in_every_partition(connection: Connection) -> None:
    await send_clock(connection, "2026-03-10T00:00:00Z", PARTITIONS)

    records = await logged(connection, "control")

    assert [record.partition for record in records] == list(range(PARTITIONS))
    clocks = [decode_control(record.value) for record in records]
    assert all(isinstance(c, Clock) and c.until == "2026-03-10T00:00:00Z" for c in clocks)


@pytest.mark.parametrize(
    "until", ["now", "2026-03-10", "2026-03-10T00:00:00", "2026-02-30T00:00:00Z"]
)
def test_a_clock_moves_to_nothing_but_a_time(until: str) -> None:
    with pytest.raises(ValueError, match=r"2026-01-05T09:30:00Z|out of range"):
        clock_value(until)


async def test_a_missing_topic_is_one_sentence_and_is_not_created(kafka_bootstrap: str) -> None:
    connection = Connection(bootstrap=kafka_bootstrap, prefix=f"none-{uuid.uuid4().hex[:8]}-")

    for _ in range(2):
        with pytest.raises(EnvironmentProblem, match=r"is not on the broker. `trueup topics"):
            await emit_stream(connection, reader_of([line_of(an_action())]), lambda _: None)


async def test_a_broker_that_does_not_answer_is_one_sentence() -> None:
    connection = Connection(bootstrap="127.0.0.1:9")

    with pytest.raises(EnvironmentProblem, match=r"No Kafka broker answers on 127.0.0.1:9"):
        await send_clock(connection, "2026-03-10T00:00:00Z", 1)

"""A worker's lines: one event each, in one form, and never what was being worked on."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from streams.logs import configure_logs, in_words

CANARY = "what a customer wrote"


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("json", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(said: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in said.getvalue().splitlines()]


def raise_over(text: str) -> None:
    raise KeyError(text)


def test_an_event_is_an_object_with_time_level_logger_and_its_context(said):
    structlog.get_logger("trueup.task").bind(task="calibrator-0").info("task_opened", seconds=1)

    (line,) = lines(said)

    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "task_opened", "level": "info", "logger": "trueup.task",
        "seconds": 1, "task": "calibrator-0",
    }  # fmt: skip


def test_of_a_bug_the_kind_and_the_places_are_told_and_not_its_words(said):
    try:
        raise_over(CANARY)
    except KeyError as bug:
        structlog.get_logger("trueup.task").exception("task_failed")
        logging.getLogger("mode.worker").exception("crashed: %r", bug)
        logging.getLogger("faust").error("crashed", exc_info=bug)
        assert in_words(bug).startswith("KeyError at unit/test_logs.py:")

    assert CANARY not in said.getvalue()
    assert len(lines(said)) == 3
    for line in lines(said):
        assert line["exception"].startswith("KeyError at unit/test_logs.py:")
        assert line["places"][-1].endswith(" raise_over")


async def test_of_an_error_that_nobody_awaited_the_objects_are_not_told(said):
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    future.set_exception(KeyError(CANARY))
    loop.call_exception_handler(
        {"message": "Future exception was never retrieved", "future": future,
         "exception": future.exception()}
    )  # fmt: skip

    (line,) = lines(said)

    assert line["event"] == "Future exception was never retrieved"
    assert line["exception"] == "KeyError"
    assert CANARY not in said.getvalue()


def test_an_operating_error_keeps_its_words(said):
    logging.getLogger("aiokafka.conn").error("Unable to connect: %s", ConnectionError("refused"))

    (line,) = lines(said)

    assert line["event"] == "Unable to connect: ConnectionError: refused"


def test_as_text_a_line_is_for_people(said):
    stream = io.StringIO()
    configure_logs("text", stream)

    structlog.get_logger("trueup.worker").warning("topic_warning", topic="outcomes")

    assert "topic_warning" in stream.getvalue()
    assert "topic=outcomes" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert not said.getvalue()

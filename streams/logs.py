"""What a worker says: one event a line, as JSON or as text, and never a payload.

Ours, Faust's, aiokafka's and asyncio's lines all go through one handler. Of an error that is no
operating error they tell the kind and the places in the code, not its words: those may quote what
was being worked on.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog
from aiokafka.errors import KafkaError

from streams.problems import WorkerProblem
from streams.quiet_logs import SeldomFilter
from streams.settings import LogFormat

OPERATING = (KafkaError, OSError, WorkerProblem)
"""Errors of servers and settings, whose words are for operators."""
PLACES_MAX = 12

_Event = MutableMapping[str, Any]


def configure_logs(log_format: LogFormat, stream: TextIO | None = None) -> None:
    """All that this process logs from now on, to standard error unless told; nothing else does."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_words,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(SeldomFilter())
    handler.addFilter(_shorten)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str)
                if log_format == "json"
                else structlog.dev.ConsoleRenderer(colors=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("trueup").setLevel(logging.INFO)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)


def in_words(problem: BaseException) -> str:
    """An error for a log or a page; of one that is no operating error the kind and the place.

    >>> in_words(ConnectionError("refused"))
    'ConnectionError: refused'
    >>> in_words(KeyError("what a customer wrote"))
    'KeyError'
    """
    kind = type(problem).__name__
    if isinstance(problem, OPERATING):
        return f"{kind}: {problem}"
    places = _places(problem)
    return f"{kind} at {places[-1]}" if places else kind


def _places(problem: BaseException) -> list[str]:
    """Where it went through, the place that raised it last."""
    frames = traceback.extract_tb(problem.__traceback__)[-PLACES_MAX:]
    return [f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno} {f.name}" for f in frames]


def _without_words(_: Any, __: str, event: _Event) -> _Event:
    problem = _problem(event.pop("exc_info", None))
    if problem is not None:
        event["exception"], event["places"] = in_words(problem), _places(problem)
    return event


def _problem(given: Any) -> BaseException | None:
    """What `exc_info` stands for."""
    if isinstance(given, tuple):
        given = given[1]
    if isinstance(given, BaseException):
        return given
    return sys.exc_info()[1] if given else None


def _shorten(record: logging.LogRecord) -> bool:
    """Other libraries write errors into their lines, and asyncio whole objects below the first."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            in_words(value) if isinstance(value, BaseException) else value for value in record.args
        )
    if record.name == "asyncio":
        record.msg, record.args = record.getMessage().partition("\n")[0], ()
    return True

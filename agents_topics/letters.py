"""The contract of `dead-letters` and `redriven-letters`: header names, the pointer, the mark.

A dead letter is the record as it came: key, value and headers untouched; behind them stand the
headers that Kafka Connect's DeadLetterQueueReporter writes, under its names. A record may bring
such headers along, for it may have been a dead letter before: the last of a name counts.
"""

from dataclasses import dataclass

PREFIX = "__connect.errors."
TOPIC = PREFIX + "topic"
PARTITION = PREFIX + "partition"
OFFSET = PREFIX + "offset"
CONNECTOR_NAME = PREFIX + "connector.name"
TASK_ID = PREFIX + "task.id"
STAGE = PREFIX + "stage"
CLASS_NAME = PREFIX + "class.name"
EXCEPTION_CLASS_NAME = PREFIX + "exception.class.name"
EXCEPTION_MESSAGE = PREFIX + "exception.message"
EXCEPTION_STACKTRACE = PREFIX + "exception.stacktrace"

NAMES = (
    TOPIC,
    PARTITION,
    OFFSET,
    CONNECTOR_NAME,
    TASK_ID,
    STAGE,
    CLASS_NAME,
    EXCEPTION_CLASS_NAME,
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
)
"""In Kafka Connect's order, which is that of the letter."""

POINTER = "trueup.pointer"
"""Stands in the place of an oversize record's bytes and headers: `topic/partition/offset`."""

REDRIVEN_FROM = "trueup.redriven.from"
"""On a record that was sent again: `topic/partition/offset` of the record that was refused."""

COPIED_FROM = "trueup.copied.from"
"""On a record that a repartition has copied: `topic/partition/offset/broker's time in ms` of the
record it was, the topic by its name on the broker.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """A refused record was sent again. Topic `redriven-letters`, key `topic/partition/offset`."""

    letter: str
    """Which dead letter it was sent from, `partition:offset`."""
    topic: str
    """Where it was sent to."""
    partition: int
    """And into which partition."""
    is_mended: bool
    """Whether with another body than it had."""


def place_of(topic: str, partition: int, offset: int) -> str:
    """A record's place in one word.

    >>> place_of("agent-actions", 2, 17)
    'agent-actions/2/17'
    """
    return f"{topic}/{partition}/{offset}"

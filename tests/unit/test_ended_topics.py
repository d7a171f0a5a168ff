"""Whether a topic has ended is told by what its last fetch has answered, while that is fresh."""

import time

import pytest

from agents_topics.roster import RESOLVER
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from streams.batches import Position
from streams.task import FRESH_MS_MAX, Task

TOPIC = AGENT_INTERACTIONS.name


class Consumer:
    """Stands at a position."""

    def __init__(self, position):
        self._position = position

    async def position_of(self, *_):
        return self._position


def task_at(position):
    names = {topic.name: topic.name for topic in (*RESOLVER.reads, AGENT_ACTIONS)}
    return Task(RESOLVER, 0, None, Consumer(position), names, 10)


def told(ago_ms, **position):
    now_ms = time.time_ns() // 1_000_000
    return Position(**position, high_watermark=9, told_ms=now_ms - ago_ms)


@pytest.mark.parametrize(
    ("position", "fetched", "stable_end", "has_ended"),
    [
        (7, 0, 7, True),  # markers alone, or nothing at all
        (7, 0, 8, False),
        (7, 7, 7, False),  # fetched and not applied
        (None, 0, 7, False),
    ],
)
async def test_a_fresh_answer_tells(position, fetched, stable_end, has_ended):
    task = task_at(told(0, position=position, fetched=fetched, stable_end=stable_end))

    assert await task.has_ended(TOPIC) is has_ended


@pytest.mark.parametrize(
    "position",
    [
        told(FRESH_MS_MAX + 5_000, position=7, fetched=0, stable_end=7),
        told(-5_000, position=7, fetched=0, stable_end=7),  # the clock was set back
        Position(7, 0, 7, 9),
        Position(None, 0),
    ],
)
async def test_without_one_nothing_is_told(position):
    assert await task_at(position).has_ended(TOPIC) is None

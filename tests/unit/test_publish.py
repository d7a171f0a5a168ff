"""A publisher with nothing to write still notices what became of its sink, and of its forecasts."""

from collections import Counter

import pytest
from aiokafka import ConsumerRecord

from agents_topics.roster import PUBLISHER
from sinks.contract import SinkBusy
from sinks.memory import MemorySink
from streams.changelog import StateProblem
from streams.publish import PublisherWork
from streams.task import Busy
from tests.unit.test_refusals import Logs, tools

TOPICS = [topic.name for topic in PUBLISHER.reads]


class AwaySink(MemorySink):
    """A sink that can go away."""

    is_away = False

    async def next_offsets(self, partition, topics):
        if self.is_away:
            raise SinkBusy("Postgres is away", 0.5)
        return await super().next_offsets(partition, topics)


@pytest.fixture
async def work():
    made = PublisherWork(0, tools(Logs(0, 9)), AwaySink())
    await made.open()
    return made


async def test_an_idle_publisher_notices_that_its_sink_is_away(work):
    await work.tick(is_drained=True)
    work._ask_at_s = 0
    work._sink.is_away = True

    with pytest.raises(Busy, match="Postgres is away"):
        await work.tick(is_drained=True)


async def test_an_idle_publisher_begins_anew_where_its_sink_was_set_back(work):
    await work.commit()
    await work._sink.write(TOPICS[0], 0, 0, 1, [(0, b"{}")])

    with pytest.raises(Busy, match="stands elsewhere"):
        await work.tick(is_drained=True)


async def test_a_sink_that_stands_beyond_its_topic_is_refused(work):
    work._sink.offsets[TOPICS[0], 0] = 10

    with pytest.raises(StateProblem, match="offset 10 was to follow but the log ends at 9"):
        await work.open()


class Forecasts:
    """Made beside a publisher: notes what it is told, and whether it could write then."""

    def __init__(self):
        self.told, self.problem = [], None

    def __call__(self, offsets, writing):
        self.offsets, self.writing = offsets, writing
        return self

    def start(self):
        self.told.append("start")

    def go_on(self, is_drained):
        if self.problem:
            raise self.problem
        self.told.append(is_drained)

    async def close(self):
        self.told.append("close")


class LockedSink(MemorySink):
    """A sink that counts how often it was written to while somebody else might write."""

    def __init__(self):
        super().__init__()
        self.forecasts, self.writes = Forecasts(), Counter()

    async def write(self, *batch):
        self.writes[self.forecasts.writing.locked()] += 1
        await super().write(*batch)


@pytest.fixture
async def foretelling():
    sink = LockedSink()
    made = PublisherWork(0, tools(Logs(0, 9)), sink, sink.forecasts)
    await made.open()
    return made


async def test_forecasts_follow_where_their_publisher_stands_and_write_only_while_it_does_not(
    foretelling,
):
    sink = foretelling._sink
    for topic in TOPICS:
        foretelling.take(topic, [ConsumerRecord(topic, 0, 0, 0, 1, None, b"", None, 0, 0, ())])
    await foretelling.commit()

    assert sink.writes == {True: len(TOPICS)}
    assert not sink.forecasts.writing.locked()
    assert sink.forecasts.offsets == dict.fromkeys(TOPICS, 1)


async def test_forecasts_begin_with_a_task_go_on_while_it_is_drained_and_end_with_it(foretelling):
    await foretelling.tick(is_drained=True)
    await foretelling.tick(is_drained=False)
    await foretelling.close(is_clean=True)
    await foretelling.close(is_clean=True)

    assert foretelling._sink.forecasts.told == ["start", True, False, "close"]


@pytest.mark.parametrize("problem", [Busy("another worker was here", 0), ZeroDivisionError()])
async def test_what_has_ended_forecasts_ends_the_step_too(foretelling, problem):
    foretelling._sink.forecasts.problem = problem

    with pytest.raises(type(problem)):
        await foretelling.tick(is_drained=False)

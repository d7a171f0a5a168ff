"""A publisher with nothing to write still notices what became of its sink."""

import pytest

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

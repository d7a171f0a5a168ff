"""A publisher whose sink is away waits; what it holds meanwhile is bounded, and nothing is lost."""

import asyncio
from contextlib import suppress
from functools import cache

import pytest
from aiokafka import ConsumerRecord

from agents_topics.roster import PUBLISHER
from sinks.contract import SinkBusy
from sinks.memory import MemorySink
from streams.batches import Batch, Position
from streams.publish import PublisherWork
from streams.step_size import FIRST_RECORDS
from streams.task import PAUSE_ABOVE, Task
from tests.simulation.loop import VirtualLoop
from tests.unit.test_refusals import Logs, tools

TOPICS = [topic.name for topic in PUBLISHER.reads]
RECORDS = 3 * PAUSE_ABOVE
"""In each topic."""
BATCH_RECORDS, FETCH_S = 3_000, 0.01
STEP_RECORDS_MAX = 10_000
AWAY_S = 60
ANSWER_S_MAX = 30.0


class LeavingSink(MemorySink):
    """A sink that can go away: it refuses, or gives no answer for as long as one is waited for."""

    def __init__(self, answer_s):
        super().__init__()
        self.is_away = False
        self.written_counts = []
        self._answer_s = answer_s

    async def next_offsets(self, partition, topics):
        await self._answer()
        return await super().next_offsets(partition, topics)

    async def write(self, topic, partition, first_offset, next_offset, records):
        await self._answer()
        await super().write(topic, partition, first_offset, next_offset, records)
        self.written_counts.append(len(records))

    async def _answer(self):
        await asyncio.sleep(0.01)
        if self.is_away:
            await asyncio.sleep(self._answer_s)
            raise SinkBusy("Postgres is away", 1.0)


class Fetching:
    """Hands over batch after batch of the topics' logs, but of none that is paused."""

    def __init__(self):
        self.task, self.held_max = None, 0
        self._epochs, self._at, self._paused = {}, dict.fromkeys(TOPICS, 0), set()

    async def go_on(self):
        while True:
            await asyncio.sleep(FETCH_S)
            for topic in TOPICS:
                if topic not in self._paused and self._at[topic] < RECORDS:
                    self._hand_over(topic)

    def _hand_over(self, topic):
        begin = self._at[topic]
        self._at[topic] = min(begin + BATCH_RECORDS, RECORDS)
        offsets = range(begin, self._at[topic])
        records = [ConsumerRecord(topic, 0, o, 0, 1, None, b"", None, 0, 0, ()) for o in offsets]
        self.task.accept(topic, Batch(records, begin, self._epochs.get(topic, 0)))
        self.held_max = max(self.held_max, self.task.queued_count(topic))

    async def seek_task(self, topic, _, offset, epoch):
        self._at[topic], self._epochs[topic] = offset, epoch

    async def position_of(self, topic, _):
        return Position(self._at[topic], self._at[topic], RECORDS, RECORDS)

    def pause_partitions(self, tps):
        self._paused |= {tp.topic for tp in tps}

    def resume_partitions(self, tps):
        self._paused -= {tp.topic for tp in tps}


@cache
def run_through_an_absence(answer_s):
    """A publisher's sink goes away once something is written, and comes back a minute later."""
    sink, fetching = LeavingSink(answer_s), Fetching()
    work = PublisherWork(0, tools(Logs(0, RECORDS)), sink)
    names = {topic: topic for topic in TOPICS}
    task = fetching.task = Task(PUBLISHER, 0, work, fetching, names, STEP_RECORDS_MAX)

    async def run():
        job = asyncio.create_task(fetching.go_on())
        task.start()
        while not sink.stored:
            await asyncio.sleep(FETCH_S)
        sink.is_away = True
        await asyncio.sleep(AWAY_S)
        state, sink.is_away = task.state, False
        written_before = len(sink.written_counts)
        while sum(sink.offsets.values()) < RECORDS * len(TOPICS):
            await asyncio.sleep(FETCH_S)
        await task.close()
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job
        return state, sink.written_counts[written_before:]

    state, written_after = VirtualLoop().run(run())
    return sink, fetching, state, written_after


@pytest.mark.parametrize("answer_s", [0.0, ANSWER_S_MAX], ids=["refuses", "no answer"])
def test_what_a_publisher_holds_while_its_sink_is_away_is_bounded_and_then_written_once(answer_s):
    sink, fetching, _, _ = run_through_an_absence(answer_s)

    assert fetching.held_max <= PAUSE_ABOVE + BATCH_RECORDS
    for topic in TOPICS:
        written = [one.offset for one in sink.stored if one.topic == topic]
        assert written == list(range(RECORDS))


def test_a_publisher_whose_sink_does_not_answer_holds_as_much_as_it_may():
    _, fetching, _, _ = run_through_an_absence(ANSWER_S_MAX)

    assert fetching.held_max > PAUSE_ABOVE


def test_a_publisher_whose_sink_refuses_waits_and_says_so():
    _, _, state, _ = run_through_an_absence(0.0)

    assert state == "retrying"


@pytest.mark.parametrize("answer_s", [0.0, ANSWER_S_MAX], ids=["refuses", "no answer"])
def test_an_absence_says_nothing_about_the_size_of_steps_and_leaves_none_tiny(answer_s):
    _, _, _, written_after = run_through_an_absence(answer_s)

    assert written_after[0] >= FIRST_RECORDS // 4

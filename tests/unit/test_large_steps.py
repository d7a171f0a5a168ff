"""A step that is too large for its transaction's deadline is taken in smaller ones."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import ConsumerRecord

from agents_topics.roster import CALIBRATOR
from agents_topics.topics import SETTLED_OUTCOMES
from streams.batches import Position
from streams.task import Task
from tests.simulation.loop import VirtualLoop

SETTLED = SETTLED_OUTCOMES.name
RECORDS = 40


class SlowToWrite:
    """A work that cannot write more than three records before its deadline."""

    was_kept = False

    def __init__(self):
        self.written, self._taken, self.steps = 0, [], []

    async def open(self):
        self._taken = []
        return {SETTLED: self.written}

    async def choose(self, queued):
        return next(iter(queued))

    def take(self, topic, records):
        self._taken += records

    async def commit(self):
        self.steps.append(len(self._taken))
        if len(self._taken) > 3:
            raise TimeoutError("too large")
        self.written, self._taken = self._taken[-1].offset + 1, []

    async def tick(self, is_drained): ...

    async def close(self, is_clean): ...


class Consumer:
    """Hands over all that follows a seek at once, in batches of a size."""

    task = None

    def __init__(self, batch_records):
        self._batch_records = batch_records

    async def seek_task(self, topic, _, offset, epoch):
        for at in range(offset, RECORDS, self._batch_records):
            offsets = range(at, min(at + self._batch_records, RECORDS))
            records = [
                ConsumerRecord(topic, 0, o, 0, 1, None, b"", None, 0, 0, ()) for o in offsets
            ]
            batch = SimpleNamespace(records=records, begin=at, epoch=epoch)
            asyncio.get_running_loop().call_soon(self.task.accept, topic, batch)

    async def position_of(self, *_):
        return Position(position=RECORDS, fetched=RECORDS, stable_end=RECORDS)

    def resume_partitions(self, _): ...


@pytest.mark.parametrize("batch_records", [1, 7, RECORDS])
def test_a_step_whose_transaction_is_not_written_in_time_is_taken_in_smaller_ones(batch_records):
    consumer, work = Consumer(batch_records), SlowToWrite()

    async def run():
        names = {SETTLED: SETTLED}
        consumer.task = Task(CALIBRATOR, 0, work, consumer, names, step_records_max=20)
        consumer.task.start()
        await asyncio.sleep(600)
        await consumer.task.close()

    VirtualLoop().run(run())

    assert work.steps[:3] == [20, 10, 5]
    assert work.written == RECORDS

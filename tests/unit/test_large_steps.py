"""A step that is too large for its transaction's deadline is taken in smaller ones, and of several
tasks' large steps one is written at a time.
"""

import asyncio
from itertools import accumulate
from types import SimpleNamespace

import pytest
from aiokafka import ConsumerRecord

from agents_topics.roster import CALIBRATOR
from agents_topics.topics import SETTLED_OUTCOMES
from streams.batches import Position
from streams.step_size import FIRST_RECORDS
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

    def __init__(self, batch_records, records=RECORDS):
        self._batch_records, self._records = batch_records, records

    async def seek_task(self, topic, _, offset, epoch):
        for at in range(offset, self._records, self._batch_records):
            offsets = range(at, min(at + self._batch_records, self._records))
            records = [
                ConsumerRecord(topic, 0, o, 0, 1, None, b"", None, 0, 0, ()) for o in offsets
            ]
            batch = SimpleNamespace(records=records, begin=at, epoch=epoch)
            asyncio.get_running_loop().call_soon(self.task.accept, topic, batch)

    async def position_of(self, *_):
        end = self._records
        return Position(position=end, fetched=end, stable_end=end)

    def pause_partitions(self, _): ...

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


class Written:
    """A work whose transactions take a second."""

    was_kept = False

    def __init__(self, log):
        self._log, self._taken = log, 0

    async def open(self):
        return {SETTLED: 0}

    async def choose(self, queued):
        return next(iter(queued))

    def take(self, topic, records):
        self._taken += len(records)

    async def commit(self):
        self._log.append((1, self._taken))
        await asyncio.sleep(1)
        self._log.append((-1, self._taken))
        self._taken = 0

    async def tick(self, is_drained): ...

    async def close(self, is_clean): ...


def steps_of(records, close_after_s):
    """What three tasks that share a turn write of so many records each: how many small and how many
    large steps were written at once at most, all records, and how long closing took.
    """
    log, loop = [], VirtualLoop()

    async def run():
        turn, tasks = asyncio.Lock(), []
        for partition in range(3):
            consumer = Consumer(500, records)
            consumer.task = Task(
                CALIBRATOR, partition, Written(log), consumer, {SETTLED: SETTLED}, 60_000, turn
            )
            consumer.task.start()
            tasks.append(consumer.task)
        await asyncio.sleep(close_after_s)
        began_s = loop.time()
        await asyncio.gather(*(task.close() for task in tasks))
        return loop.time() - began_s

    closing_s = loop.run(run())
    return most_at_once(log, False), most_at_once(log, True), written(log), closing_s


def most_at_once(log, is_large):
    """How many steps that are large, or are not, were being written at the same time."""
    steps = [step for step, count in log if (count > FIRST_RECORDS) == is_large]
    return max(accumulate(steps), default=0)


def written(log):
    """How many records."""
    return sum(count for step, count in log if step < 0)


def test_large_steps_of_several_tasks_are_written_one_after_the_other():
    _, large, count, _ = steps_of(10 * FIRST_RECORDS, close_after_s=600)

    assert large == 1
    assert count == 3 * 10 * FIRST_RECORDS


def test_small_steps_wait_for_nobody():
    small, large, count, _ = steps_of(FIRST_RECORDS // 2, close_after_s=600)

    assert (small, large) == (3, 0)
    assert count == 3 * FIRST_RECORDS // 2


def test_whoever_closes_while_it_waits_for_its_turn_takes_nothing_more():
    _, large, count, closing_s = steps_of(10 * FIRST_RECORDS, close_after_s=1.5)

    assert closing_s < 1
    assert large == 1
    assert count == 3 * FIRST_RECORDS + 2 * FIRST_RECORDS

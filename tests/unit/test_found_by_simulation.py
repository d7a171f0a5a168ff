"""What the simulation has found in the engine, each a story of its own."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import ConsumerRecord

from agents_topics.policy_file import load_policy
from agents_topics.roster import CALIBRATOR
from agents_topics.topics import TOPICS
from streams.batches import Position
from streams.calibrate import CalibratorWork
from streams.resolve_outcomes import ResolverSettings, ResolverWork
from streams.task import LOST_AFTER_S, Busy, Task
from tests.resolver_task import ACTIONS, GRACE, INTERACTIONS
from tests.simulation.loop import VirtualLoop

CONTROL = "control"
SETTLED = CALIBRATOR.reads[0].name


class Producer:
    """Starts and stops."""

    async def start(self): ...

    async def stop(self): ...


class Broker:
    """A broker whose logs end where the test says; nothing is in the changelog."""

    def __init__(self, on_committed=lambda broker: {}):
        self.ends_at = dict.fromkeys((ACTIONS, INTERACTIONS), 1)
        self._on_committed = on_committed

    async def starts(self, names, _):
        return dict.fromkeys(names, 0)

    async def ends(self, names, _):
        return {name: self.ends_at.get(name, 0) for name in names}

    high_watermarks = ends

    async def changelog(self, name, _):
        return {}, self.ends_at.get(name, 0)

    async def has_records(self, _, __):
        return False

    async def committed(self, _):
        return self._on_committed(self)


def tools(broker):
    clients = SimpleNamespace(producer=lambda _: Producer())
    names = {topic.name: topic.name for topic in TOPICS}
    return SimpleNamespace(
        clients=clients,
        broker=broker,
        names=names,
        partition_count=4,
        group="group",
        restores={},
        restoring=asyncio.Lock(),
    )


async def test_a_clock_record_that_came_before_a_rebalance_waits_for_all_before_the_one_after_it():
    # 1. The clock record is fetched; it is to wait for offset 1 of both topics.
    # 2. Everything is revoked and given back, and the state is kept. Meanwhile more events come,
    #    and then another clock record.
    # 3. Both clock records are fetched at once: the second one is later than those events, which
    #    would be late if it were applied before them.
    broker, applied = Broker(), 0

    async def is_drained(_, until):
        return applied >= until

    work = ResolverWork(0, tools(broker), ResolverSettings(load_policy(None), GRACE, 10_000))
    work.task = SimpleNamespace(is_drained=is_drained)
    await work.open()
    assert await work.choose({CONTROL: ["clock"]}) is None
    await work.close(is_clean=True)
    broker.ends_at |= dict.fromkeys((ACTIONS, INTERACTIONS), 5)
    await work.open()
    assert work.was_kept

    applied = 1
    early = await work.choose({CONTROL: ["clock", "another"]})
    applied = 5
    then = await work.choose({CONTROL: ["clock", "another"]})

    assert (early, then) == (None, CONTROL)


async def test_a_worker_that_was_stopped_while_it_opened_does_not_call_its_successors_work_lost():
    # It reads an empty changelog and is stopped; the next owner commits; it goes on and asks for
    # the group's offsets.
    def next_owner_commits(broker):
        broker.ends_at["calibrator-changelog"] = 2
        return {(SETTLED, 0): 7}

    broker = Broker(next_owner_commits)
    broker.ends_at[SETTLED] = 7

    with pytest.raises(Busy, match="another worker has written to its changelog"):
        await CalibratorWork(0, tools(broker), load_policy(None)).open()


class Taking:
    """A work that takes whatever there is."""

    was_kept = False

    def __init__(self):
        self.next_offset = 0

    async def open(self):
        return {SETTLED: self.next_offset}

    async def choose(self, queued):
        return next(iter(queued))

    def take(self, topic, records):
        self.next_offset = records[-1].offset + 1

    async def commit(self): ...

    async def tick(self, is_drained): ...

    async def close(self, is_clean): ...


class LossyConsumer:
    """Fetches one record after a seek; the first one is lost on the way."""

    def __init__(self):
        self.task, self.seeks = None, 0

    async def seek_task(self, topic, partition, offset, epoch):
        self.seeks += 1
        if self.seeks > 1:
            record = ConsumerRecord(topic, 0, offset, 0, 1, None, b"", None, 0, 0, ())
            batch = SimpleNamespace(records=[record], begin=offset, epoch=epoch)
            asyncio.get_running_loop().call_later(0.5, self.task.accept, topic, batch)

    async def position_of(self, *_):
        return Position(position=1, fetched=1, stable_end=1)

    def resume_partitions(self, _): ...


def test_a_lost_batch_is_fetched_again_also_where_no_other_one_follows_it():
    consumer, work = LossyConsumer(), Taking()

    async def run():
        names = {SETTLED: SETTLED}
        consumer.task = Task(CALIBRATOR, 0, work, consumer, names, step_records_max=10)
        consumer.task.start()
        await asyncio.sleep(LOST_AFTER_S + 5)
        await consumer.task.close()
        return consumer.task.reopened_count

    reopened_count = VirtualLoop().run(run())

    assert (reopened_count, work.next_offset) == (1, 1)

"""A worker: the real tasks, given a network, a group and a sink in memory."""

import asyncio
import contextlib

from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from agents_topics.roster import AGENTS, GROUP
from agents_topics.topics import TOPICS
from sinks.contract import SinkBusy
from streams.broker import Broker
from streams.resolve_outcomes import ResolverSettings
from streams.transactions import TransactionBudget
from streams.work import Tools
from tests.simulation.fetching import MemoryConsumer
from tests.simulation.loop import Process

AWAY_S = 0.5
BEAT_S = 1.0
TRANSACTIONS_PER_S = 100


class Store:
    """The one store of all workers, over the network; now and then it is away."""

    def __init__(self, loop, network, sink):
        self.away_until_s = 0.0
        self._loop, self._network, self._sink = loop, network, sink

    async def next_offsets(self, partition, topics):
        return await self._ask(self._sink.next_offsets, partition, topics)

    async def write(self, *batch):
        await self._ask(self._sink.write, *batch)

    async def _ask(self, verb, *args):
        try:
            return await self._network.ask("store", self._effect, verb, args)
        except KafkaConnectionError as lost:
            raise SinkBusy(str(lost), AWAY_S) from lost

    def _effect(self, verb, args):
        if self._loop.now_s < self.away_until_s:
            raise SinkBusy("the store is away", AWAY_S)
        # What is in memory answers at once: the coroutine ends without having waited.
        work = verb(*args)
        try:
            work.send(None)
        except StopIteration as answer:
            return answer.value
        raise AssertionError("a sink in memory has waited")


class Worker:
    """One process: its tasks, its fetching, its membership."""

    def __init__(self, name, world, skew_s):
        self.process = Process(name, skew_s)
        self.is_leaving = False
        self._loop, self._group = world.loop, world.group
        clients = world.plant.clients(world)
        self._broker = Broker(clients)
        self.consumer = MemoryConsumer(
            world.loop, self.process, world.kafka, world.network, world.random
        )
        tools = Tools(
            clients=clients,
            group=GROUP,
            names={topic.name: topic.name for topic in TOPICS},
            partition_count=world.partition_count,
            broker=self._broker,
            budget=TransactionBudget(TRANSACTIONS_PER_S),
            transactions={},
            restores={},
        )
        settings = ResolverSettings(world.policy, world.grace_ms, world.idle_after_ms)
        self.tasks = world.plant.tasks(tools, settings, world.store, world.step_records_max)
        self.consumer.tasks = self.tasks
        world.loop.spawn(self.process, self._live())

    async def _live(self):
        """In the group until told to leave; each generation's tasks are opened and closed."""
        await self._broker.start()
        name = self.process.name
        while not self.is_leaving:
            told = asyncio.Event()
            numbers, beating = await self._join(name, told)
            topics = [topic.name for row in AGENTS for topic in row.reads]
            assigned = {TP(topic, number) for topic in topics for number in numbers}
            self.consumer.assign(assigned)
            self.tasks.open(assigned, self.consumer)
            await told.wait()
            await self.tasks.close()
            beating.cancel()
        self._group.leave(name)

    async def _join(self, name, told):
        """What the group assigns. The beating goes on while the tasks are closed, as a thread's."""
        answer = self._group.join(name)
        beating = self._loop.spawn(self.process, self._beat(told, lambda: answer.done()))
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    return await asyncio.shield(answer), beating
            answer = self._group.join(name)

    async def _beat(self, told, has_joined):
        while True:
            await asyncio.sleep(BEAT_S)
            may_go_on = self._group.beat(self.process.name)
            if has_joined() and (self.is_leaving or not may_go_on):
                told.set()

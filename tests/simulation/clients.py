"""What a worker's tasks take for Kafka clients: aiokafka's own verbs, over the broker in memory."""

import asyncio
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata, RecordMetadata

from tests.simulation.network import until

BATCH_RECORDS_MAX = 7
READ, WRITE = "read", "write"


@dataclass(frozen=True)
class MemoryClients:
    """Clients of a broker in memory."""

    kafka: object
    network: object

    def producer(self, transactional_id):
        return MemoryProducer(self.kafka, self.network, transactional_id)

    def reader(self, isolation_level="read_committed"):
        return MemoryReader(self.kafka, self.network, isolation_level == "read_committed")

    def admin(self):
        return MemoryAdmin(self.kafka, self.network)


class Batch:
    """Some records to send."""

    def __init__(self):
        self.outs = []

    def append(self, *, key, value, timestamp, headers):
        if len(self.outs) >= BATCH_RECORDS_MAX:
            return None
        self.outs.append((key, value, headers))
        return True

    def record_count(self):
        return len(self.outs)


class MemoryProducer:
    """Writes in transactions. Batches of one log keep their order, others go as they like."""

    def __init__(self, kafka, network, owner_id):
        self.epoch = None
        self._kafka, self._network, self._id = kafka, network, owner_id
        self._sending = {}

    async def start(self):
        self.epoch = await until(self._network, WRITE, self._kafka.init, self._id)

    async def begin_transaction(self):
        self._sending.clear()

    def create_batch(self):
        return Batch()

    async def send_batch(self, batch, topic, *, partition):
        before = self._sending.get((topic, partition))
        sending = asyncio.ensure_future(self._send(before, topic, partition, batch.outs))
        sending.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._sending[topic, partition] = sending
        return sending

    async def _send(self, before, topic, partition, outs):
        if before is not None:
            await before
        write = self._kafka.write
        first, now_ms = await until(
            self._network, WRITE, write, self._id, self.epoch, topic, partition, outs
        )
        tp = TopicPartition(topic, partition)
        return RecordMetadata(topic, partition, tp, first, now_ms, 1, 0)

    async def send_offsets_to_transaction(self, offsets, group):
        told = {(tp.topic, tp.partition): held.offset for tp, held in offsets.items()}
        await until(self._network, WRITE, self._kafka.add_offsets, self._id, self.epoch, told)

    async def commit_transaction(self):
        for sending in self._sending.values():
            await sending
        await self._network.ask(WRITE, self._kafka.commit, self._id, self.epoch)

    async def stop(self):
        await asyncio.sleep(0)


class MemoryReader:
    """Reads committed records; of one that does not, only the ends are asked for."""

    def __init__(self, kafka, network, is_committed):
        self._kafka, self._network = kafka, network
        self._is_committed = is_committed
        self._positions = {}

    async def start(self): ...

    async def stop(self): ...

    async def end_offsets(self, tps):
        return await self._network.ask(READ, lambda: {tp: self._end(tp) for tp in tps})

    def _end(self, tp):
        log = self._kafka.log(*tp)
        return log.stable_end if self._is_committed else log.end

    async def beginning_offsets(self, tps):
        return await self._network.ask(READ, lambda: dict.fromkeys(tps, 0))

    def assign(self, tps):
        self._positions = dict.fromkeys(tps)

    def unsubscribe(self):
        self._positions = {}

    async def seek_to_beginning(self, tp):
        self._positions[tp] = 0

    async def position(self, tp):
        return self._positions[tp]

    async def getmany(self, tp, *, timeout_ms, max_records):
        log = self._kafka.log(*tp)
        records, position = await self._network.ask(READ, log.read, self._positions[tp], 100)
        self._positions[tp] = position
        return {tp: records} if records else {}


class MemoryAdmin:
    """Asks for committed offsets."""

    def __init__(self, kafka, network):
        self._kafka, self._network = kafka, network

    async def start(self): ...

    async def close(self): ...

    async def list_consumer_group_offsets(self, group):
        held = await self._network.ask(READ, lambda: dict(self._kafka.group_offsets))
        return {TopicPartition(*at): OffsetAndMetadata(o, "") for at, o in held.items()}

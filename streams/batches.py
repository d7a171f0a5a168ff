"""Whole batches through Faust, and seeks that nothing can overtake.

The law: a task accepts only what was fetched after its own last seek. Every seek gives its
topic-partition a new epoch in the fetching thread, where fetching and seeking cannot interleave,
and every batch carries the epoch it was fetched in. So nothing of an older assignment, of before a
failure or of Faust's own position ever reaches the core. And every batch says where it begins, so
that no gap can open unseen.

Stock Faust costs two asyncio tasks a message, acknowledges what raised and commits by itself; here
a message is all that was fetched of a topic, a batch for each partition, and offsets belong to the
tasks. (By partition a worker under load spent 20 ms on handing over what one fetch had brought.)
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import aiokafka
import faust
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from agents_topics.connection import Connection
from streams.instance_id import MembershipWatch

FETCH_WAIT_MS_MAX = 50
FETCH_BYTES_MAX = 4 << 20


class Batch(NamedTuple):
    """All records of one fetch of one topic-partition.

    `begin` is the offset after the last record fetched before, so that a lost batch is seen.
    """

    records: list[ConsumerRecord]
    begin: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where the fetching of a topic-partition stands.

    `fetched` is the offset after the last record handed on since the seek, `position` the next
    one to fetch: past it by whatever markers and aborted records follow. `stable_end` is the last
    stable offset as of the last fetch, `high_watermark` the log's end: what lies between waits for
    a producer's transaction to end; `told_ms` when that fetch was answered, by this clock.
    `is_lost`: the log no longer had the next record.
    """

    position: int | None
    fetched: int
    stable_end: int | None = None
    high_watermark: int | None = None
    is_lost: bool = False
    told_ms: int | None = None


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that fetches: reads committed, keeps the epochs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._epochs: dict[TopicPartition, int] = {}
        self._fetched: dict[TopicPartition, int] = {}
        self._lost: set[TopicPartition] = set()
        self._membership = MembershipWatch()

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        return aiokafka.AIOKafkaConsumer(
            **cast(BatchApp, self.app).connection.client_options(),
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            # Keeps equal partition numbers of a task's topics on one worker; Faust would choose
            # round-robin here, which does not.
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=600_000,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            fetch_max_wait_ms=FETCH_WAIT_MS_MAX,
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            isolation_level="read_committed",
        )

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: Any = None, max_records: Any = None
    ) -> Mapping[TP, Any]:
        """The fetched records of each topic-partition as one `Batch`."""
        fetched = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        if self._is_named and self._membership.is_contested(consumer._coordinator.member_id):
            cast(BatchApp, self.app).on_contested_membership()
        batches: dict[TP, Batch] = {}
        for tp, records in fetched.items():
            begin, self._fetched[tp] = self._fetched.get(tp, 0), records[-1].offset + 1
            batch = Batch(records, begin, self._epochs.get(tp, 0))
            batches[TP(tp.topic, tp.partition)] = batch
        return batches

    @property
    def _is_named(self) -> bool:
        return self.app.conf.consumer_group_instance_id is not None

    async def seek_now(self, tp: TopicPartition, offset: int, epoch: int) -> None:
        """Fetching goes on at `offset`, in the given epoch. Runs in this thread."""
        consumer = self._ensure_consumer()
        consumer.seek(tp, offset)
        self._fetched[tp] = offset
        self._epochs[tp] = epoch
        self._lost.discard(tp)
        self._watch(tp, consumer._subscription.subscription.assignment.state_value(tp))

    def _watch(self, tp: TopicPartition, state: Any) -> None:
        """Where retention overtakes fetching, the driver would go on at what is left, silently."""

        def await_reset(strategy: Any) -> None:
            self._lost.add(tp)
            self._epochs.pop(tp, None)
            type(state).await_reset(state, strategy)

        state.await_reset = await_reset

    async def position_now(self, tp: TopicPartition) -> Position:
        """Where fetching stands. Runs in this thread."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription.assignment if subscription else None
        if assignment is None or tp not in assignment.tps:
            return Position(None, 0)
        state = assignment.state_value(tp)
        position = state.position if state.has_valid_position else None
        fetched = self._fetched.get(tp, 0)
        is_lost = tp in self._lost
        return Position(position, fetched, state.lso, state.highwater, is_lost, state.timestamp)

    async def in_this_thread(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine in the fetching thread and waits for it in the caller's loop."""
        future = asyncio.run_coroutine_threadsafe(work, self.thread_loop)
        return await asyncio.wrap_future(future)


class BatchConsumer(driver.Consumer):
    """Faust's consumer, one message per fetched topic; commits nothing, seeks for tasks only."""

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yields what was fetched: a message per topic, its value the batches by partition."""
        fetched, _ = await self._wait_next_records(timeout)
        if not fetched or self.should_stop:
            return
        by_topic: dict[str, dict[int, Batch]] = {}
        for tp, batch in cast(Mapping[TP, Any], fetched).items():
            by_topic.setdefault(tp.topic, {})[tp.partition] = batch
        for topic, batches in by_topic.items():
            partition, batch = next(iter(batches.items()))
            last, tp = batch.records[-1], TP(topic, partition)
            # Faust drops what is not past the last offset it has seen, so that after a seek back
            # nothing would come. What is in order is for the task to say: it knows epoch and begin.
            self._read_offset[tp] = None
            yield (
                tp,
                ConsumerMessage(
                    topic=topic,
                    partition=partition,
                    offset=last.offset,
                    timestamp=last.timestamp / 1000,
                    timestamp_type=last.timestamp_type,
                    headers=[],
                    key=None,
                    value=cast(Any, batches),
                    checksum=None,
                    serialized_key_size=0,
                    serialized_value_size=0,
                    tp=tp,
                    generation_id=self.app.consumer_generation_id,
                ),
            )

    async def seek_task(self, topic: str, partition: int, offset: int, epoch: int) -> None:
        """Seeks for a task; what is fetched from now on carries the epoch.

        The task gives the epoch, and waits for it from before the seek: a batch can be here before
        this returns.
        """
        thread = cast(BatchConsumerThread, self._thread)
        await thread.in_this_thread(
            thread.seek_now(TopicPartition(topic, partition), offset, epoch)
        )

    async def position_of(self, topic: str, partition: int) -> Position:
        """Where fetching stands."""
        thread = cast(BatchConsumerThread, self._thread)
        work = thread.position_now(TopicPartition(topic, partition))
        position: Position = await thread.in_this_thread(work)
        return position

    @property
    def was_refused(self) -> bool:
        """Whether the group has refused this worker for good: its client then waits without end."""
        client = getattr(self._thread, "_consumer", None)
        coordination = getattr(client and client._coordinator, "_coordination_task", None)
        if coordination is None or not coordination.done() or coordination.cancelled():
            return False
        return coordination.exception() is not None

    async def perform_seek(self) -> None:
        """Nothing: a task seeks when it has opened, to what its changelog says."""

    async def _add_gap(self, *_: Any) -> None: ...

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Nothing: a task's offsets are part of its transactions."""
        return False

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Nothing: a task's offsets are part of its transactions."""
        return False

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: tasks pause partitions at will; the health page says what is stuck."""


class IdleProducer(driver.Producer):
    """Faust's producer, which connects to nothing: only tasks write, each by its own producer.

    The stock one would need its settings said again, in Faust's own terms.
    """

    async def on_start(self) -> None:
        """Nothing is to be sent through it."""

    async def on_stop(self) -> None:
        """Nothing was opened."""


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with our consumer, and without a way to write."""

    Consumer = BatchConsumer
    Producer = IdleProducer


class NoTables(TableManager):
    """Faust's tables, of which there are none: state is the tasks' own."""

    async def on_start(self) -> None:
        """Begins at once; the stock one first gives tables a second to be defined."""
        await self._update_channels()
        await self.recovery.start()


class BatchApp(faust.App):
    """A Faust app whose messages hold batches."""

    connection: Connection

    def on_contested_membership(self) -> None:
        """Another worker is a member under our instance id. Runs in the fetching thread."""
        raise NotImplementedError

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

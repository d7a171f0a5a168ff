"""A task: one partition number of one Faust agent, over all topics that the agent joins.

The law: a task owns its partition from the moment it has fenced the last owner until it is closed.
Whatever fails in between, its work is thrown away and opened anew; only a programmer's error stops
it, loudly. It accepts only what was fetched after its own seek, keeps every record until it is
applied, and pauses its own partitions when it has enough, so that nothing is lost, skipped or held
without bound.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal, Protocol

import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError
from faust.types import TP

from agents_topics.roster import AgentRow
from streams.batches import FETCH_WAIT_MS_MAX, Batch, BatchConsumer, Position
from streams.changelog import StateProblem
from streams.logs import in_words
from streams.step_size import FIRST_RECORDS, StepSize
from streams.unstable import Unstable, unstable_at

TICK_S = 1.0
FRESH_MS_MAX = 2 * FETCH_WAIT_MS_MAX
LOST_AFTER_S = 10.0
REOPEN_S = (0.2, 0.5, 1.0, 2.0, 5.0)
PAUSE_ABOVE = 20_000
RESUME_BELOW = 8_000

log = structlog.get_logger("trueup.task")

_epochs = count(1)
"""One for each seek of this process."""

State = Literal["opening", "running", "retrying", "refused", "failed", "closed"]


class Busy(Exception):
    """The other side cannot take our work now; says when to come again."""

    def __init__(self, what: str, retry_after_s: float) -> None:
        super().__init__(what)
        self.retry_after_s = retry_after_s


class Work(Protocol):
    """What a task does with its records: the part that differs between agents."""

    was_kept: bool
    """Whether the last `open` took up the state that was there."""

    async def open(self) -> dict[str, int]:
        """Takes ownership and restores; returns the next offset to apply by topic."""
        ...

    async def choose(self, queued: Mapping[str, Sequence[ConsumerRecord]]) -> str | None:
        """The topic whose records are applied next; None to wait for more."""
        ...

    def take(self, topic: str, records: Sequence[ConsumerRecord]) -> None:
        """Takes records into the open step."""
        ...

    async def commit(self) -> None:
        """Ends the step: all that it has taken counts, or none of it."""
        ...

    async def tick(self, is_drained: bool) -> None:
        """Does what time alone asks for; about once a second between steps."""
        ...

    async def close(self, is_clean: bool) -> None:
        """Lets go of what `open` took; a state is kept only where every step has ended well."""
        ...


@dataclass(slots=True)
class _Queue:
    """Fetched records of one topic that are not applied yet."""

    epoch: int = -1
    received: int = 0
    next_offset: int = 0
    is_paused: bool = False
    awaited: int = -1
    awaited_since_s: float = 0.0


class Task:
    """Runs one `Work` from open to close, over and over if it must."""

    def __init__(
        self,
        row: AgentRow,
        partition: int,
        work: Work,
        consumer: BatchConsumer,
        names: Mapping[str, str],
        step_records_max: int,
        large_steps: asyncio.Lock | None = None,
    ) -> None:
        self.name = f"{row.name}-{partition}"
        self.row = row
        self.partition = partition
        self.work = work
        self.state: State = "opening"
        self.problem: str | None = None
        self.reopened_count = -1
        self.ran_at_ms: int | None = None
        self.lag: dict[str, int] = {}
        self.unstable: dict[str, Unstable | None] = {}
        self.applied_until_ms = _now_ms()
        """All that was in its topics by then is applied; its beginning while that is unknown."""
        self._consumer = consumer
        self._names = names
        self._step_size = StepSize(step_records_max)
        self._large_steps = large_steps or asyncio.Lock()
        self._queues = {topic.name: _Queue() for topic in row.reads}
        self._batches: dict[str, deque[list[ConsumerRecord]]] = {t: deque() for t in self._queues}
        self._gap: str | None = None
        self._mark: tuple[int, dict[str, int]] | None = None
        self._wake = asyncio.Event()
        self._failures_in_a_row = 0
        self._is_closing = False
        self._job: asyncio.Task[None] | None = None
        self._log = log.bind(task=self.name, partition=partition)

    # ---- for the Faust agent and the worker ----------------------------------------------------

    def start(self) -> None:
        """Begins to open and run, in the background."""
        self._job = asyncio.create_task(self._run(), name=self.name)

    def accept(self, topic: str, batch: Batch) -> None:
        """Takes what was fetched for one of its topics; never waits."""
        queue = self._queues[topic]
        if batch.epoch != queue.epoch:
            return
        if batch.begin != queue.received:
            self._gap = f"{topic}: fetched from {batch.begin} on, expected {queue.received}"
            self._wake.set()
            return
        queue.received = batch.records[-1].offset + 1
        self._batches[topic].append(batch.records)
        self._wake.set()
        if not queue.is_paused and self.queued_count(topic) > PAUSE_ABOVE:
            queue.is_paused = True
            self._consumer.pause_partitions({self._tp(topic)})

    async def close(self) -> None:
        """The open step ends, then everything is let go."""
        self._is_closing = True
        self._wake.set()
        if self._job:
            try:
                await asyncio.wait_for(self._job, 9)
            except TimeoutError:
                self._log.warning("task_cancelled_at_close")
        self.state = "closed"

    @property
    def is_closing(self) -> bool:
        """Whether the open step is the last one."""
        return self._is_closing

    def queued_count(self, topic: str) -> int:
        """How many fetched records wait."""
        return sum(map(len, self._batches[topic]))

    async def measure_lag(self) -> None:
        """Notes how far fetching is behind the last stable offsets, and if it lost its place."""
        ends: dict[str, int] = {}
        for topic in self._queues:
            name = self._names[topic]
            position = await self._consumer.position_of(name, self.partition)
            if position.is_lost:
                self._gap = f"{topic}: the log no longer has the next record"
            self._watch(topic, position)
            self._note_unstable(topic, position)
            end = position.stable_end
            waits = self.queued_count(topic)
            behind = 0 if end is None or position.position is None else end - position.position
            self.lag[topic] = max(behind, 0) + waits
            if position.high_watermark is not None:
                ends[topic] = position.high_watermark
        await self._note_applied(ends)

    def _note_unstable(self, topic: str, position: Position) -> None:
        """While it is paused nothing is fetched, and what the last fetch told is old."""
        is_known = not self._queues[topic].is_paused
        before = self.unstable.get(topic)
        self.unstable[topic] = unstable_at(position, before, _now_ms()) if is_known else None

    async def _note_applied(self, ends: dict[str, int]) -> None:
        """Moves the time up to which all is applied: a mark is set at the ends, then awaited."""
        if self._mark is not None:
            marked_ms, marks = self._mark
            if not all([await self.is_drained(topic, until) for topic, until in marks.items()]):
                return
            self.applied_until_ms = marked_ms
        self._mark = (_now_ms(), ends) if len(ends) == len(self._queues) else None

    def _watch(self, topic: str, position: Position) -> None:
        """What was fetched and does not come was lost on the way; where nothing follows it, only
        waiting tells.
        """
        queue, now_s = self._queues[topic], asyncio.get_running_loop().time()
        if position.fetched <= queue.received or queue.awaited != queue.received:
            queue.awaited, queue.awaited_since_s = queue.received, now_s
        elif now_s - queue.awaited_since_s > LOST_AFTER_S:
            self._gap = f"{topic}: fetched up to {position.fetched}, got up to {queue.received}"

    def next_offsets(self) -> dict[str, int]:
        """The next offset to apply, by topic."""
        return {topic: queue.next_offset for topic, queue in self._queues.items()}

    async def is_drained(self, topic: str, until: int) -> bool:
        """Whether every record before offset `until` was fetched and applied."""
        waiting = self._batches[topic]
        if waiting:
            return bool(waiting[0][0].offset >= until)
        position = await self._consumer.position_of(self._names[topic], self.partition)
        return self._is_applied(topic, until, position)

    async def has_ended(self, topic: str) -> bool | None:
        """Whether all that a topic had when it was last fetched is fetched and applied; None where
        that is longer ago than a fetch waits.
        """
        position = await self._consumer.position_of(self._names[topic], self.partition)
        if position.told_ms is None or position.stable_end is None:
            return None
        if not 0 <= _now_ms() - position.told_ms <= FRESH_MS_MAX:
            return None
        return self._is_applied(topic, position.stable_end, position)

    def _is_applied(self, topic: str, until: int, position: Position) -> bool:
        if self._batches[topic] or position.position is None or position.position < until:
            return False
        return position.fetched <= self._queues[topic].next_offset

    # ---- the life of a task --------------------------------------------------------------------

    async def _run(self) -> None:
        """Open, work, and on any operating error begin anew; the one supervising place."""
        retry_after_s: float | None = None
        while not self._is_closing:
            self.reopened_count += 1
            is_clean = False
            try:
                self.state = "opening"
                await self._open()
                self.state, self.problem = "running", None
                await self._work()
                is_clean = True
            except StateProblem as problem:
                self.state, self.problem = "refused", str(problem)
                self._log.error("task_refused", reason=str(problem))
                self._is_closing = True
            except (KafkaError, TimeoutError, OSError, Busy) as problem:
                if self.state == "running":  # what could not open says nothing of a step's size
                    self._step_size.on_failed()
                self.state = "retrying"
                self._failures_in_a_row += 1
                retry_after_s = getattr(problem, "retry_after_s", None)
                self.problem = f"{type(problem).__name__}: {problem}"
                self._log.warning("task_reopens", reason=self.problem)
            except Exception as bug:
                self.state, self.problem = "failed", in_words(bug)
                self._log.exception("task_failed", offsets=self.next_offsets())
                self._is_closing = True
            finally:
                self._drop_queues()
                await self.work.close(is_clean)
            if self.state == "retrying":
                await self._pause_before_retry(retry_after_s)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        offsets = await self.work.open()
        self._gap = None
        for topic, queue in self._queues.items():
            queue.next_offset = offsets[topic]
            queue.epoch, queue.received = next(_epochs), offsets[topic]
            queue.is_paused, queue.awaited = False, -1
            await self._consumer.seek_task(
                self._names[topic], self.partition, offsets[topic], queue.epoch
            )
            self._consumer.resume_partitions({self._tp(topic)})
        seconds = round(loop.time() - started_s, 3)
        self._log.info("task_opened", seconds=seconds, was_kept=self.work.was_kept, offsets=offsets)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        tick_at_s = loop.time() + TICK_S
        while not self._is_closing:
            if self._gap:
                raise Busy(f"a batch was lost on the way: {self._gap}", 0)
            taken_count = await self._step()
            if loop.time() >= tick_at_s:
                await self.work.tick(is_drained=not taken_count)
                await self.measure_lag()
                self.ran_at_ms = _now_ms()
                tick_at_s = loop.time() + TICK_S
            if not taken_count and not self._is_closing:
                self._wake.clear()
                if not any(self._batches.values()):
                    await self._sleep_until_woken(tick_at_s - loop.time())
                else:
                    await self._sleep_until_woken(0.02)
            else:
                await asyncio.sleep(0)

    async def _step(self) -> int:
        """Takes and commits what there is; how many records."""
        queued_count = sum(map(self.queued_count, self._queues))
        if min(queued_count, self._step_size.records) <= FIRST_RECORDS:
            return await self._take_and_commit()
        # One after the other: at the same time each would count the others' time as its own, and
        # all would take small steps.
        async with self._large_steps:
            return await self._take_and_commit()

    async def _take_and_commit(self) -> int:
        taken_count = await self._take_step()
        if taken_count:
            loop = asyncio.get_running_loop()
            ended_s = loop.time()
            await self.work.commit()
            self._failures_in_a_row = 0
            self._step_size.on_written(taken_count, loop.time() - ended_s)
            self.ran_at_ms = _now_ms()
        return taken_count

    async def _take_step(self) -> int:
        """Lets the work take batch after batch, as it chooses, while there are any; how many
        records. Whoever is behind so writes in large steps, in which much comes and goes unwritten.
        """
        taken_count = 0
        while taken_count < self._step_size.records and not self._is_closing and not self._gap:
            heads = {topic: held[0] for topic, held in self._batches.items() if held}
            topic = await self.work.choose(heads) if heads else None
            if topic is None:
                break
            taken_count += self._take_batch(topic, self._step_size.records - taken_count)
            await asyncio.sleep(0)  # others have their turn, and what was fetched comes in
        return taken_count

    def _take_batch(self, topic: str, count_max: int) -> int:
        """A batch, or as much of it as is wanted."""
        queue = self._queues[topic]
        records = self._batches[topic].popleft()
        if records[0].offset < queue.next_offset:
            records = [record for record in records if record.offset >= queue.next_offset]
        if len(records) > count_max:
            self._batches[topic].appendleft(records[count_max:])
            records = records[:count_max]
        if records:
            self.work.take(topic, records)
            queue.next_offset = records[-1].offset + 1
        if queue.is_paused and self.queued_count(topic) < RESUME_BELOW:
            queue.is_paused = False
            self._consumer.resume_partitions({self._tp(topic)})
        return len(records)

    async def _sleep_until_woken(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _pause_before_retry(self, retry_after_s: float | None) -> None:
        wait_s = REOPEN_S[min(self._failures_in_a_row, len(REOPEN_S)) - 1]
        if retry_after_s is not None:
            wait_s = retry_after_s
        self._wake.clear()
        if not self._is_closing:
            await self._sleep_until_woken(wait_s)

    def _drop_queues(self) -> None:
        for topic, queue in self._queues.items():
            queue.epoch = -1
            self._batches[topic].clear()

    def _tp(self, topic: str) -> TP:
        return TP(self._names[topic], self.partition)


def _now_ms() -> int:
    """By the wall clock: for operators alone, no result depends on it."""
    return time.time_ns() // 1_000_000

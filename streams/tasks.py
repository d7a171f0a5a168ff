"""The tasks of one worker: opened for what the group assigns, closed when it is revoked."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import structlog
from faust.types import TP

from agents_topics.policy import Policy
from agents_topics.roster import AGENTS, CALIBRATOR, RESOLVER, AgentRow
from sinks.contract import Sink
from sinks.postgres.writer import PostgresWriter
from streams.batches import Batch, BatchConsumer
from streams.calibrate import CalibratorWork
from streams.foretell import Foretelling
from streams.publish import PublisherWork
from streams.resolve_outcomes import ResolverSettings, ResolverWork
from streams.task import Task, Work
from streams.work import StatefulWork, Tools

log = structlog.get_logger("trueup.worker")


class Tasks:
    """Every task that this worker runs now."""

    def __init__(
        self,
        tools: Tools,
        resolver_settings: ResolverSettings,
        sink: Sink,
        step_records_max: int,
        agents: Sequence[AgentRow] = AGENTS,
        forecasts: PostgresWriter | None = None,
    ) -> None:
        self.tools = tools
        self._resolver_settings = resolver_settings
        self._sink = sink
        self._forecasts = forecasts
        self._step_records_max = step_records_max
        self.agents = agents
        self._logical = {name: topic for topic, name in tools.names.items()}
        self._tasks: dict[tuple[str, int], Task] = {}
        self._kept: dict[tuple[str, int], Work] = {}
        self.is_assigned = False

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    @property
    def is_ready(self) -> bool:
        """Whether the group has assigned partitions and every task has restored."""
        return self.is_assigned and all(t.state == "running" for t in self._tasks.values())

    @property
    def policy(self) -> Policy:
        """The rules of its tasks."""
        return self._resolver_settings.policy

    @property
    def longest_ms(self) -> int:
        """The longest wait from an action to its settle time, grace included."""
        settings = self._resolver_settings
        return settings.policy.settle_after_ms_max + max(settings.grace_ms.values())

    def accept(self, row: AgentRow, topic: str, partition: int, batch: Batch) -> None:
        """Hands a batch to its task; without one it was fetched before a rebalance."""
        task = self._tasks.get((row.name, partition))
        if task is not None:
            task.accept(self._logical[topic], batch)

    def open(self, assigned: set[TP], consumer: BatchConsumer) -> None:
        """Opens a task for each agent and partition number that is assigned in all its topics."""
        for row in self.agents:
            names = [self.tools.names[topic.name] for topic in row.reads]
            numbers = [{tp.partition for tp in assigned if tp.topic == name} for name in names]
            known = set(range(self.tools.partition_count))
            if any(number & known != numbers[0] & known for number in numbers):
                raise AssertionError(f"{row.name}: its topics are not co-partitioned: {numbers}")
            # A partition that was added has a task too: it refuses, for all to see.
            for partition in sorted(set().union(*numbers)):
                work = self._kept.pop((row.name, partition), None) or self._work_of(row, partition)
                task = Task(
                    row,
                    partition,
                    work,
                    consumer,
                    self.tools.names,
                    self._step_records_max,
                    self.tools.large_steps if isinstance(work, StatefulWork) else None,
                )
                if isinstance(work, ResolverWork):
                    work.task = task
                self._tasks[row.name, partition] = task
                task.start()
        for work in self._kept.values():
            if isinstance(work, StatefulWork):
                work.drop_state()
        self._kept.clear()
        self.is_assigned = True
        log.info("tasks_assigned", count=len(self._tasks))

    async def close(self) -> None:
        """Closes every task: the open steps end first.

        The group revokes everything when anyone joins or leaves, and mostly gives it back: works
        are kept until then, and decide themselves whether their state still stands.
        """
        self.is_assigned = False
        closing = list(self._tasks.values())
        self._kept = {at: task.work for at, task in self._tasks.items()}
        self._tasks.clear()
        await asyncio.gather(*(task.close() for task in closing))
        log.info("tasks_closed", count=len(closing))

    def _work_of(self, row: AgentRow, partition: int) -> Work:
        makers: dict[str, Callable[[], Work]] = {
            RESOLVER.name: lambda: ResolverWork(partition, self.tools, self._resolver_settings),
            CALIBRATOR.name: lambda: CalibratorWork(partition, self.tools, self.policy),
        }
        make = makers.get(row.name, lambda: self._publisher_of(partition))
        return make()

    def _publisher_of(self, partition: int) -> PublisherWork:
        writer = self._forecasts
        foretell = partial(Foretelling, partition, self.tools, writer) if writer else None
        return PublisherWork(partition, self.tools, self._sink, foretell)

"""What stateful works share: a transactional producer, a changelog, and the way they open.

Opening is always the same: fence the last owner, then read the changelog to its last stable
offset, then take the applied offsets from it. The group's committed offsets only mirror them; where
the two disagree somebody lost a changelog or reset a group, and the task refuses with what to do.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord

from agents_topics.connection import Connection
from agents_topics.roster import GROUP, AgentRow
from agents_topics.topics import TOPICS
from streams import changelog
from streams.broker import Broker
from streams.changelog import (
    BEGIN_ANEW,
    PROGRESS_KEY,
    REBUILD,
    Progress,
    StateProblem,
    progress_of,
)
from streams.clients import Clients, KafkaClients
from streams.garbage import leave_alone
from streams.settings import Settings
from streams.task import Busy
from streams.transactions import Out, Outputs, TaskProducer, TransactionBudget

RESTORE_TURN_BYTES = 50_000
"""Of rows, built at a stretch: a few milliseconds, however many ids a row holds. A transaction of
another task takes dozens of the loop's turns, each behind one of these.
"""
PARTITIONS_ADDED = (
    "partitions were added, and keys are elsewhere now than their state; an installation of so "
    "many has a TRUEUP_PREFIX of its own (docs/operations/partitions.md)"
)
SUCCESSOR_S = 2.0
"""By then all markers are written, and the group has said whose the partition is."""

Offsets = Mapping[tuple[str, int], int]


@dataclass(slots=True)
class Tools:
    """What a worker lends to all of its tasks. `names` are the topics' names on the broker."""

    clients: Clients
    group: str
    names: dict[str, str]
    partition_count: int
    broker: Broker
    budget: TransactionBudget
    transactions: dict[str, int]
    """Transactions of this worker by result."""
    restores: dict[tuple[str, int], int]
    """How often a state was read from its changelog, by Faust agent and partition."""
    restoring: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One task after the other: the first ones work while the last ones wait, the rows of one alone
    are in memory beside its state, and of the loop's turns one is a restore's, not one a task.
    """
    large_steps: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One large step after the other, of all tasks that are far behind."""
    foretelling: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One stream after the other: a day ends for all of them at once."""
    days_kept: int = 100_000
    """Of each stream so many days of settle times are kept by the day."""


def tools_of(connection: Connection, settings: Settings) -> Tools:
    """An installation's tools; nothing is connected before its broker is started."""
    clients = KafkaClients(connection)
    return Tools(
        clients=clients,
        group=connection.topic(GROUP),
        names={topic.name: connection.topic(topic.name) for topic in TOPICS},
        partition_count=settings.partitions,
        broker=Broker(clients),
        budget=TransactionBudget(settings.transactions_per_s),
        transactions={},
        restores={},
        days_kept=settings.days_kept,
    )


class StatefulWork:
    """Owns a partition's state, its changelog partition and its transactional id."""

    def __init__(self, row: AgentRow, partition: int, tools: Tools) -> None:
        assert row.changelog
        self.name = f"{row.name}-{partition}"
        self.row = row
        self.partition = partition
        self.tools = tools
        self.offsets: dict[str, int] = {}
        self.begins = 0
        self.was_kept = False
        self.changelog_name = tools.names[row.changelog.name]
        self._producer: TaskProducer | None = None
        self._changelog_end: int | None = None
        """Where the changelog ended when the state was last as it says; None if it may not be."""

    def begin(self, progress: Progress | None) -> None:
        """Begins with an empty state and what the changelog's progress says."""
        raise NotImplementedError

    def restore_row(self, key: bytes, row: Any) -> None:
        """Takes back one of the changelog's rows."""
        raise NotImplementedError

    def drop_state(self) -> None:
        """Lets a state go that nobody will use; opens the circles in it, if there are any."""

    async def open(self) -> dict[str, int]:
        """Fences, restores; returns the applied offsets.

        A state that was kept through a rebalance is taken up again where nobody else has written to
        the changelog since.
        """
        tools = self.tools
        check_partition(self.name, self.partition, tools)
        transactional_id = f"{self.row.transactional_ids}{self.partition}"
        self._producer = TaskProducer(tools.clients, transactional_id, tools.group)
        await self._producer.open()
        if self._changelog_end is not None:
            ends = await tools.broker.ends([self.changelog_name], self.partition)
            if ends[self.changelog_name] == self._changelog_end:
                await self._check_offsets(self._changelog_end)
                self.was_kept = True
                return dict(self.offsets)
        self._changelog_end, self.was_kept = None, False
        async with tools.restoring:
            rows, end = await self.read()
            await self._restore(rows)
        self._changelog_end = end
        at = (self.row.name, self.partition)
        tools.restores[at] = tools.restores.get(at, 0) + 1
        return dict(self.offsets)

    async def read(self) -> tuple[dict[bytes, bytes], int]:
        """The changelog's rows, to be restored, and its end, once they and the offsets were found
        to belong together; writes nothing and fences nobody.

        Raises:
            StateProblem: they do not.
            Busy: another worker writes.
        """
        rows, end = await self.tools.broker.changelog(self.changelog_name, self.partition)
        value = rows.pop(PROGRESS_KEY, None)
        progress = None if value is None else progress_of(value, self.name)
        await self._check_changelog(progress, rows, end)
        names = [topic.name for topic in self.row.reads]
        self.offsets = {name: progress.offsets.get(name, 0) if progress else 0 for name in names}
        await self._check_offsets(end)
        self.begins = progress.begins if progress else 0
        self.begin(progress)
        return rows, end

    async def _restore(self, rows: dict[bytes, bytes]) -> None:
        """All rows, each let go once it is taken; the event loop has its turns in between."""
        while rows:
            left_bytes = RESTORE_TURN_BYTES
            while rows and left_bytes > 0:
                key, value = rows.popitem()
                self.restore_row(key, changelog.decode(value))
                left_bytes -= len(value)
            if left_bytes <= 0:
                leave_alone()
            await asyncio.sleep(0)

    async def _check_changelog(
        self, progress: Progress | None, rows: Mapping[bytes, bytes], end: int
    ) -> None:
        """It is whole, and of so many partitions; an empty one is that of a task without a past."""
        broker, name = self.tools.broker, self.changelog_name
        start = (await broker.starts([name], self.partition))[name]
        if start > (progress.begins if progress else 0):
            raise StateProblem(
                f"{self.name}: its changelog {name} begins at offset {start}: rows were deleted; "
                f"{REBUILD}",
                is_lost=True,
            )
        if progress is not None:
            if progress.partitions not in (None, self.tools.partition_count):
                raise StateProblem(
                    f"{self.name}: its state was made for {progress.partitions} partitions, "
                    f"TRUEUP_PARTITIONS is {self.tools.partition_count}: {PARTITIONS_ADDED}"
                )
            return
        if rows:
            raise StateProblem(
                f"{self.name}: its changelog {name} has rows but no progress; {REBUILD}",
                is_lost=True,
            )
        said = self.tools.names[self.row.writes[0].name]
        if await broker.has_records(said, self.partition):
            await self._check_alone(end)
            raise StateProblem(
                f"{self.name}: its changelog {name} is empty, and {said} has what it once wrote: "
                f"the changelog was lost; {REBUILD}",
                is_lost=True,
            )

    async def _check_offsets(self, changelog_end: int) -> None:
        names = self.tools.names
        starts = await check_logs(
            self.name, self.offsets, self.partition, self.tools, has_state=changelog_end > 0
        )
        committed = await self.tools.broker.committed(self.tools.group)
        for topic, applied in self.offsets.items():
            self.offsets[topic] = max(applied, starts[topic])
            where = f"{self.name}: {topic}"
            offset = committed.get((names[topic], self.partition))
            if offset is None or offset == applied:
                continue
            await self._check_alone(changelog_end, committed)
            if offset > applied:
                raise StateProblem(
                    f"{where}: the group has {offset} but the changelog only {applied}: the "
                    f"changelog was lost or cut; {REBUILD}",
                    is_lost=True,
                )
            raise StateProblem(
                f"{where}: the group was set back to {offset}, the state has {applied}: state and "
                "offsets belong together; stop every worker, then `kafka-consumer-groups --group "
                f"{self.tools.group} --topic {names[topic]}:{self.partition} --reset-offsets "
                f"--to-offset {applied} --execute`; or `trueup reset` begins anew from the inputs"
            )

    async def _check_alone(self, changelog_end: int, committed: Offsets | None = None) -> None:
        """What was read is all that was written: nobody has taken over since.

        A worker that was stopped while it opened sees its successor's offsets before the changelog
        that goes with them, or after it, because a transaction's markers come one by one.
        """
        await asyncio.sleep(SUCCESSOR_S)
        broker = self.tools.broker
        ends = await broker.ends([self.changelog_name], self.partition)
        is_moved = ends[self.changelog_name] != changelog_end
        if is_moved or committed not in (None, await broker.committed(self.tools.group)):
            raise Busy("another worker has written to its changelog", SUCCESSOR_S)

    async def transact(self, outputs: Outputs) -> int:
        """Writes a step in one transaction; returns the broker's time of it."""
        assert self._producer
        offsets = {
            (self.tools.names[topic], self.partition): offset
            for topic, offset in self.offsets.items()
            if offset
        }
        if self._producer.is_worn_out:
            raise Busy("its producer's sequence numbers end: a new one follows", 0)
        await self.tools.budget.take()
        counted = self.tools.transactions
        self._changelog_end = None
        try:
            committed = await self._producer.commit(outputs, offsets)
        except BaseException:
            counted["unknown"] = counted.get("unknown", 0) + 1
            raise
        counted["committed"] = counted.get("committed", 0) + 1
        self._changelog_end = committed.ends.get((self.changelog_name, self.partition))
        return committed.broker_ms

    async def close(self, is_clean: bool) -> None:
        """Lets the producer go; the state stays for the next `open` if no step was cut short."""
        if not is_clean:
            self._changelog_end = None
        if self._producer:
            producer, self._producer = self._producer, None
            await producer.close()


def check_partition(name: str, partition: int, tools: Tools) -> None:
    """A partition that was added while the worker runs is nobody's.

    Raises:
        StateProblem: it is one.
    """
    if partition >= tools.partition_count:
        raise StateProblem(
            f"{name}: TRUEUP_PARTITIONS is {tools.partition_count}: {PARTITIONS_ADDED}"
        )


async def check_logs(
    name: str, applied: Mapping[str, int], partition: int, tools: Tools, *, has_state: bool
) -> dict[str, int]:
    """Where each topic's log begins, once every applied offset was found to lie within its log.

    A consumer that is sent outside a log goes on elsewhere without a word.

    Raises:
        StateProblem: one does not: records are gone, or the topic is another one.
    """
    names = [tools.names[topic] for topic in applied]
    starts = await tools.broker.starts(names, partition)
    ends = await tools.broker.ends(names, partition)
    for topic, offset in applied.items():
        start, end = starts[tools.names[topic]], ends[tools.names[topic]]
        if offset < start and (offset or has_state):
            raise StateProblem(
                f"{name}: {topic}: offsets {offset} to {start - 1} were deleted before they were "
                "applied: keep them longer (`kafka-configs --entity-type topics --entity-name "
                f"{tools.names[topic]} --alter --add-config retention.ms=-1`), then {BEGIN_ANEW} "
                "that are left"
            )
        if offset > end:
            raise StateProblem(
                f"{name}: {topic}: offset {offset} was to follow but the log ends at {end}: the "
                "topic was made anew or cut, or this state belongs to another installation; give "
                f"the topic back, or {BEGIN_ANEW}"
            )
    return {topic: starts[tools.names[topic]] for topic in applied}


def row_outs(changes: Mapping[bytes, Any], progress: Progress) -> list[Out]:
    """The changelog records of a step: its rows, and the progress that goes with them."""
    outs = [
        Out(key, None if row is None else changelog.encode(row)) for key, row in changes.items()
    ]
    outs.append(Out(PROGRESS_KEY, changelog.encode(progress)))
    return outs


def first_queued(queued: Mapping[str, Sequence[ConsumerRecord]]) -> str:
    """The choice of a work whose topics need no order among them."""
    return next(iter(queued))

"""What stateful works share: a transactional producer, a changelog, and the way they open.

Opening is always the same: fence the last owner, then read the changelog to its last stable
offset, then take the applied offsets from it. The group's committed offsets only mirror them; where
the two disagree somebody lost a changelog or reset a group, and the task refuses with what to do.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord

from agents_topics.roster import AgentRow
from streams import changelog
from streams.broker import Broker
from streams.changelog import PROGRESS_KEY, Progress, StateProblem, progress_of
from streams.clients import Clients
from streams.task import Busy
from streams.transactions import Out, Outputs, TaskProducer, TransactionBudget

RESTORE_TURN_ROWS = 2_000
SUCCESSOR_S = 2.0
"""By then the group has said whose the partition is."""


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


class StatefulWork:
    """Owns a partition's state, its changelog partition and its transactional id."""

    def __init__(self, row: AgentRow, partition: int, tools: Tools) -> None:
        assert row.changelog
        self.name = f"{row.name}-{partition}"
        self.row = row
        self.partition = partition
        self.tools = tools
        self.offsets: dict[str, int] = {}
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

    async def open(self) -> dict[str, int]:
        """Fences, restores; returns the applied offsets.

        A state that was kept through a rebalance is taken up again where nobody else has written to
        the changelog since.
        """
        tools = self.tools
        if self.partition >= tools.partition_count:
            raise StateProblem(
                f"{self.name}: TRUEUP_PARTITIONS is {tools.partition_count}: partitions were "
                "added, and keys are elsewhere now than their state; begin anew (docs/operations)"
            )
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
        rows, end = await tools.broker.changelog(self.changelog_name, self.partition)
        value = rows.pop(PROGRESS_KEY, None)
        if value is None and rows:
            raise StateProblem(f"{self.name}: its changelog has rows but no progress: rebuild it")
        progress = None if value is None else progress_of(value, self.name)
        names = [topic.name for topic in self.row.reads]
        self.offsets = {name: progress.offsets.get(name, 0) if progress else 0 for name in names}
        await self._check_offsets(end)
        self.begin(progress)
        await self._restore(rows)
        self._changelog_end = end
        return dict(self.offsets)

    async def _restore(self, rows: dict[bytes, bytes]) -> None:
        """All rows, each let go once it is taken; the event loop has its turns in between."""
        while rows:
            for _ in range(min(RESTORE_TURN_ROWS, len(rows))):
                key, value = rows.popitem()
                self.restore_row(key, changelog.decode(value))
            await asyncio.sleep(0)

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
            await self._check_alone(changelog_end)
            if offset > applied:
                raise StateProblem(
                    f"{where}: the group has {offset} but the changelog only {applied}: the "
                    "changelog was lost or cut; begin anew (docs/operations)"
                )
            raise StateProblem(
                f"{where}: the group was set back to {offset}, the state has {applied}: state and "
                f"offsets belong together; set group {self.tools.group} to {applied} again, or "
                "begin anew (docs/operations)"
            )

    async def _check_alone(self, changelog_end: int) -> None:
        """What was read of the changelog is all of it: nobody has taken over since.

        A worker that was stopped while it opened sees the offsets of its successor.
        """
        ends = await self.tools.broker.ends([self.changelog_name], self.partition)
        if ends[self.changelog_name] != changelog_end:
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
                "applied: raise the topic's retention; what is left begins anew (docs/operations)"
            )
        if offset > end:
            raise StateProblem(
                f"{name}: {topic}: offset {offset} was to follow but the log ends at {end}: the "
                "topic was made anew or cut, or this state belongs to another installation; give "
                "the topic back, or begin anew (docs/operations)"
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

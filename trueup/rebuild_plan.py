"""What a rebuild meets: which tasks have lost their changelog, and how far each had come.

A task's own check says what is lost, in its own words, so that a rebuild mends what a worker
refuses and nothing else. How far it had come is what its last transaction said: in the progress
that is left of the changelog, and in the offsets of the group, which stand in the same transaction.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from agents_topics.connection import Connection
from agents_topics.policy_file import load_policy
from agents_topics.rights import rights_of
from agents_topics.roster import CALIBRATOR, RESOLVER, AgentRow
from agents_topics.topics import DEAD_LETTERS, FORGOTTEN, LATE_EVENTS, TOPICS, Topic
from streams.broker import Broker
from streams.calibrate import CalibratorWork
from streams.changelog import BEGIN_ANEW, PROGRESS_KEY, Progress, StateProblem, progress_of
from streams.resolve_outcomes import ResolverSettings, ResolverWork
from streams.rights import Denied, lacking_by
from streams.settings import Settings
from streams.task import Busy
from streams.work import StatefulWork, Tools, tools_of
from trueup.broker_view import administering
from trueup.reset import refuse_while_alive

TASKS = (RESOLVER, CALIBRATOR)
"""Agents with a changelog."""


class RebuildRefused(Exception):
    """A rebuild would not be exact, or would write what a worker owns: says why and what to do."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a task's changelog still holds: keys, and the progress if this release reads it."""

    keys: Sequence[bytes] = ()
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """A task whose changelog is lost; `noted` is its last progress, where that is left."""

    row: AgentRow
    partition: int
    reason: str
    applied: Mapping[str, int]
    noted: Progress | None
    keys: Sequence[bytes]

    @property
    def name(self) -> str:
        """The task's."""
        return f"{self.row.name}-{self.partition}"

    @property
    def changelog(self) -> Topic:
        """Its changelog."""
        assert self.row.changelog
        return self.row.changelog


@dataclass(frozen=True, slots=True)
class Found:
    """What there is: tasks to rebuild, changelogs to make anew, and what else tasks refuse."""

    lost: Sequence[Lost]
    to_make: Sequence[Topic]
    others: Sequence[str]
    replicas: int


@dataclass(slots=True)
class Site:
    """An installation as a rebuild sees it."""

    connection: Connection
    settings: Settings
    tools: Tools
    admin: AIOKafkaAdminClient
    counts: dict[str, int] = field(default_factory=dict)
    """Of topics that are there, how many partitions each has."""

    @property
    def broker(self) -> Broker:
        """Who answers for logs and offsets."""
        return self.tools.broker

    @property
    def partitions(self) -> int:
        """How many tasks each agent has."""
        return self.settings.partitions

    def topic(self, topic: Topic) -> str:
        """Its name on the broker."""
        return self.connection.topic(topic.name)

    def works(self) -> Iterator[StatefulWork]:
        """Every task with a state."""
        policy = load_policy(self.settings.policy)
        settings = ResolverSettings(policy, self.settings.grace_ms, self.settings.idle_after_ms)
        for partition in range(self.partitions):
            yield ResolverWork(partition, self.tools, settings)
            yield CalibratorWork(partition, self.tools, policy)


@asynccontextmanager
async def site_of(connection: Connection, settings: Settings) -> AsyncIterator[Site]:
    """The installation, as long as the block lasts.

    Raises:
        EnvironmentProblem: no broker answers.
    """
    tools = tools_of(connection, settings)
    async with administering(connection) as admin:
        await tools.broker.start()
        try:
            yield Site(connection, settings, tools, admin)
        finally:
            await tools.broker.stop()


async def examine(site: Site) -> Found:
    """What is lost; changes nothing.

    Raises:
        Denied: this user may not do what a rebuild does.
        EnvironmentProblem: a worker is at work.
        RebuildRefused: something lacks without which no state can be made again.
    """
    needed = rights_of("rebuild", site.connection.prefix)
    if lacks := await lacking_by(site.admin, site.connection, needed):
        raise Denied(lacks)
    await refuse_while_alive(site.admin, site.connection)
    to_make, replicas = await _look_at_topics(site)
    asked = [_reason(site, work, to_make) for work in site.works()]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    lost = [one for one in answers if isinstance(one, Lost)]
    others = [one for one in answers if isinstance(one, str)]
    return Found(lost, to_make, others, replicas)


async def _look_at_topics(site: Site) -> tuple[list[Topic], int]:
    """Changelogs that are not there, or not in this number; and how many replicas topics have."""
    there = set(await site.admin.list_topics())
    told = await site.admin.describe_topics([n for n in map(site.topic, TOPICS) if n in there])
    site.counts = {found["topic"]: len(found["partitions"]) for found in told}
    replicas = [len(p["replicas"]) for found in told for p in found["partitions"]]
    changelogs = [row.changelog for row in TASKS if row.changelog]
    for topic in TOPICS:
        count = site.counts.get(site.topic(topic), 0)
        if topic.is_needed and topic not in changelogs and count != site.partitions:
            what = f"has {count} partitions" if count else "is not on the broker"
            raise RebuildRefused(
                f"The topic {site.topic(topic)} {what}, TRUEUP_PARTITIONS is {site.partitions}: "
                "only a changelog can be made again."
            )
    wrong = [topic for topic in changelogs if site.counts.get(site.topic(topic)) != site.partitions]
    return wrong, min(replicas)


async def _reason(site: Site, work: StatefulWork, to_make: Sequence[Topic]) -> Lost | str | None:
    """What a worker would refuse of a task, lost or not; None if it would go on."""
    changelog = work.row.changelog
    assert changelog
    if changelog in to_make:
        if not await _has_past(site, work):
            return None
        count = site.counts.get(site.topic(changelog))
        what = "is not on the broker" if count is None else f"has {count} partitions"
        return await _lost(site, work, f"{work.name}: its changelog {site.topic(changelog)} {what}")
    try:
        await work.read()
    except StateProblem as problem:
        return await _lost(site, work, str(problem)) if problem.is_lost else str(problem)
    except Busy as problem:
        raise RebuildRefused(f"{work.name}: {problem}: stop every worker.") from None
    return None


async def _has_past(site: Site, work: StatefulWork) -> bool:
    """Whether the task has applied or said a thing."""
    committed = await site.broker.committed(site.tools.group)
    if any((site.topic(topic), work.partition) in committed for topic in work.row.reads):
        return True
    return await site.broker.has_records(site.topic(work.row.writes[0]), work.partition)


async def _lost(site: Site, work: StatefulWork, reason: str) -> Lost:
    left = await _left(site, work)
    committed = await site.broker.committed(site.tools.group)
    group = {
        topic.name: committed[site.topic(topic), work.partition]
        for topic in work.row.reads
        if (site.topic(topic), work.partition) in committed
    }
    applied, is_noted = applied_of(work.name, work.row, group, left.progress)
    await _check_logs(site, work, applied)
    noted = left.progress if is_noted else None
    return Lost(work.row, work.partition, reason, applied, noted, left.keys)


async def _left(site: Site, work: StatefulWork) -> Left:
    if work.partition >= site.counts.get(work.changelog_name, 0):
        return Left()
    rows, _ = await site.broker.changelog(work.changelog_name, work.partition)
    value = rows.pop(PROGRESS_KEY, None)
    try:
        progress = None if value is None else progress_of(value, work.name)
    except StateProblem:
        progress = None
    return Left(list(rows), progress)


def applied_of(
    name: str, row: AgentRow, group: Mapping[str, int], progress: Progress | None
) -> tuple[dict[str, int], bool]:
    """How far a task had come, and whether that is where its progress stands.

    Raises:
        RebuildRefused: nobody knows, or the group was set back.
    """
    topics = [topic.name for topic in row.reads]
    noted = {topic: progress.offsets.get(topic, 0) for topic in topics} if progress else None
    if not group and noted is None:
        raise RebuildRefused(
            f"{name}: neither its changelog nor the group's offsets tell how far it had come, so "
            f"what it had said already cannot be told from what it had not: {BEGIN_ANEW}"
        )
    if noted is None:
        return {topic: group.get(topic, 0) for topic in topics}, False
    for topic, offset in group.items():
        if offset < noted[topic]:
            raise RebuildRefused(
                f"{name}: {topic}: the group was set back to {offset}, the state had "
                f"{noted[topic]}: set it to {noted[topic]} first (`kafka-consumer-groups "
                "--reset-offsets --to-offset`)"
            )
    applied = noted | dict(group)
    return applied, applied == noted


async def _check_logs(site: Site, work: StatefulWork, applied: Mapping[str, int]) -> None:
    """Everything that the task has read, and what it has decided once, is there from the start."""
    kept = (LATE_EVENTS, DEAD_LETTERS, FORGOTTEN) if work.row is RESOLVER else ()
    names = [site.topic(topic) for topic in (*work.row.reads, *kept)]
    starts = await site.broker.starts(names, work.partition)
    ends = await site.broker.ends(names, work.partition)
    for name, start in starts.items():
        if start:
            raise RebuildRefused(
                f"{work.name}: {name} begins at offset {start}: what came before is gone, and with "
                f"it what the state was made of: {BEGIN_ANEW} that are left"
            )
    for topic, offset in applied.items():
        end = ends[site.connection.topic(topic)]
        if offset > end:
            raise RebuildRefused(
                f"{work.name}: {topic}: it had come to offset {offset} but the log ends at {end}: "
                f"give the topic back, or {BEGIN_ANEW}"
            )


def in_words(applied: Mapping[str, Any]) -> str:
    """How far, for people.

    >>> in_words({"agent-actions": 1200, "control": 0})
    'agent-actions up to 1,200, control up to 0'
    """
    return ", ".join(f"{topic} up to {offset:,}" for topic, offset in applied.items())

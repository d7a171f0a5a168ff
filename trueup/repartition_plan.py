"""What a repartition copies, what it leaves out, and why it may not be done at all.

An installation may be copied once nobody works on it: no worker, no forget record that waits, no
producer whose transaction is open. The end of each input is read before anything else is, so that
what is written meanwhile is seen at the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient

from agents_topics.codec import decode_control
from agents_topics.connection import Connection
from agents_topics.events import ControlOverride, Forgotten
from agents_topics.rights import rights_of
from agents_topics.roster import GROUP
from agents_topics.topics import (
    AGENT_FEEDBACK,
    CONTROL,
    DEAD_LETTERS,
    FORGOTTEN,
    LATE_EVENTS,
    TOPICS,
)
from streams.changelog import REBUILD, Progress
from streams.rights import Denied, lacking_by
from tables.replay import Source
from tables.stream_times import NEVER_MS
from trueup.broker_view import administering, reading
from trueup.half_copies import RepartitionRefused, copied_so_far, holding
from trueup.replay_plan import JOINED, forgotten_here, progress_here, refused_here
from trueup.reset import refuse_while_alive
from trueup.standing_decisions import commands_of
from trueup.stream_replay import recorded_decisions
from trueup.topic_reader import TopicReader

LEDGERS = (LATE_EVENTS.name, DEAD_LETTERS.name, FORGOTTEN.name)
"""What they have said of a record is not said again."""

_GO_ON = (
    "if nobody has written to the old inputs since, go on with TRUEUP_PREFIX={site.new.prefix} "
    "TRUEUP_PARTITIONS={site.partitions} at step 3 of docs/operations/partitions.md"
)

Spans = Mapping[str, Mapping[int, tuple[int, int]]]
"""By topic and partition the first offset and the end."""


@dataclass(frozen=True, slots=True)
class Site:
    """The installation that is copied, the one it becomes, and the grace of both; `is_anew` lets go
    of a copy that was cut short.
    """

    old: Connection
    new: Connection
    partitions: int
    grace_ms: Mapping[str, int]
    is_anew: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What is read and what is known of it.

    Args:
        spans: By input topic and partition the first offset and the end.
        applied: Up to where a task has judged.
        refused: By source and offset why a record was not admitted.
        forgotten: What the tasks have forgotten.
        decisions: How many decisions of people on thresholds and alarms there are.
        again: The commands that say again what of these still stands.
        to_delete: Topics of a copy that was cut short.
        until_ms: The least time that a topic of a task has come to; None where one has no time.
    """

    spans: Spans
    applied: Mapping[Source, int]
    refused: Mapping[Source, Mapping[int, str]]
    forgotten: Sequence[Forgotten]
    decisions: int
    again: Sequence[str]
    to_delete: Sequence[str]
    until_ms: int | None


async def plan_of(site: Site) -> Plan:
    """The plan, once nothing speaks against it; changes nothing.

    Raises:
        RepartitionRefused: the copy would not be exact, or would mix with something.
        EnvironmentProblem: a worker is at work, or a topic is missing.
        Denied: its user may not read here, or not write there.
    """
    if site.old.prefix == site.new.prefix:
        raise RepartitionRefused("--to names the prefix in force: a new one is another.")
    async with administering(site.old) as admin:
        await _check_rights(site, admin)
        await refuse_while_alive(admin, site.old)
        await refuse_while_alive(admin, site.new)
        there = set(await admin.list_topics())
        to_delete = await _check_new(site, admin, there)
    async with TopicReader(site.old) as reader:
        has_feedback = site.old.topic(AGENT_FEEDBACK.name) in there
        topics = (*JOINED, *((AGENT_FEEDBACK.name,) if has_feedback else ()))
        spans = {topic: await reader.spans(topic) for topic in topics}
        await check_quiet(site, spans)
        await _check_beginnings(site, reader, spans)
        progress = await progress_here(reader)
        await _check_tasks(site, reader, progress)
        applied = {(t, p): n.offsets.get(t, 0) for p, n in progress.items() for t in JOINED}
        refused, forgotten = await refused_here(reader), await forgotten_here(reader)
        decisions = await _decisions(reader)
        again = commands_of(await recorded_decisions(reader))
    until_ms = until_ms_of(progress)
    return Plan(spans, applied, refused, forgotten, decisions, again, to_delete, until_ms)


def until_ms_of(progress: Mapping[int, Progress]) -> int | None:
    """The least time that a topic has come to in a task; a task that has seen nothing has none."""
    times = [
        max(log_ms, pushed_ms)
        for note in progress.values()
        if note.first_ms not in (None, NEVER_MS)
        for log_ms, pushed_ms, *_ in note.times.values()
    ]
    least_ms = min(times, default=NEVER_MS)
    return least_ms if least_ms > NEVER_MS else None


async def _check_rights(site: Site, admin: AIOKafkaAdminClient) -> None:
    for connection, command in ((site.old, "repartition"), (site.new, "repartitioned")):
        if lacks := await lacking_by(admin, connection, rights_of(command, connection.prefix)):
            raise Denied(lacks)


async def _decisions(reader: TopicReader) -> int:
    """Each stands in every partition."""
    spans = await reader.spans(CONTROL.name, [0])
    found = [decode_control(record.value) async for record in reader.records(CONTROL.name, spans)]
    return sum(isinstance(one, ControlOverride) for one in found)


async def _check_new(site: Site, admin: AIOKafkaAdminClient, there: set[str]) -> list[str]:
    """What stands under the new prefix is empty and has the right count, or is a copy that was cut
    short and may go: its topics.
    """
    names = {site.new.topic(topic.name): topic.name for topic in TOPICS}
    found = sorted(names.keys() & there)
    counts = {
        told["topic"]: len(told["partitions"])
        for told in (await admin.describe_topics(found) if found else ())
    }
    wrong = {name for name, count in counts.items() if count != site.partitions}
    async with TopicReader(site.new) as reader:
        holds = await holding(reader, [names[name] for name in found])
        copied = await copied_so_far(reader, {names[name] for name in found}, holds)
    filled = {site.new.topic(topic) for topic in holds}
    if not wrong | filled:
        return []
    if copied == "half" and site.is_anew:
        return found
    told = f"delete them: {', '.join(sorted(wrong | filled))}."
    if copied == "half":
        told = f"run it again with --anew, which deletes them first: {', '.join(found)}."
    if copied == "whole" and not wrong:
        told += f" The copy is whole, and no worker has begun on it: {_GO_ON.format(site=site)}."
    what = "of a copy that was cut short" if copied == "half" else "and that are no half of a copy"
    raise RepartitionRefused(
        f"Under the prefix {site.new.prefix} there are topics that hold something or have another "
        f"count than {site.partitions}, {what}. Take another prefix, or {told}"
    )


async def check_quiet(site: Site, spans: Spans) -> None:
    """The inputs end where they ended, and no producer's transaction is open there.

    Raises:
        RepartitionRefused: somebody writes.
    """
    ends = {(t, p): end for t, of in spans.items() for p, (_, end) in of.items()}
    async with reading(site.old, "read_uncommitted") as every:
        _, found = await every.edges(ends)
    if moved := [f"{topic}[{p}]" for (topic, p), end in found.items() if end != ends[topic, p]]:
        raise RepartitionRefused(
            f"Producers write to {', '.join(moved)}, or a transaction of theirs is open (`trueup "
            "status` names it), and a copy would lack that: stop them and run it again, "
            f"with --anew if a copy was begun under {site.new.prefix}."
        )


async def _check_beginnings(site: Site, reader: TopicReader, spans: Spans) -> None:
    ledgers = {topic: await reader.spans(topic) for topic in LEDGERS}
    for topic in (*JOINED, *LEDGERS):
        for partition, (start, _) in {**spans, **ledgers}[topic].items():
            if start:
                raise RepartitionRefused(
                    f"{site.old.topic(topic)}, partition {partition}, begins at offset {start}: "
                    "what came before is gone, so a copy would settle less than there is."
                )


async def _check_tasks(site: Site, reader: TopicReader, progress: Mapping[int, Progress]) -> None:
    """Every task's state says how far it has come, and no control record waits for it."""
    if not progress:
        raise RepartitionRefused(
            "No worker has left a state here, so nothing fixes the number of partitions: delete "
            "the topics and create them anew, or `trueup rebuild` if the changelog was lost."
        )
    for (topic, partition), offset in (await reader.applied(GROUP)).items():
        if topic in JOINED and offset > progress.get(partition, Progress()).offsets.get(topic, 0):
            raise RepartitionRefused(
                f"The group has applied more of {topic}[{partition}] than the changelog knows: "
                f"{REBUILD}."
            )
    ends = await reader.spans(CONTROL.name)
    for partition, note in progress.items():
        _check_grace(site, note)
        last = await reader.after_last(CONTROL.name, partition, ends[partition][1])
        if last > note.offsets.get(CONTROL.name, 0):
            raise RepartitionRefused(
                f"{CONTROL.name}[{partition}] has a record that no task has applied yet: start the "
                "workers, and stop them once `trueup status` shows no lag."
            )


def _check_grace(site: Site, note: Progress) -> None:
    for topic, held_ms in note.grace_ms.items():
        if held_ms != site.grace_ms[topic]:
            raise RepartitionRefused(
                f"The state was made with a grace of {held_ms // 1000} s for {topic}, the setting "
                f"now says {site.grace_ms[topic] // 1000} s: set it back."
            )

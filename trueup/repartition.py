"""`trueup repartition`: what was admitted is copied under another prefix, into other partitions.

The law: every record of an input that no ledger names is copied once, in an order in which none is
late in its new partition (`tables.repartition`); then a clock record lets event time come as far as
every old task had come. What follows is an ordinary worker's work. The old installation is only
read. One changelog's topic is made last of all: without it no worker starts on half a copy.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from agents_topics.codec import Malformed
from agents_topics.events import to_timestamp
from agents_topics.letters import COPIED_FROM, place_of
from agents_topics.rules import FUTURE_MS_MAX
from agents_topics.topics import POLICIES, RESOLVER_CHANGELOG, TOPICS
from streams.fast_decoder import joined_decoders
from streams.partitioner import partitions_of
from streams.policy_log import PARTITION
from streams.topic_admin import create_topics
from tables.forgetting import Forgettings
from tables.repartition import Entry, Merge
from tables.replay import Source
from tables.stream_times import NEVER_MS
from trueup.broker_view import administering
from trueup.emit import Sender, send_clock
from trueup.half_copies import SIZE_MAX, size_of
from trueup.repartition_plan import Plan, Site, check_quiet
from trueup.replay_plan import JOINED, LATE
from trueup.reset import delete_topics
from trueup.topic_reader import TopicReader

FORGOTTEN = "forgotten"


@dataclass(slots=True)
class Counts:
    """How many records were copied by topic, how many of them nobody has judged yet, and how many
    were left out by topic and reason.
    """

    copied: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)


class Sorting:
    """Tells what is copied from what is left out, of each partition in its order."""

    def __init__(self, plan: Plan, site: Site) -> None:
        self.counts = Counts()
        self._plan = plan
        self._grace_ms = site.grace_ms
        self._forgotten = Forgettings(plan.forgotten)
        self._decoders = joined_decoders()

    def entries(self, source: Source, records: Sequence[ConsumerRecord]) -> list[Entry]:
        """Those of the records that are copied."""
        topic, kept = source[0], []
        for record in records:
            found = self._fate(source, record)
            if isinstance(found, str):
                self.counts.left_out[topic, found] += 1
                continue
            self.counts.copied[topic] += 1
            self.counts.waiting[topic] += record.offset >= self._judged(source)
            kept.append(found)
        return kept

    def _judged(self, source: Source) -> int:
        """Up to where a task has judged; nobody judges feedback."""
        return self._plan.applied.get(source, 0 if source[0] in JOINED else 2**63)

    def _fate(self, source: Source, record: ConsumerRecord) -> Entry | str:
        """The entry of a record, or why it is left out."""
        topic, broker_ms = source[0], record.timestamp
        if topic not in JOINED:
            return Entry(broker_ms, broker_ms, record)
        if reason := self._plan.refused.get(source, {}).get(record.offset):
            return reason
        one = self._decoders[topic].decode(record.key, record.value, record.headers)
        if isinstance(one, Malformed):
            return Entry(NEVER_MS, NEVER_MS, record)  # nobody has judged it yet
        if self._forgotten and self._forgotten.is_of_the_past(*source, record.offset, one):
            return FORGOTTEN
        is_waiting, until_ms = record.offset >= self._judged(source), self._plan.until_ms
        if is_waiting and until_ms is not None and one.at_ms + self._grace_ms[topic] <= until_ms:
            return LATE
        if one.at_ms > broker_ms + FUTURE_MS_MAX:
            return Entry(one.at_ms, NEVER_MS, record)
        return Entry(one.at_ms, min(one.at_ms, broker_ms), record)


async def counted_by(site: Site, plan: Plan) -> Counts:
    """What a copy would take over and leave out; changes nothing."""
    sorting = Sorting(plan, site)
    async with TopicReader(site.old) as reader:
        for topic in plan.spans:
            async for _ in _copies(reader, sorting, plan, topic):
                pass
    return sorting.counts


async def repartition(site: Site, plan: Plan, show: Callable[[str], None]) -> Counts:
    """The copy is there, whole, for a worker to start on.

    Raises:
        Denied: its user may not create the topics; nothing was changed.
        RepartitionRefused: producers have written meanwhile.
        EnvironmentProblem, KafkaError: a server is away; begin anew, with `is_anew`.
    """
    sorting = Sorting(plan, site)
    if plan.to_delete:
        async with administering(site.new) as admin:
            await delete_topics(admin, plan.to_delete)
    before = [topic for topic in TOPICS if topic is not RESOLVER_CHANGELOG]
    await create_topics(site.new, site.partitions, topics=before)
    async with TopicReader(site.old) as reader, Sender(site.new) as sender:
        async for record in reader.records(POLICIES.name, await reader.spans(POLICIES.name)):
            await sender.send(POLICIES.name, record.key, record.value, PARTITION, record.headers)
        for topic in plan.spans:
            async for records in _copies(reader, sorting, plan, topic):
                await _send(sender, site, topic, records)
            show(f"copied  {topic}: {sorting.counts.copied[topic]:,} records")
    if plan.until_ms is not None:
        await send_clock(site.new, to_timestamp(plan.until_ms), site.partitions)
    await check_quiet(site, plan.spans)
    await create_topics(site.new, site.partitions, topics=[RESOLVER_CHANGELOG])
    return sorting.counts


async def _copies(
    reader: TopicReader, sorting: Sorting, plan: Plan, topic: str
) -> AsyncIterator[list[ConsumerRecord]]:
    """The records of a topic that are copied, in the order of the copy, many at a time."""
    spans = {(topic, partition): span for partition, span in plan.spans[topic].items()}
    merge, unread = Merge(spans), list(spans)

    def lacking(left: Sequence[Source]) -> Source:
        unread[:] = left
        return next((source for source in left if merge.lacks(source)), left[0])

    async for source, records in reader.pieces(spans, lacking):
        merge.add(source, sorting.entries(source, records))
        yield [entry.record for entry in merge.ready(unread)]
    yield [entry.record for entry in merge.ready(())]


async def _send(sender: Sender, site: Site, topic: str, records: Sequence[ConsumerRecord]) -> None:
    """Each record goes where its key belongs now; without a key nobody can tell, and none asks."""
    partitions = partitions_of([record.key or b"" for record in records], site.partitions)
    for record, partition in zip(records, partitions, strict=True):
        headers = list(record.headers)
        if size_of(record) <= SIZE_MAX:
            place = place_of(record.topic, record.partition, record.offset)
            headers.append((COPIED_FROM, f"{place}/{record.timestamp}".encode()))
        await sender.send(topic, record.key, record.value, partition, headers)

"""`trueup rebuild`: lost changelogs made again from the topics, for a worker to go on exactly.

The law: a task is fenced before it is asked how far it had come, so that nobody comes further
meanwhile. Rows come first and the progress last: a rebuild that is cut short leaves a changelog
that a worker still refuses, and may be run again. Nothing that was said is said twice. A changelog
that must be made anew is deleted once all that it is to hold is known.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from agents_topics.codec import Malformed, decode_control
from agents_topics.events import (
    FORGOTTEN_MARK,
    Clock,
    Forget,
    Forgotten,
    LateEvent,
    Promise,
    to_ms,
)
from agents_topics.policy import Policy
from agents_topics.policy_file import load_policy
from agents_topics.policy_history import changes_of_history
from agents_topics.roster import CALIBRATOR, RESOLVER
from agents_topics.rules import FUTURE_MS_MAX
from agents_topics.topics import (
    CALIBRATION_UPDATES,
    CONTROL,
    DEAD_LETTERS,
    FORGOTTEN,
    LATE_EVENTS,
    OUTCOMES,
    SETTLED_OUTCOMES,
)
from sinks.postgres.calibration_records import emptied_of
from streams import changelog
from streams.calibrate import feed
from streams.calibrate import noted as noted_by_calibrator
from streams.changelog import PROGRESS_KEY, Progress
from streams.fast_decoder import joined_decoders
from streams.policy_log import recorded_policies
from streams.resolve_outcomes import noted as noted_by_resolver
from streams.resolve_outcomes import restore_times
from streams.topic_admin import create_topics
from streams.transactions import Out, TaskProducer
from tables.calibrator_rebuild import CalibratorRebuild
from tables.outcome_record import OutcomeStruct
from tables.outcome_resolver import JOINED
from tables.resolver_rebuild import Recorded, ResolverRebuild, Said
from trueup.letters import letter_of
from trueup.rebuild_plan import Found, Lost, RebuildRefused, Site, examine
from trueup.replay import STEP_RECORDS
from trueup.reset import delete_topics
from trueup.topic_reader import Source, TopicReader

WRITTEN_BYTES = 4 << 20
"""Of rows in a transaction, which must stay below its deadline."""

_decode_forgotten = msgspec.json.Decoder(Forgotten).decode
_decode_late = msgspec.json.Decoder(LateEvent).decode
_decode_outcome = msgspec.json.Decoder(OutcomeStruct).decode
_decode_promise = msgspec.json.Decoder(Promise).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Made:
    """A task's state: its rows and progress, and what it must say that was not said."""

    rows: dict[bytes, Any]
    progress: Progress
    unsaid: list[Out]


async def rebuild(site: Site, found: Found, show: Callable[[str], None]) -> None:
    """What was found lost is there again; `show` hears of each task.

    Raises:
        RebuildRefused: the topics do not give what was lost; its changelog stays as it was.
        KafkaError, TimeoutError: a server is away; run it again.
    """
    policy = load_policy(site.settings.policy)
    await _check_policy(site, policy)
    async with _fenced(site, found.lost) as producers:
        now = await examine(site)
        if {lost.name for lost in now.lost} - producers.keys():
            raise RebuildRefused("More was lost meanwhile: run `trueup rebuild` again.")
        made: list[tuple[Lost, Made]] = []
        async with TopicReader(site.connection) as reader:
            for lost in now.lost:
                made.append((lost, await _made(site, reader, lost, policy)))
                if not now.to_make:
                    await _write(site, producers, made, show)
        await _make_topics(site, now)
        await _write(site, producers, made, show)


async def _check_policy(site: Site, policy: Policy) -> None:
    recorded = await recorded_policies(site.connection)
    if problems := changes_of_history(recorded, policy, int(time.time() * 1000)):
        raise RebuildRefused(
            f"The policy is not the one that records were judged by: {'; '.join(problems)}."
        )


@asynccontextmanager
async def _fenced(site: Site, lost: Sequence[Lost]) -> AsyncIterator[dict[str, TaskProducer]]:
    """By task a producer in whose name nobody else can write any more."""
    async with AsyncExitStack() as undo:
        producers = {}
        for one in lost:
            name = f"{one.row.transactional_ids}{one.partition}"
            producer = TaskProducer(site.tools.clients, name, site.tools.group)
            undo.push_async_callback(producer.close)
            await producer.open()
            producers[one.name] = producer
        yield producers


async def _make_topics(site: Site, found: Found) -> None:
    names = [site.topic(topic) for topic in found.to_make]
    if names:
        await delete_topics(site.admin, names)
        await create_topics(site.connection, site.partitions, found.replicas, found.to_make)


async def _made(site: Site, reader: TopicReader, lost: Lost, policy: Policy) -> Made:
    if lost.row is CALIBRATOR:
        return await _calibrator(site, reader, lost, policy)
    assert lost.row is RESOLVER
    return await _resolver(site, reader, lost, policy)


# ---- the resolver -------------------------------------------------------------------------------


async def _resolver(site: Site, reader: TopicReader, lost: Lost, policy: Policy) -> Made:
    grace_ms, partition = site.settings.grace_ms, lost.partition
    forgotten = await _forgotten(reader, lost)
    recorded = await _recorded(reader, lost, grace_ms, forgotten)
    (first, _) = (await reader.spans(OUTCOMES.name, [partition]))[partition]
    said = await _said(reader, partition)
    again = ResolverRebuild(partition, policy, grace_ms, recorded, said, is_all_said=not first)
    reads = dict.fromkeys(JOINED, 0)
    for entry in forgotten:
        await _take(reader, again, partition, reads, entry.offsets)
        again.forget(entry)
    await _take(reader, again, partition, reads, lost.applied)
    again.end()
    if lost.noted:
        restore_times(again.resolver, lost.noted)
    if problem := again.unlike():
        raise RebuildRefused(
            f"{lost.name}: the topics do not give what was lost: {problem}. Nothing was changed; "
            f"{changelog.BEGIN_ANEW}"
        )
    begins = await _end_of_changelog(site, lost)
    progress = noted_by_resolver(again.resolver, lost.applied, site.partitions, begins)
    return Made(again.rows(), progress, [])


async def _take(
    reader: TopicReader,
    again: ResolverRebuild,
    partition: int,
    reads: dict[str, int],
    ends: Mapping[str, int],
) -> None:
    """The records of the joined topics up to those ends; `reads` is where each goes on."""
    decoders, unfinished = joined_decoders(), 0
    spans = {(topic, partition): (reads[topic], ends.get(topic, 0)) for topic in JOINED}

    def behind(left: Sequence[Source]) -> Source:
        return min(left, key=lambda source: again.seen_ms(source[0]))

    async for (topic, _), records in reader.pieces(spans, behind):
        decode = decoders[topic].decode
        again.take(topic, records, [decode(r.key, r.value, r.headers) for r in records])
        unfinished += len(records)
        if unfinished >= STEP_RECORDS:
            again.finish()
            unfinished = 0
    reads |= {topic: end for (topic, _), (_, end) in spans.items()}


async def _forgotten(reader: TopicReader, lost: Lost) -> list[Forgotten]:
    """What the task has forgotten, in its order: each forget record that it had applied, once."""
    records = _records(reader, FORGOTTEN.name, lost.partition)
    entries = [_decode_forgotten(record.value) async for record in records]
    for entry in entries:
        for topic, offset in entry.offsets.items():
            _check_applied(lost, topic, offset - 1, FORGOTTEN.name)
    return entries


async def _recorded(
    reader: TopicReader, lost: Lost, grace_ms: dict[str, int], forgotten: Sequence[Forgotten]
) -> Recorded:
    """What was decided once; every decision is about a record that was applied."""
    recorded, partition = Recorded(), lost.partition
    graces = dict(lost.noted.grace_ms) if lost.noted else {}
    async for record in _records(reader, LATE_EVENTS.name, partition):
        late = _decode_late(record.value)
        _check_applied(lost, late.topic, late.offset, LATE_EVENTS.name)
        graces.setdefault(late.topic, late.grace_ms)
        recorded.on_late(late)
    for topic, held_ms in graces.items():
        if held_ms != grace_ms[topic]:
            raise RebuildRefused(
                f"{lost.name}: its state was made with a grace of {held_ms // 1000} s for {topic}, "
                f"the setting now says {grace_ms[topic] // 1000} s: set it back"
            )
    async for record in _records(reader, DEAD_LETTERS.name, partition):
        letter = letter_of(record)
        if letter is not None and letter.topic in lost.applied:
            _check_applied(lost, letter.topic, letter.source_offset, DEAD_LETTERS.name)
            source = (letter.topic, letter.source_partition)
            recorded.on_letter(source, letter.source_offset, letter.reason)
    applied = _records(reader, CONTROL.name, partition, lost.applied[CONTROL.name])
    _take_control(lost, recorded, [record async for record in applied], forgotten)
    async for record in _records(reader, SETTLED_OUTCOMES.name, partition):
        if record.key is None and (promise := _decode_promise(record.value)).source == partition:
            recorded.promised_ms = max(recorded.promised_ms, promise.until_ms)
    return recorded


def _take_control(
    lost: Lost, recorded: Recorded, records: Iterable[Any], forgotten: Sequence[Forgotten]
) -> None:
    """Of the records of `control` that were applied those that were not refused."""
    asked = []
    for record in records:
        found = decode_control(record.value)
        if isinstance(found, Malformed):
            continue
        if isinstance(found, Clock):
            until_ms = to_ms(found.until)
            if until_ms <= record.timestamp + FUTURE_MS_MAX:
                recorded.on_clock(until_ms, record.timestamp)
            continue
        recorded.on_control()
        if isinstance(found, Forget):
            asked.append(found.event_id)
    said = [entry.forget_id for entry in forgotten]
    if asked != said:
        raise RebuildRefused(
            f"{lost.name}: {CONTROL.name} asks to forget {len(asked)} times, {FORGOTTEN.name} says "
            f"what went {len(said)} times, or of others: one of the topics was cut or made anew; "
            f"give it back, or {changelog.BEGIN_ANEW}"
        )


def _check_applied(lost: Lost, topic: str, offset: int, where: str) -> None:
    if offset >= lost.applied[topic]:
        raise RebuildRefused(
            f"{lost.name}: {where} knows offset {offset} of {topic}, but it is said to have come "
            f"to {lost.applied[topic]} only: the group was set back; set it to where it had been, "
            f"or {changelog.BEGIN_ANEW}"
        )


async def _said(reader: TopicReader, partition: int) -> Said:
    said = Said()
    async for record in _records(reader, OUTCOMES.name, partition):
        if record.value.startswith(FORGOTTEN_MARK):
            said.on_forgotten(_decode_forgotten(record.value))
        else:
            said.on(_decode_outcome(record.value))
    return said


# ---- the calibrator -----------------------------------------------------------------------------


async def _calibrator(site: Site, reader: TopicReader, lost: Lost, policy: Policy) -> Made:
    again, partition = CalibratorRebuild(site.partitions, policy), lost.partition
    source = (SETTLED_OUTCOMES.name, partition)
    spans = {source: (0, lost.applied[SETTLED_OUTCOMES.name])}
    async for _, records in reader.pieces(spans, lambda left: left[0]):
        feed(again.calibrator, records)
        again.finish()
    again.finish()
    begins = await _end_of_changelog(site, lost)
    progress = noted_by_calibrator(again.calibrator, lost.applied, site.partitions, begins)
    return Made(again.rows, progress, await _unsaid(site, partition, again.updates))


async def _unsaid(site: Site, partition: int, updates: dict[str, Any]) -> list[Out]:
    """Sums that a crash between two steps, or a loss of the topic, has left unsaid."""
    said, _ = await site.broker.changelog(site.topic(CALIBRATION_UPDATES), partition)
    outs = [Out(key.encode(), _encode(update)) for key, update in updates.items()]
    return [out for out in outs if is_unsaid(out, said)]


def is_unsaid(out: Out, said: Mapping[bytes, bytes]) -> bool:
    """Whether readers must be told; of what is gone they need not hear that were never told of it.

    >>> is_unsaid(Out(b"t/a/o/1/s/0", b'{"counts":{"expired":1}}'), {})
    True
    """
    assert out.key and out.value
    before = said.get(out.key)
    return before != out.value and (before is not None or emptied_of(out.value) is None)


# ---- writing ------------------------------------------------------------------------------------


async def _end_of_changelog(site: Site, lost: Lost) -> int:
    """0 for one that is to be made anew."""
    name = site.topic(lost.changelog)
    if site.counts.get(name) != site.partitions:
        return 0
    return (await site.broker.ends([name], lost.partition))[name]


async def _write(
    site: Site,
    producers: Mapping[str, TaskProducer],
    made: list[tuple[Lost, Made]],
    show: Callable[[str], None],
) -> None:
    """What was made is written, and let go."""
    while made:
        lost, one = made.pop()
        await _write_task(site, producers[lost.name], lost, one)
        show(f"made   {lost.name}: {len(one.rows):,} rows")


async def _write_task(site: Site, producer: TaskProducer, lost: Lost, made: Made) -> None:
    name, partition = site.topic(lost.changelog), lost.partition
    left = (Out(key, None) for key in lost.keys if key not in made.rows)
    rows = (Out(key, changelog.encode(row)) for key, row in made.rows.items())
    for outs in _portions(made.unsaid):
        await producer.commit({(site.topic(CALIBRATION_UPDATES), partition): outs}, {})
    for outs in _portions(chain(left, rows)):
        await producer.commit({(name, partition): outs}, {})
    offsets = {(site.connection.topic(t), partition): at for t, at in lost.applied.items() if at}
    last = Out(PROGRESS_KEY, changelog.encode(made.progress))
    await producer.commit({(name, partition): [last]}, offsets)


def _portions(outs: Iterable[Out]) -> Iterator[list[Out]]:
    portion: list[Out] = []
    size = 0
    for out in outs:
        portion.append(out)
        size += len(out.key or b"") + len(out.value or b"")
        if size >= WRITTEN_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


async def _records(
    reader: TopicReader, topic: str, partition: int, end: int | None = None
) -> AsyncIterator[Any]:
    """The records of a partition, up to an offset if one is given."""
    spans = await reader.spans(topic, [partition])
    if end is not None:
        spans = {partition: (spans[partition][0], end)}
    async for record in reader.records(topic, spans):
        yield record

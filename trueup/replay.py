"""`trueup replay`: the shares of a plan through the core into Postgres, by one process or several.

A share is read, settled and written by itself; bins are counted at the end from all the rows.
Nothing is written to Kafka: no changelog, no offsets, no outputs.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from agents_topics.connection import Connection
from agents_topics.events import Outcome
from agents_topics.policy_file import load_policy, policy_text
from sinks.postgres.bulk import IS_LIVE, SETTLED_OFFSET, BulkWriter, open_offset
from sinks.postgres.checksums import Checksum, checksums, shadow_checksum
from sinks.postgres.connect import problems_told
from sinks.postgres.outcome_rows import replayed_row
from sinks.postgres.queries import run_bound
from sinks.postgres.recounting import FIRST_TIME_MS
from sinks.postgres.row_types import Row
from sinks.postgres.settled_rows import LIVE, SHADOW, as_json, entering
from sinks.postgres.shadows import begin_shadow, end_shadow
from streams.fast_decoder import joined_decoders
from streams.foretell import foretell_again
from streams.settings import DAYS_KEPT
from tables.forgetting import Forgettings
from tables.outcome_resolver import Judging
from tables.replay import Replay, Source
from tables.stream_times import NEVER_MS
from trueup.replay_plan import (
    Asked,
    Plan,
    ReplayRefused,
    Share,
    check_policy,
    output_ends,
    plan_of,
    rules_told,
)
from trueup.stream_replay import (
    decided_by_people,
    recorded_decisions,
    replayed_streams,
    standing_of,
)
from trueup.topic_reader import TopicReader

STEP_RECORDS = 60_000
TELL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """How shares are replayed, and which of their outcomes are written.

    `since_ms` and `until_ms` are times of actions; what lies outside is read all the same, since it
    bears on what lies inside.
    """

    connection: Connection
    url: str
    policy: Path | None
    grace_ms: dict[str, int]
    judging: Judging = "recorded"
    topics: Mapping[str, str] = field(default_factory=dict)
    shadow: str | None = None
    tenants: frozenset[str] | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    days_kept: int = DAYS_KEPT

    def about(self, written: Mapping[Source, int]) -> dict[str, Any]:
        """What a shadow keeps of how it was judged, what it covers, and what live had said by then:
        by partition of its outputs the offset after the last record.
        """
        return {
            "judging": self.judging,
            "grace_ms": self.grace_ms,
            "topics": dict(self.topics),
            "policy": list(load_policy(self.policy).by_digest),
            "policy_toml": policy_text(self.policy),
            "tenants": None if self.tenants is None else sorted(self.tenants),
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
            "output_ends": {
                f"{self.connection.topic(topic)}/{partition}": end
                for (topic, partition), end in written.items()
            },
        }

    @property
    def is_whole(self) -> bool:
        """Whether no outcome is left out."""
        return self.tenants is None and self.since_ms is None and self.until_ms is None

    def has(self, outcome: Outcome) -> bool:
        """Whether the outcome is to be written."""
        return (
            (self.tenants is None or outcome.tenant_id in self.tenants)
            and (self.since_ms is None or outcome.created_at_ms >= self.since_ms)
            and (self.until_ms is None or outcome.created_at_ms < self.until_ms)
        )


@dataclass(slots=True)
class Replayed:
    """What came of shares: records read, rows changed, outcomes by status, the as-of; and the rows
    of outcomes that are forgotten, for the bins alone.
    """

    records: int = 0
    rows: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    as_of_ms: int | None = None
    forgotten: list[Row] = field(default_factory=list)

    def add(self, other: "Replayed") -> None:
        """Takes in another's; the as-of is the earliest, of those that have one."""
        self.records += other.records
        self.rows += other.rows
        self.outcomes += other.outcomes
        self.forgotten += other.forgotten
        known = [ms for ms in (self.as_of_ms, other.as_of_ms) if ms is not None and ms > NEVER_MS]
        self.as_of_ms = min(known, default=None)


@dataclass(slots=True)
class Progress:
    """How far a replay is: offsets done and to do, and since when."""

    offsets: int
    done: int = 0
    began_s: float = field(default_factory=time.monotonic)

    def in_words(self, now_s: float) -> str:
        """A line for people.

        >>> Progress(offsets=4_000, done=1_000, began_s=10.0).in_words(12.0)
        '1,000 of 4,000 events (25 %), 500/s, 6 s left'
        """
        rate = self.done / max(now_s - self.began_s, 1e-9)
        share = f"{100 * self.done / max(self.offsets, 1):.0f} %"
        left = f", {(self.offsets - self.done) / rate:,.0f} s left" if rate else ""
        return f"{self.done:,} of {self.offsets:,} events ({share}), {rate:,.0f}/s{left}"


Tell = Callable[[int], None]


async def replay_share(job: Job, share: Share, tell: Tell) -> Replayed:
    """A share, from its first record to its rows; `tell` hears how many offsets are done."""
    replay = Replay(
        load_policy(job.policy), job.grace_ms, list(share.spans), share.ledger, job.judging,
        tenants=job.tenants, forgotten=Forgettings(share.forgotten),
    )  # fmt: skip
    decoders = joined_decoders()
    done, unfinished = Replayed(), 0
    names = {(job.topics.get(topic, topic), p): (topic, p) for topic, p in share.spans}
    spans = {name: share.spans[source] for name, source in names.items()}

    def behind(left: Sequence[Source]) -> Source:
        return min(left, key=lambda name: replay.seen_ms(names[name]))

    async with TopicReader(job.connection) as reader, BulkWriter(job.url, job.shadow) as writer:
        async for name, records in reader.pieces(spans, behind):
            source = names[name]
            decode = decoders[source[0]].decode
            replay.take(source, records, [decode(r.key, r.value, r.headers) for r in records])
            done.records += len(records)
            unfinished += len(records)
            if unfinished >= STEP_RECORDS:
                await _write(job, share, writer, replay.finish(), done)
                unfinished = 0
            tell(len(records))
        done.as_of_ms = replay.own_as_of_ms if share.as_of_ms is None else share.as_of_ms
        await _write(job, share, writer, replay.end(done.as_of_ms), done)
        version = open_offset(done.as_of_ms)
        await _write(job, share, writer, replay.open_outcomes(), done, version)
    done.forgotten = [
        replayed_row(o, 0, share.number, SETTLED_OFFSET) for o in replay.counted if job.has(o)
    ]
    tell(share.offsets - done.records)
    return done


async def _write(
    job: Job,
    share: Share,
    writer: BulkWriter,
    outcomes: Iterable[Outcome],
    done: Replayed,
    offset: int = SETTLED_OFFSET,
) -> None:
    def wanted() -> Iterator[Outcome]:
        for outcome in outcomes:
            if job.has(outcome):
                done.outcomes[outcome.status if outcome.is_settled else "open"] += 1
                yield outcome

    done.rows += await writer.write(wanted(), share.number, offset)


async def prepare(job: Job, asked: Asked, live_grace_ms: Mapping[str, int]) -> Plan:
    """What will be read, once nothing speaks against it; a shadow's name is taken.

    Raises:
        ReplayRefused: live has written to the database, or nothing is recorded.
        PostgresProblem, EnvironmentProblem: a server or a topic is not there; the name is taken.
    """
    if job.shadow is None and (await run_bound(job.url, IS_LIVE)).rows[0][0]:
        raise ReplayRefused(
            "A live publisher has written to this database, and its rows are its own: replay into "
            "an empty one (--into), or beside them (--shadow NAME)."
        )
    async with TopicReader(job.connection) as reader:
        if job.shadow is None:
            await check_policy(job.connection, load_policy(job.policy))
        plan = await plan_of(reader, asked, live_grace_ms)
        if job.shadow is not None:
            # Asked after what was forgotten was read: a promotion waits until the publisher has
            # obeyed it. A publisher stands after the last record, never after its markers.
            ends = (await output_ends(reader)).items() if plan.next_offsets else ()
            written = {at: await reader.after_last(*at, end) for at, end in ends}
            about = job.about(written) | await rules_told(job.connection, load_policy(job.policy))
            await begin_shadow(job.url, job.shadow, about)
    return plan


async def conclude(job: Job, replayed: Replayed) -> dict[str, Checksum]:
    """The checksums of what is settled by the as-of; a shadow is ready."""
    as_of_ms = replayed.as_of_ms or FIRST_TIME_MS
    if job.shadow is not None:
        await end_shadow(job.url, job.shadow, as_of_ms, await shadow_streams(job, as_of_ms))
        return {"outcomes": await shadow_checksum(job.url, job.shadow, as_of_ms)}
    sums = await checksums(job.url, as_of_ms)
    return {one.name: getattr(sums, one.name) for one in fields(sums)}


def run_plan(job: Job, plan: Plan, processes: int, show: Callable[[str], None]) -> Replayed:
    """Every share; bins and the publisher's place where the live tables were written.

    Raises:
        PostgresProblem, KafkaError: a server is away; run it again, what is written stays.
    """
    progress = Progress(plan.offsets)
    if min(processes, len(plan.shares)) > 1:
        found = list(_by_processes(job, plan, processes, progress, show))
    else:
        found = [_alone(job, share, progress, show) for share in plan.shares]
    total = Replayed()
    for one in found:
        total.add(one)
    if job.shadow is None:
        asyncio.run(_finish(job, plan, total))
    return total


def _alone(job: Job, share: Share, progress: Progress, show: Callable[[str], None]) -> Replayed:
    told_s = 0.0

    def tell(count: int) -> None:
        nonlocal told_s
        progress.done += count
        if time.monotonic() - told_s >= TELL_S:
            told_s = time.monotonic()
            show(progress.in_words(told_s))

    return asyncio.run(replay_share(job, share, tell))


def _by_processes(
    job: Job, plan: Plan, processes: int, progress: Progress, show: Callable[[str], None]
) -> Iterator[Replayed]:
    context = get_context("spawn")
    counted = context.Value("q", 0)
    with ProcessPoolExecutor(processes, context, _adopt, (counted,)) as pool:
        left: set[Future[Replayed]] = {
            pool.submit(_in_process, job, share)
            for share in sorted(plan.shares, key=lambda share: -share.offsets)
        }
        while left:
            ended, left = wait(left, TELL_S, FIRST_COMPLETED)
            progress.done = counted.value
            show(progress.in_words(time.monotonic()))
            yield from (future.result() for future in ended)


_counted: Any = None
"""In a process of the pool: how many offsets all of them have done."""


def _adopt(counted: Any) -> None:
    global _counted
    _counted = counted


def _in_process(job: Job, share: Share) -> Replayed:
    def tell(count: int) -> None:
        with _counted.get_lock():
            _counted.value += count

    return asyncio.run(replay_share(job, share, tell))


async def _finish(job: Job, plan: Plan, total: Replayed) -> None:
    """Bins are written where every outcome is; without a time of its own a task holds them back."""
    prefix = job.connection.prefix
    stands = [share.as_of_ms for share in plan.shares if share.as_of_ms is not None]
    as_of_ms = min([*stands, total.as_of_ms or NEVER_MS])
    is_whole = job.is_whole and plan.is_whole
    left = {(prefix + topic, p): offset for (topic, p), offset in plan.next_offsets.items()}
    if job.since_ms is None and job.until_ms is None:
        await write_streams(
            job, max(as_of_ms, FIRST_TIME_MS), left if is_whole else {}, total.forgotten
        )


async def shadow_streams(job: Job, as_of_ms: int) -> list[dict[str, Any]]:
    """What a shadow's rows say of each stream, without what people decided of live's."""
    rows = entering(job.url, SHADOW, max(as_of_ms, FIRST_TIME_MS), job.shadow)
    streams = replayed_streams(rows, load_policy(job.policy), {})
    with problems_told():
        return [told async for one in streams for told in standing_of(one.end())]


async def write_streams(
    job: Job, as_of_ms: int, next_offsets: Mapping[Source, int], forgotten: Sequence[Row] = ()
) -> int:
    """Everything that is known of streams, made anew from the rows, and the publisher's place.

    `forgotten`: settled outcomes that are counted and of which no row is kept.
    """
    policy = load_policy(job.policy)
    async with TopicReader(job.connection) as reader:
        overrides = decided_by_people(await recorded_decisions(reader))
    written = 0
    with problems_told():
        async with BulkWriter(job.url) as writer:
            await writer.clear_calibration()
            rows = entering(job.url, LIVE, as_of_ms, as_json(forgotten))
            async for stream in replayed_streams(rows, policy, overrides):
                written += await writer.write_calibration(stream.end())
            written += await foretell_again(writer, job.days_kept)
            await writer.leave(next_offsets)
    return written

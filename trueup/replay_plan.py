"""What a replay reads and up to when it settles: fixed before it begins, from what the topics say.

As live goes on meanwhile, the order of asking matters. First where the live outputs end; then where
each task stands, which has applied all that these outputs come of; then the ledgers, which say what
became of everything applied. So what is replayed is no less than what live has written by then.
"""

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents_topics.connection import Connection
from agents_topics.events import Forgotten, LateEvent
from agents_topics.policy import Policy
from agents_topics.policy_history import changes_of_history
from agents_topics.roster import GROUP, PUBLISHER
from agents_topics.topics import (
    AGENT_ACTIONS,
    AGENT_INTERACTIONS,
    FORGOTTEN,
    LATE_EVENTS,
    RESOLVER_CHANGELOG,
)
from streams.changelog import PROGRESS_KEY, Progress, progress_of
from streams.policy_log import recorded_policies
from tables.outcome_resolver import Judging
from tables.replay import TIMED_REASONS, Source
from tables.stream_times import NEVER_MS
from trueup.letters import Selection, letters_in
from trueup.topic_reader import TopicReader

JOINED = (AGENT_ACTIONS.name, AGENT_INTERACTIONS.name)
LATE = "late"
"""No reason of a dead letter is called so."""

_decode_forgotten = msgspec.json.Decoder(Forgotten).decode
_decode_late = msgspec.json.Decoder(LateEvent).decode


class ReplayRefused(Exception):
    """A replay would not be exact, or would write what live owns: says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person wants replayed.

    Args:
        judging: How lateness is decided.
        ends: Where to end earlier than the topics do, by source.
        topics: Other topics to read in the place of the joined ones: a history's own.
        as_of_ms: Up to when to settle; None: as live stands, else as the records say.
    """

    judging: Judging = "recorded"
    ends: Mapping[Source, int] = field(default_factory=dict)
    topics: Mapping[str, str] = field(default_factory=dict)
    as_of_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What is replayed by itself: sources whose keys are found in no other share.

    `as_of_ms` is None where nothing but the records themselves can say.
    """

    number: int
    spans: Mapping[Source, tuple[int, int]]
    ledger: Mapping[Source, Mapping[int, bool]]
    as_of_ms: int | None
    forgotten: Sequence[Forgotten] = ()

    @property
    def offsets(self) -> int:
        """How many offsets it covers; transactions leave some without a record."""
        return sum(max(end - start, 0) for start, end in self.spans.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """All shares; and where the live publisher goes on after a replay that is whole."""

    shares: Sequence[Share]
    next_offsets: Mapping[Source, int]
    is_whole: bool
    """Whether the shares are all that live has applied, up to where its tasks stand."""

    @property
    def offsets(self) -> int:
        """How many offsets it covers."""
        return sum(share.offsets for share in self.shares)


async def plan_of(reader: TopicReader, asked: Asked, grace_ms: Mapping[str, int]) -> Plan:
    """The plan of a replay; `grace_ms` is live's.

    Raises:
        ReplayRefused: nothing is recorded, or live has not come so far.
        EnvironmentProblem: a topic is missing.
    """
    if asked.topics:
        return await _plan_of_history(reader, asked)
    next_offsets = await output_ends(reader)
    progress = await progress_here(reader)
    applied = await _applied(reader, progress)
    spans = await _spans(reader, applied, asked)
    ledger = await _ledger(reader, asked.judging)
    forgotten = await forgotten_here(reader)
    if asked.judging == "recorded" and not applied and not ledger:
        raise ReplayRefused(
            "No worker has left a state or a ledger here, so nothing is recorded: give "
            "--judge-lateness or --as-if-on-time, and a --shadow."
        )
    shares = []
    for partition in sorted({partition for _, partition in spans}):
        own = {source: span for source, span in spans.items() if source[1] == partition}
        said = {source: ledger[source] for source in own if source in ledger}
        stands_ms = settled_ms_of(progress.get(partition), grace_ms) if progress else None
        as_of_ms = as_of_ms_of(stands_ms, asked)
        own_forgotten = [entry for entry in forgotten if entry.partition == partition]
        shares.append(Share(partition, own, said, as_of_ms, own_forgotten))
    is_whole = bool(progress) and not asked.ends and asked.as_of_ms is None
    return Plan(shares, next_offsets, is_whole)


async def _plan_of_history(reader: TopicReader, asked: Asked) -> Plan:
    """One share: who wrote these topics need not have spread keys as ours are spread."""
    spans = {
        (topic, partition): span
        for topic in JOINED
        for partition, span in (await reader.spans(asked.topics.get(topic, topic))).items()
    }
    return Plan([Share(0, _cut(spans, asked), {}, asked.as_of_ms)], {}, is_whole=False)


async def output_ends(reader: TopicReader) -> dict[Source, int]:
    """Where the live outputs end that the publisher follows."""
    return {
        (topic.name, partition): end
        for topic in PUBLISHER.reads
        for partition, (_, end) in (await reader.spans(topic.name)).items()
    }


async def progress_here(reader: TopicReader) -> dict[int, Progress]:
    """What each resolver task has noted last."""
    topic, notes = RESOLVER_CHANGELOG.name, {}
    async for record in reader.records(topic, await reader.spans(topic)):
        if record.key == PROGRESS_KEY and record.value is not None:
            notes[record.partition] = record.value
    return {p: progress_of(value, f"outcome-resolver-{p}") for p, value in notes.items()}


async def _applied(reader: TopicReader, progress: Mapping[int, Progress]) -> dict[Source, int]:
    """Where live has come to; where its state is lost, where its group has; else nothing."""
    if not progress:
        committed = await reader.applied(GROUP)
        return {source: offset for source, offset in committed.items() if source[0] in JOINED}
    return {(t, p): note.offsets.get(t, 0) for p, note in progress.items() for t in JOINED}


async def _spans(
    reader: TopicReader, applied: Mapping[Source, int], asked: Asked
) -> dict[Source, tuple[int, int]]:
    """What was judged, or all there is where nobody has judged."""
    spans = {}
    for topic in JOINED:
        for partition, (start, end) in (await reader.spans(topic)).items():
            until = applied.get((topic, partition), 0) if applied else end
            spans[topic, partition] = (start, max(start, min(end, until)))
    return _cut(spans, asked)


def _cut(spans: dict[Source, tuple[int, int]], asked: Asked) -> dict[Source, tuple[int, int]]:
    for source, end in asked.ends.items():
        if source not in spans:
            raise ReplayRefused(f"--to names {source[0]}/{source[1]}, which is not read.")
        start, last = spans[source]
        if end > last:
            raise ReplayRefused(
                f"--to {source[0]}/{source[1]}={end}: live has come to {last} there; what is "
                "beyond is not recorded yet."
            )
        spans[source] = (start, max(start, end))
    return spans


async def _ledger(reader: TopicReader, judging: Judging) -> dict[Source, dict[int, bool]]:
    """What was late or refused, by source; judged anew only what a wrong partition was refused."""
    return {
        source: {
            offset: reason == LATE or reason in TIMED_REASONS
            for offset, reason in reasons.items()
            if judging == "recorded" or reason == "wrong_partition"
        }
        for source, reasons in (await refused_here(reader)).items()
    }


async def refused_here(reader: TopicReader) -> dict[Source, dict[int, str]]:
    """Why records were not admitted, by source and offset: a dead letter's reason, or `LATE`."""
    found: dict[Source, dict[int, str]] = defaultdict(dict)
    async for letter in letters_in(reader, Selection()):
        if letter.topic in JOINED:
            found[letter.topic, letter.source_partition][letter.source_offset] = letter.reason
    topic = LATE_EVENTS.name
    async for record in reader.records(topic, await reader.spans(topic)):
        late = _decode_late(record.value)
        found[late.topic, late.partition][late.offset] = LATE
    return dict(found)


async def forgotten_here(reader: TopicReader) -> list[Forgotten]:
    """What the tasks have forgotten, of each partition in its order."""
    name = FORGOTTEN.name
    return [
        _decode_forgotten(r.value) async for r in reader.records(name, await reader.spans(name))
    ]


def as_of_ms_of(stands_ms: int | None, asked: Asked) -> int | None:
    """Up to when a share settles: as its task stands, or earlier if that was asked."""
    if asked.ends or stands_ms is None:
        return asked.as_of_ms
    if asked.as_of_ms is None:
        return stands_ms
    if asked.as_of_ms > stands_ms and asked.judging == "recorded":
        raise ReplayRefused("--as-of lies after what live has settled: leave it out.")
    return asked.as_of_ms


def settled_ms_of(note: Progress | None, grace_ms: Mapping[str, int]) -> int:
    """Everything with a settle time up to here has settled in a task; it may have none yet."""
    times = note.times if note else {}
    closed = [max(log, pushed) - grace_ms[topic] for topic, (log, pushed, *_) in times.items()]
    return max(min(closed, default=NEVER_MS), NEVER_MS)


async def rules_told(connection: Connection, policy: Policy) -> dict[str, Any]:
    """What a shadow keeps of the rules that live was judged by, and of its own: the contents by
    digest, which of them live has, and by which fields each tells calibration apart.
    """
    recorded = {r.digest: r.content for r in await recorded_policies(connection)}
    rules = recorded | {version.digest: version.content for version in policy.versions}
    segments = {digest: json.loads(rule).get("segments", []) for digest, rule in rules.items()}
    return {"rules": rules, "live_policy": list(recorded), "segments": segments}


async def check_policy(connection: Connection, policy: Policy) -> None:
    """The rules are those that the records were judged by.

    Raises:
        ReplayRefused: they are not; another policy is for a shadow.
    """
    recorded = await recorded_policies(connection)
    problems = changes_of_history(recorded, policy, int(time.time() * 1000))
    if problems:
        raise ReplayRefused(f"Another policy is for a --shadow: {'; '.join(problems)}.")

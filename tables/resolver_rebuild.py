"""A resolver task's state, made again from the records that it had applied and from what it said.

The law: what was decided is read, never decided again. The late ledger and the dead letters name
what was not admitted, clock records and promises how far time was moved, and the topic `outcomes`
what had settled and which revision of the others was published. What was admitted goes through the
same core, which settles as much as was said and no more. It must come to the very same results; if
it does not, something is missing, and `unlike` says so.

What was forgotten is forgotten again where the task then stood: once all that it had taken is taken
and as much has settled as had been said, so that what goes is what went, and not what came since.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from operator import attrgetter
from typing import Any

import msgspec

from agents_topics.codec import Decoded, Malformed
from agents_topics.events import Forget, Forgotten, LateEvent, Outcome
from agents_topics.identifiers import key_of
from agents_topics.policy import Policy
from tables.forgetting import meaning_of
from tables.outcome_resolver import JOINED, OutcomeResolver
from tables.replay import TIMED_REASONS, Replay, Source
from tables.resolver_step import LogRecord
from tables.stream_times import NEVER_MS, StreamTimes, TopicTime

_VERDICT = ("status", "score", "signal_source", "decided_by", "resolved_at_ms")
_verdict_of = attrgetter(*_VERDICT)
_result_of = attrgetter("id", *_VERDICT, "settled_at_ms", "policy_version", "is_lead")
_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class Results:
    """Settled outcomes as a count and a sum: equal for the same results in any order."""

    count: int = 0
    sum: int = 0

    def add(self, outcome: Outcome) -> None:
        """Takes one in."""
        digest = blake2b(_encode(_result_of(outcome)), digest_size=8).digest()
        self.count += 1
        self.sum = (self.sum + int.from_bytes(digest)) % 2**64


@dataclass(slots=True)
class Settled:
    """How far settling has come: the greatest settle time, and how many settled at it.

    A task settles in the order of settle times, so that of those before the last none is missing.
    """

    last_ms: int = NEVER_MS
    count: int = 0

    def on(self, settled_at_ms: int) -> None:
        """An outcome has settled."""
        if settled_at_ms > self.last_ms:
            self.last_ms, self.count = settled_at_ms, 0
        self.count += settled_at_ms == self.last_ms


@dataclass(frozen=True, slots=True)
class SaidOpen:
    """What was said last of an outcome that is open."""

    key: str
    revision: int
    verdict: tuple[Any, ...]


@dataclass(slots=True)
class Said:
    """What a task's partition of `outcomes` says.

    Args:
        open: By id.
        settled: All results, also those that were forgotten since.
        last: How far settling had come at the end, and `before` at each forgetting.
    """

    open: dict[str, SaidOpen] = field(default_factory=dict)
    settled: Results = field(default_factory=Results)
    last: Settled = field(default_factory=Settled)
    before: list[Settled] = field(default_factory=list)

    def on(self, outcome: Outcome) -> None:
        """The next record of the partition, of an outcome."""
        if not outcome.is_settled:
            key = key_of(outcome.tenant_id, outcome.conversation_id)
            self.open[outcome.id] = SaidOpen(key, outcome.revision, _verdict_of(outcome))
            return
        self.open.pop(outcome.id, None)
        self.settled.add(outcome)
        self.last.on(outcome.settled_at_ms)

    def on_forgotten(self, entry: Forgotten) -> None:
        """The next record of the partition: what came before it of a key is forgotten."""
        is_meant = meaning_of(entry.tenant_id, entry.conversation_id)
        self.open = {id: said for id, said in self.open.items() if not is_meant(said.key)}
        self.before.append(replace(self.last))


@dataclass(slots=True)
class Recorded:
    """What was decided once of a task's records: classes, and how far time was moved."""

    ledger: dict[Source, dict[int, bool]] = field(default_factory=lambda: defaultdict(dict))
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    pushed_ms: dict[str, int] = field(default_factory=lambda: defaultdict(lambda: NEVER_MS))
    clocks: list[tuple[int, int]] = field(default_factory=list)
    """Until when each lets time jump, and the broker's time of it, in the order of the log."""
    promised_ms: int = NEVER_MS

    def on_late(self, late: LateEvent) -> None:
        """An entry of the late ledger."""
        self.ledger[late.topic, late.partition][late.offset] = True
        self.counts[late.topic, "late"] += 1
        if late.reason == "after_silence":
            self.pushed_ms[late.topic] = max(self.pushed_ms[late.topic], late.compared_ms)

    def on_letter(self, source: Source, offset: int, reason: str) -> None:
        """A dead letter, of a joined topic or of another."""
        self.ledger[source][offset] = reason in TIMED_REASONS
        self.counts[source[0], "dead"] += 1

    def on_clock(self, until_ms: int, broker_ms: int) -> None:
        """A clock record that was applied."""
        self.clocks.append((until_ms, broker_ms))
        self.on_control()

    def on_control(self) -> None:
        """A record of `control` that was applied."""
        self.counts["control", "admitted"] += 1


@dataclass(slots=True)
class _Seen:
    """The applied records of a topic: first and last times, those of event time capped."""

    first_ms: int | None = None
    first_broker_ms: int | None = None
    broker_ms: int = NEVER_MS

    def on(self, capped_ms: int, broker_ms: int) -> None:
        if self.first_ms is None or self.first_broker_ms is None:
            self.first_ms, self.first_broker_ms = capped_ms, broker_ms
        self.first_ms = min(self.first_ms, capped_ms)


class ResolverRebuild:
    """The rebuilding of one task.

    Args:
        said: All that `outcomes` holds of the task's partition.
        is_all_said: Whether nothing of that was deleted.
    """

    def __init__(
        self,
        partition: int,
        policy: Policy,
        grace_ms: dict[str, int],
        recorded: Recorded,
        said: Said,
        *,
        is_all_said: bool = True,
    ) -> None:
        sources = [(topic, partition) for topic in JOINED]
        self._replay = Replay(policy, grace_ms, sources, recorded.ledger)
        self.resolver: OutcomeResolver = self._replay.targets[0]
        self._partition = partition
        self._grace_ms = grace_ms
        self._recorded = recorded
        self._said = said
        self._is_all_said = is_all_said
        self._seen = {topic: _Seen() for topic in JOINED}
        self._settled = Results()
        self._last = Settled()
        self._forgotten_count = 0
        self._refused: str | None = None

    def take(
        self, topic: str, records: Sequence[LogRecord], decoded: Sequence[Decoded | Malformed]
    ) -> None:
        """The next records of a topic, in the order of its log, up to what was applied."""
        source = (topic, self._partition)
        fates = self._recorded.ledger.get(source, {})
        seen = self._seen[topic]
        for record, one in zip(records, decoded, strict=True):
            if isinstance(one, Decoded) and fates.get(record.offset, True):
                seen.on(min(one.at_ms, record.timestamp), record.timestamp)
        if records:
            seen.broker_ms = records[-1].timestamp
        self._replay.take(source, records, decoded)

    def seen_ms(self, topic: str) -> int:
        """The greatest time seen in a topic: whoever reads takes next what is behind."""
        return self._replay.seen_ms((topic, self._partition))

    def finish(self) -> None:
        """Ends a step: what is sure to have been said settles."""
        self._replay.advance(self._said_next().last_ms - 1)
        self._settle_all()

    def forget(self, entry: Forgotten) -> None:
        """All that the task had taken when it forgot is taken: it forgets again."""
        if self._is_all_said:
            self._settle_as(self._said_next())
        else:
            self._push(min(entry.settled_until_ms, self._said.last.last_ms - 1))
            self._settle_all()
        self._forgotten_count += 1
        forget = Forget(
            kind="forget",
            event_id=entry.forget_id,
            tenant_id=entry.tenant_id,
            conversation_id=entry.conversation_id,
        )
        times, self.resolver.times = self.resolver.times, self._times_at(entry.settled_until_ms)
        self.resolver.forget(forget, entry.offsets)
        self.resolver.times = times

    def _said_next(self) -> Settled:
        """How far settling had come at the next forgetting, or at the end."""
        left = self._said.before[self._forgotten_count :] if self._is_all_said else ()
        return left[0] if left else self._said.last

    def end(self) -> None:
        """All that was applied is taken: as much settles as was said, and times stand as derived.

        Of the outcomes that settle at the last time only some may have been said before a crash.
        """
        self._settle_as(self._said.last)
        revisions = {id: said.revision for id, said in self._said.open.items()}
        self.resolver.revise(revisions)
        self.resolver.times = self._times()
        for name, number in self._recorded.counts.items():
            self.resolver.counts[name] = number

    def _settle_as(self, said: Settled) -> None:
        """As much has settled as was said. Of those at the last time some may have before, and the
        rest is not due yet.
        """
        self._push(said.last_ms - 1)
        self._settle_all()
        times, self.resolver.times = self.resolver.times, self._times_at(said.last_ms)
        self._step(said.count - self._last.count * (self._last.last_ms == said.last_ms))
        self.resolver.times = times

    def _times_at(self, settled_ms: int) -> StreamTimes:
        """Times by which everything with a settle time up to that is due."""
        topics = self._grace_ms.items()
        return StreamTimes({t: TopicTime(g, pushed_ms=settled_ms + g) for t, g in topics})

    def _settle_all(self) -> None:
        is_settling = True
        while is_settling:
            self._step()
            is_settling = self.resolver.is_settling

    def _push(self, settled_ms: int) -> None:
        for topic, grace_ms in self._grace_ms.items():
            self.resolver.times.topics[topic].push(settled_ms + grace_ms)

    def rows(self) -> dict[bytes, Any]:
        """All that the task's changelog must hold beside its progress."""
        self.resolver.relog()
        changes = self._step(0)
        return {key: row for key, row in changes.items() if row is not None}

    def _step(self, settled_max: int | None = None) -> dict[bytes, Any]:
        resolver = self.resolver
        step = resolver.finish() if settled_max is None else resolver.finish(settled_max)
        for outcome in step.outcomes:
            if outcome.is_settled:
                self._settled.add(outcome)
                self._last.on(outcome.settled_at_ms)
        if step.refused and self._refused is None:
            first = step.refused[0]
            self._refused = (
                f"{first.topic}/{self._partition}, offset {first.record.offset} was admitted and "
                f"would now be refused ({first.reason}): give back the policy that was in force"
            )
        return step.changes

    def unlike(self) -> str | None:
        """Why this is not the state that was lost, once `end` was called; None if it is."""
        if self._refused:
            return self._refused
        if self._is_all_said and len(self._said.before) != self._forgotten_count:
            return (
                f"{self._forgotten_count} times something was forgotten, and readers of outcomes "
                f"were told {len(self._said.before)} times"
            )
        if self.resolver.settled_ms < self._recorded.promised_ms:
            return "it had promised more than its topic outcomes says has settled"
        if self._is_all_said and self._settled != self._said.settled:
            return (
                f"{self._said.settled.count} outcomes had settled, the inputs give "
                f"{self._settled.count} for the same time, or other results"
            )
        found = {outcome.id: outcome for outcome in self.resolver.open_outcomes()}
        if self._is_all_said and (differing := found.keys() ^ self._said.open.keys()):
            return f"outcome {min(differing)} is open by the topic outcomes or the inputs alone"
        for name, said in self._said.open.items():
            if name not in found or _verdict_of(found[name]) != said.verdict:
                return f"outcome {name} is not what the topic outcomes said last"
        return None

    def _times(self) -> StreamTimes:
        """How far event time had come, at least: what silence moved is told by what it settled.

        Nobody knows which was applied first, the first clock or the first record: a task may read
        a clock before records that the broker had sooner. The smaller is not ahead of either.
        """
        seen = self._seen.values()
        begun_ms = [s.first_broker_ms for s in seen if s.first_broker_ms is not None]
        begun = min(begun_ms, default=NEVER_MS)
        first_ms = [s.first_ms for s in seen if s.first_ms is not None]
        first_ms += [until_ms for until_ms, _ in self._recorded.clocks[:1]]
        first = min(first_ms, default=NEVER_MS)
        topics = {topic: self._time_of(topic, first, begun) for topic in JOINED}
        return StreamTimes(topics, first, begun)

    def _time_of(self, topic: str, first_ms: int, begun_ms: int) -> TopicTime:
        """A silence that goes on is paced from where the records or a clock had left the time, so
        that nothing moves further than the broker's clock allows. A clock that found the time
        already moved so far by silence was logged after that: from there no pace is faster.
        """
        recorded, grace_ms = self._recorded, self._grace_ms[topic]
        seen_ms = self._seen[topic].broker_ms
        broker_ms = seen_ms if seen_ms > NEVER_MS else begun_ms
        time = TopicTime(grace_ms, log_ms=self.seen_ms(topic), broker_ms=seen_ms)
        stood_ms = time.log_ms
        for until_ms, clock_ms in recorded.clocks:
            if until_ms > time.now_ms:
                time.push(until_ms)
                if clock_ms >= broker_ms:
                    stood_ms, time.broker_ms = until_ms, clock_ms
                    time.silent_from_ms = until_ms
        settled_ms = max(recorded.promised_ms, self._said.last.last_ms)
        for pushed_ms in (settled_ms + grace_ms, recorded.pushed_ms[topic]):
            if pushed_ms > time.now_ms and pushed_ms > NEVER_MS + grace_ms:
                time.push(pushed_ms)
                time.silent_from_ms = stood_ms if stood_ms > NEVER_MS else first_ms
        return time

"""The outcome resolver: actions and what then happened in, outcomes out.

Receive: batches of both topics, the older first, and control records once everything before them is
applied. Decide: one call into `tables.outcome_resolver`. Save and send: one transaction {outcomes,
settled outcomes, promises and what people decided, late events, dead letters, what was forgotten,
changelog, offsets}.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from agents_topics import topics
from agents_topics.codec import Decoded, Malformed, decode_control
from agents_topics.events import Clock, Forget, Forgotten, Outcome, Promise, to_ms, to_timestamp
from agents_topics.identifiers import key_of
from agents_topics.policy import Policy, PolicyVersion
from agents_topics.roster import RESOLVER
from agents_topics.rules import FUTURE_MS_MAX
from streams.changelog import BEGIN_ANEW, Progress, StateProblem
from streams.dead_letters import dead_letter_of
from streams.fast_decoder import FastDecoder, joined_decoders
from streams.partitioner import partitions_of
from streams.settings import variable_of
from streams.task import Task
from streams.transactions import Out
from streams.work import StatefulWork, Tools, row_outs
from tables.label_delay import LabelDelay
from tables.outcome_resolver import (
    JOINED,
    OutcomeResolver,
)
from tables.resolver_step import Step
from tables.stream_times import NEVER_MS, TopicTime

PROMISE_S = 1.0
CONTROL = topics.CONTROL.name

encode = msgspec.json.Encoder().encode

_Outputs = dict[tuple[str, int], list[Out]]


@dataclass(slots=True)
class ResolverSettings:
    """What the resolver takes from the settings."""

    policy: Policy
    grace_ms: dict[str, int]
    idle_after_ms: int


class ResolverWork(StatefulWork):
    """A resolver task's work: state, producer, and what a step must do around the core."""

    def __init__(self, partition: int, tools: Tools, settings: ResolverSettings) -> None:
        super().__init__(RESOLVER, partition, tools)
        self._settings = settings
        self._decoders = joined_decoders()
        self._barrier: dict[str, int] | None = None
        self._overrides: list[bytes] = []
        """What people decided, to be passed on to the calibrator with the open step."""
        self.resolver = self._empty()
        self.task: Task | None = None
        self.counted: dict[str, int] = {}
        """As of the last transaction: no counter goes back when a step is thrown away."""
        self.promised_ms = NEVER_MS
        """The calibrator has been told of every outcome with a settle time at or before this."""
        self._promised_at_s = 0.0

    def _empty(self) -> OutcomeResolver:
        return OutcomeResolver(self.partition, self._settings.policy, self._settings.grace_ms)

    # ---- restore -------------------------------------------------------------------------------

    async def open(self) -> dict[str, int]:
        """As every stateful work. What a clock record was to wait for is asked again: with it may
        come others now that are later than that.
        """
        self._barrier = None
        self._overrides.clear()
        return await super().open()

    def begin(self, progress: Progress | None) -> None:
        """An empty changelog is an empty state."""
        self.drop_state()
        self.promised_ms = NEVER_MS
        self.counted = {} if progress is None else progress.counts
        if progress is not None:
            restore_times(self.resolver, progress)
            self._check_policy(progress)
            self._check_grace(progress)

    def drop_state(self) -> None:
        """Conversations and their actions hold each other."""
        self.resolver.drop()
        self.resolver = self._empty()

    def restore_row(self, key: bytes, row: Any) -> None:
        """The core knows its rows."""
        self.resolver.restore(key, row)

    def _check_policy(self, progress: Progress) -> None:
        """What was in force while the state was made is so in the file, and nothing else was."""
        begun = {version.digest: version for version in begun_by(self.resolver)}
        for digest in progress.policy:
            if digest not in begun:
                raise StateProblem(
                    f"{self.name}: its state was made under policy version {digest}, which the "
                    "policy file lacks: give it back, and let a change begin at a later time "
                    "(effective_from); another rule for the past is a shadow replay"
                )
        places = self._settings.policy.places
        for digest, version in begun.items():
            if digest not in progress.policy:
                seen = to_timestamp(_seen_ms(self.resolver))
                raise StateProblem(
                    f"{self.name}: {places[digest]}: the policy file has a version from "
                    f"{version.effective_from} on, but events up to {seen} were judged without it: "
                    "let it begin later; another rule for the past is a shadow replay"
                )

    def _check_grace(self, progress: Progress) -> None:
        """What was late, forgotten and promised was so by one grace: another one is another law."""
        for topic, held_ms in progress.grace_ms.items():
            given_ms = self._settings.grace_ms[topic]
            if given_ms != held_ms:
                variable = variable_of(f"grace_s_{topic.replace('-', '_')}")
                raise StateProblem(
                    f"{self.name}: its state was made with a grace of {held_ms // 1000} s for "
                    f"{topic}, the setting now says {given_ms // 1000} s: set {variable} to "
                    f"{held_ms // 1000}, or {BEGIN_ANEW}"
                )

    # ---- a step --------------------------------------------------------------------------------

    async def choose(self, queued: Mapping[str, Sequence[ConsumerRecord]]) -> str | None:
        """The topic that is behind in event time; a clock record after all that precedes it."""
        assert self.task
        if CONTROL in queued and await self._is_past_barrier():
            self._barrier = None
            return CONTROL
        joined = [topic for topic in JOINED if topic in queued]
        if len(joined) == len(JOINED):
            return min(joined, key=lambda topic: self.resolver.times.topics[topic].log_ms)
        if not joined:
            return None
        (topic,) = joined
        other = next(t for t in JOINED if t != topic)
        times = self.resolver.times.topics
        if times[other].log_ms >= times[topic].log_ms or await self._has_ended(other):
            return topic
        return None

    async def _has_ended(self, topic: str) -> bool:
        """Whether nothing of a topic is left to fetch just now: fetches tell, mostly."""
        assert self.task
        has_ended = await self.task.has_ended(topic)
        if has_ended is not None:
            return has_ended
        ends = await self.tools.broker.ends([self.tools.names[topic]], self.partition)
        return await self.task.is_drained(topic, ends[self.tools.names[topic]])

    async def _is_past_barrier(self) -> bool:
        """Whether all that was in the joined topics when the clock record came is applied."""
        assert self.task
        if self._barrier is None:
            self._barrier = await self._log_ends()
        for topic, end in self._barrier.items():
            if not await self.task.is_drained(topic, end):
                return False
        return True

    async def _log_ends(self) -> dict[str, int]:
        """Where the joined topics' logs end, past what a producer's open transaction holds back."""
        names = self.tools.names
        broker = self.tools.broker
        ends = await broker.high_watermarks([names[topic] for topic in JOINED], self.partition)
        return {topic: ends[names[topic]] for topic in JOINED}

    def take(self, topic: str, records: Sequence[ConsumerRecord]) -> None:
        """Records into the core's open step."""
        if topic == CONTROL:
            self._on_control(records)
        else:
            self._admit(topic, records)
        self.offsets[topic] = records[-1].offset + 1

    async def commit(self) -> None:
        """Ends the core's step: one transaction, and more where a jump of time settles much."""
        await self._write(self.resolver.finish())
        await self._settle_rest()

    async def _settle_rest(self) -> None:
        """After a jump of time: what one step could not settle, in transactions of its own."""
        assert self.task
        while self.resolver.is_settling and not self.task.is_closing:
            await self._write(self.resolver.finish())

    def _admit(self, topic: str, records: Sequence[ConsumerRecord]) -> None:
        decoder = self._decoders[topic]
        decode = decoder.decode
        decoded = [decode(record.key, record.value, record.headers) for record in records]
        if strangers := self._strangers(decoder):
            stray = Malformed("wrong_partition", "its producer does not partition by murmur2")
            for index, record in enumerate(records):
                if record.key in strangers and isinstance(decoded[index], Decoded):
                    decoded[index] = stray
        self.resolver.admit(topic, records, decoded)

    def _strangers(self, decoder: FastDecoder) -> set[bytes]:
        """Keys that murmur2 puts elsewhere, looked at when they are new to the decoder."""
        new = decoder.take_new_keys()
        if not new:
            return new
        keys = list(new)
        found = partitions_of(keys, self.tools.partition_count)
        strangers = {k for k, p in zip(keys, found, strict=True) if p != self.partition}
        decoder.forget(strangers)
        return strangers

    def _on_control(self, records: Sequence[ConsumerRecord]) -> None:
        resolver = self.resolver
        for record in records:
            found = decode_control(record.value)
            if isinstance(found, Malformed):
                resolver.refuse(CONTROL, record, found.reason, found.detail)
                continue
            if isinstance(found, Forget):
                resolver.forget(found, {topic: self.offsets[topic] for topic in JOINED})
            elif not isinstance(found, Clock):
                self._overrides.append(record.value)
            elif (until_ms := to_ms(found.until)) > record.timestamp + FUTURE_MS_MAX:
                resolver.refuse(CONTROL, record, "future", f"until {found.until}")
                continue
            else:
                resolver.times.on_clock(until_ms, record.timestamp)
            resolver.counts[CONTROL, "admitted"] += 1

    # ---- time ----------------------------------------------------------------------------------

    async def tick(self, is_drained: bool) -> None:
        """Keeps promising; while topics are silent, lets their times follow the broker's clock."""
        assert self.task
        times = self.resolver.times
        is_unsaid = self.resolver.settled_ms > self.promised_ms
        if not is_drained and not is_unsaid and not self.resolver.is_settling:
            return
        if times.first_ms == NEVER_MS:
            return
        broker_now_ms = await self._write(self.resolver.finish())
        await self._settle_rest()
        if is_drained and broker_now_ms > 0:
            # A record that is in the log and cannot be read yet is no silence.
            ends = await self._log_ends()
            silent = [t for t, end in ends.items() if await self.task.is_drained(t, end)]
            times.on_silence(silent, broker_now_ms, self._settings.idle_after_ms)

    # ---- the transaction -----------------------------------------------------------------------

    async def _write(self, step: Step) -> int:
        names = self.tools.names
        outputs: _Outputs = defaultdict(list)
        own = self.partition
        self._add_forgotten(step, outputs)
        outcomes = outputs[names[topics.OUTCOMES.name], own]
        settled = []
        for outcome in step.outcomes:
            value = encode(outcome)
            outcomes.append(Out(outcome.id.encode(), value))
            if outcome.is_settled and outcome.calibrates:
                settled.append(Out(_stream_key(outcome), value))
        self._add_settled(settled, outputs)
        for late in step.late:
            key = f"{late.tenant_id}/{late.conversation_id}".encode()
            outputs[names[topics.LATE_EVENTS.name], own].append(Out(key, encode(late)))
        for refused in step.refused:
            letter = dead_letter_of(refused, RESOLVER.name)
            outputs[names[topics.DEAD_LETTERS.name], own].append(letter)
        overrides = [Out(topics.OVERRIDE_KEY, value) for value in self._overrides]
        outputs[names[topics.SETTLED_OUTCOMES.name], own] += overrides
        promised_ms = self._add_promise(outputs)
        progress = self._progress()
        outputs[self.changelog_name, own] = row_outs(step.changes, progress)
        broker_now_ms = await self.transact(outputs)
        self._overrides.clear()
        self.counted = progress.counts
        if promised_ms is not None:
            self.promised_ms, self._promised_at_s = promised_ms, _now_s()
        return broker_now_ms

    def _add_settled(self, settled: Sequence[Out], outputs: _Outputs) -> None:
        name = self.tools.names[topics.SETTLED_OUTCOMES.name]
        keys = list({out.key or b"" for out in settled})  # a stream has thousands of outcomes
        found = dict(zip(keys, partitions_of(keys, self.tools.partition_count), strict=True))
        for out in settled:
            outputs[name, found[out.key or b""]].append(out)

    def _add_forgotten(self, step: Step, outputs: _Outputs) -> None:
        """Before all else of the step: of a conversation what had settled goes to its bins, of a
        tenant every calibrator task is told.
        """
        names, own = self.tools.names, self.partition
        for forgetting in step.forgotten:
            said = forgetting.record
            out = Out(_key_of(said), encode(said))
            settled = [Out(_stream_key(o), encode(o)) for o in forgetting.settled if o.calibrates]
            self._add_settled(settled, outputs)
            if said.conversation_id is None:
                for partition in range(self.tools.partition_count):
                    outputs[names[topics.SETTLED_OUTCOMES.name], partition].append(out)
            for topic in (topics.OUTCOMES, topics.FORGOTTEN):
                outputs[names[topic.name], own].append(out)

    def _progress(self) -> Progress:
        return noted(self.resolver, self.offsets, self.tools.partition_count, self.begins)

    def _add_promise(self, outputs: _Outputs) -> int | None:
        """At most once a second: everything with a settle time up to now has been written."""
        settled_ms = self.resolver.settled_ms
        is_due = _now_s() - self._promised_at_s >= PROMISE_S
        if settled_ms <= self.promised_ms or not is_due:
            return None
        value = encode(Promise(source=self.partition, until_ms=settled_ms))
        for partition in range(self.tools.partition_count):
            name = self.tools.names[topics.SETTLED_OUTCOMES.name]
            outputs[name, partition].append(Out(None, value))
        return settled_ms


def _stream_key(outcome: Outcome) -> bytes:
    return f"{outcome.tenant_id}/{outcome.action_type}".encode()


def _key_of(said: Forgotten) -> bytes:
    """That of the conversation; of a tenant its id, which no key of a stream is."""
    if said.conversation_id is None:
        return said.tenant_id.encode()
    return key_of(said.tenant_id, said.conversation_id).encode()


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def begun_by(resolver: OutcomeResolver) -> tuple[PolicyVersion, ...]:
    """The versions of its policy that a record judged so far may have fallen under."""
    return resolver.policy.begun_by(_seen_ms(resolver))


def _seen_ms(resolver: OutcomeResolver) -> int:
    """No record with a later time was judged so far."""
    return max(time.now_ms for time in resolver.times.topics.values()) + FUTURE_MS_MAX


def noted(
    resolver: OutcomeResolver, offsets: Mapping[str, int], partitions: int, begins: int
) -> Progress:
    """Where a resolver task stands."""
    times = resolver.times
    return Progress(
        offsets=dict(offsets),
        times={
            topic: [t.log_ms, t.pushed_ms, t.broker_ms, t.silent_from_ms]
            for topic, t in times.topics.items()
        },
        grace_ms={topic: t.grace_ms for topic, t in times.topics.items()},
        first_ms=times.first_ms,
        first_broker_ms=times.first_broker_ms,
        policy=[version.digest for version in begun_by(resolver)],
        partitions=partitions,
        begins=begins,
        counts={"/".join(name): count for name, count in resolver.counts.items()},
        label_delays={
            name: (delay.counts, delay.sum_ms) for name, delay in resolver.label_delays.items()
        },
    )


def restore_times(resolver: OutcomeResolver, progress: Progress) -> None:
    """Takes back times and counters from a task's progress."""
    times = resolver.times
    for topic, (log_ms, pushed_ms, broker_ms, silent_from_ms) in progress.times.items():
        grace_ms = times.topics[topic].grace_ms
        times.topics[topic] = TopicTime(grace_ms, log_ms, pushed_ms, broker_ms, silent_from_ms)
    times.first_ms = NEVER_MS if progress.first_ms is None else progress.first_ms
    times.first_broker_ms = (
        NEVER_MS if progress.first_broker_ms is None else progress.first_broker_ms
    )
    for name, count in progress.counts.items():
        group, _, member = name.rpartition("/")
        resolver.counts[group, member] = count
    for action_type, (counts, sum_ms) in progress.label_delays.items():
        resolver.label_delays[action_type] = LabelDelay(counts, sum_ms)

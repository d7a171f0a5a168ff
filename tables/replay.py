"""The past through the same core: recorded topics in, settled outcomes out, and no clock moves.

The law: what settles is a function of the admitted records alone, and a replay admits what was
admitted. As recorded, a ledger says what was late or refused, each by the place where its record
stands; nothing is judged late, and a source's time is the greatest time seen in it, capped, late
records included. A target's time is that of the slowest of its sources: nothing that may still be
read lies at or before what it settles, whichever way keys were spread over partitions. At the end
of its input a replay moves its times to `as_of_ms`, which silence or a clock had reached in live.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from agents_topics.codec import Decoded, Malformed
from agents_topics.events import Outcome
from agents_topics.policy import Policy
from agents_topics.rules import FUTURE_MS_MAX
from tables.forgetting import Forgettings, nameless
from tables.outcome_resolver import Judging, OutcomeResolver
from tables.resolver_step import LogRecord
from tables.stream_times import NEVER_MS

Source = tuple[str, int]
"""A topic and a partition of it."""

Ledger = Mapping[Source, Mapping[int, bool]]
"""By source and offset what was not admitted, and whether it moves its topic's time all the same.

What was late does; of dead letters those that were refused after their time had been seen.
"""

TIMED_REASONS = frozenset(("conflict", "conversation_full"))
"""Reasons of dead letters that admission finds only after a record has moved its topic's time."""

_Decodeds = Sequence[Decoded | Malformed]


def target_of(key: str, count: int) -> int:
    """Which of so many targets has a key; any spread will do, as long as it is always the same."""
    return zlib.crc32(key.encode()) % count


class Replay:
    """Some sources, joined by key in one or more targets.

    Args:
        sources: Every topic-partition that will be read, whole before `end` is called.
        ledger: What was late or refused; empty where nobody has judged the records yet.
        judging: `live` judges lateness anew: for one target with one source a topic.
        targets: In how many partitions the keys are held.
        tenants: Whose records are admitted; those of others move times only. None: everybody's.
        forgotten: What a worker has forgotten: of its records nothing settles but for the bins.
    """

    def __init__(
        self,
        policy: Policy,
        grace_ms: dict[str, int],
        sources: Sequence[Source],
        ledger: Ledger,
        judging: Judging = "recorded",
        targets: int = 1,
        tenants: frozenset[str] | None = None,
        forgotten: Forgettings | None = None,
    ) -> None:
        self.targets = [OutcomeResolver(n, policy, grace_ms, judging) for n in range(targets)]
        self._grace_ms = grace_ms
        self._ledger = ledger
        self._judging = judging
        self._tenants = tenants
        self._forgotten = forgotten or Forgettings()
        self.counted: list[Outcome] = []
        """Outcomes that are forgotten and stay in the bins, without their conversation."""
        self._seen_ms = dict.fromkeys(sources, NEVER_MS)
        assert judging != "live" or len(sources) == len(grace_ms) * targets

    def seen_ms(self, source: Source) -> int:
        """The greatest time seen in a source: whoever reads takes next what is behind."""
        return self._seen_ms[source]

    @property
    def own_as_of_ms(self) -> int:
        """Up to where the records alone say that all has settled; an empty source says nothing."""
        times = [ms - self._grace_ms[t] for (t, _), ms in self._seen_ms.items() if ms > NEVER_MS]
        return min(times, default=NEVER_MS)

    def take(self, source: Source, records: Sequence[LogRecord], decoded: _Decodeds) -> None:
        """The next records of a source, in the order of its log."""
        fates = self._ledger.get(source)
        self._see(source, records, decoded, fates or {})
        if fates:
            records, decoded = _picked(records, decoded, lambda r, _: r.offset not in fates)
        if self._tenants is not None:
            records, decoded = _picked(records, decoded, self._is_wanted)
        if self._forgotten:
            placed = zip(records, decoded, strict=True)
            decoded = [self._in_its_life(source, record, one) for record, one in placed]
        topic, count = source[0], len(self.targets)
        if count == 1:
            self.targets[0].admit(topic, records, decoded)
            return
        numbers = [_target_of(one, count) for one in decoded]
        for target in self.targets:
            pairs = zip(records, decoded, numbers, strict=True)
            own = [(r, one) for r, one, number in pairs if number == target.partition]
            target.admit(topic, [r for r, _ in own], [one for _, one in own])

    def _see(
        self,
        source: Source,
        records: Sequence[LogRecord],
        decoded: _Decodeds,
        fates: Mapping[int, bool],
    ) -> None:
        """Moves a source's time by all that were admitted, late, or refused after that."""
        seen_ms = self._seen_ms[source]
        for record, one in zip(records, decoded, strict=True):
            if isinstance(one, Malformed) or not fates.get(record.offset, True):
                continue
            at_ms, broker_ms = one[1], record.timestamp
            if seen_ms < at_ms <= broker_ms + FUTURE_MS_MAX:
                seen_ms = max(seen_ms, min(at_ms, broker_ms))
        self._seen_ms[source] = seen_ms

    def _is_wanted(self, _: LogRecord, one: Decoded | Malformed) -> bool:
        assert self._tenants is not None
        return isinstance(one, Decoded) and one.event.tenant_id in self._tenants

    def _in_its_life(
        self, source: Source, record: LogRecord, one: Decoded | Malformed
    ) -> Decoded | Malformed:
        if isinstance(one, Malformed):
            return one
        return self._forgotten.in_its_life(*source, record.offset, one)

    def finish(self) -> Iterator[Outcome]:
        """Ends a step; what has settled by what was read, in the order of each target."""
        if self._judging == "recorded":
            self.advance()
        return self._settled()

    def advance(self, settled_ms_max: int | None = None) -> None:
        """Moves each topic's time as far as its slowest source has come; where a most is given,
        nothing with a later settle time is due by it.
        """
        for topic, grace_ms in self._grace_ms.items():
            seen_ms = min(ms for (t, _), ms in self._seen_ms.items() if t == topic)
            if settled_ms_max is not None:
                seen_ms = min(seen_ms, settled_ms_max + grace_ms)
            self._push(topic, seen_ms)

    def end(self, as_of_ms: int) -> Iterator[Outcome]:
        """Ends the replay: all has been read; what settles by `as_of_ms`."""
        for topic, grace_ms in self._grace_ms.items():
            self._push(topic, as_of_ms + grace_ms)
        return self._settled()

    def open_outcomes(self) -> Iterator[Outcome]:
        """What is known of the outcomes that have not settled."""
        for target in self.targets:
            yield from (o for o in target.open_outcomes() if not self._forgotten.is_over(o))

    def _push(self, topic: str, until_ms: int) -> None:
        for target in self.targets:
            target.times.topics[topic].push(until_ms)

    def _settled(self) -> Iterator[Outcome]:
        for target in self.targets:
            is_settling = True
            while is_settling:
                yield from (o for o in target.finish().outcomes if o.is_settled and self._shows(o))
                is_settling = target.is_settling

    def _shows(self, outcome: Outcome) -> bool:
        """Whether an outcome is not forgotten; one that is is kept apart if the bins have it."""
        if not self._forgotten.is_over(outcome):
            return True
        if self._forgotten.is_counted(outcome):
            self.counted.append(nameless(outcome))
        return False


def _target_of(one: Decoded | Malformed, count: int) -> int:
    return target_of(one.key, count) if isinstance(one, Decoded) else 0


def _picked(
    records: Sequence[LogRecord],
    decoded: _Decodeds,
    is_picked: Callable[[LogRecord, Decoded | Malformed], bool],
) -> tuple[list[LogRecord], list[Decoded | Malformed]]:
    pairs = [
        (record, one)
        for record, one in zip(records, decoded, strict=True)
        if is_picked(record, one)
    ]
    return [record for record, _ in pairs], [one for _, one in pairs]

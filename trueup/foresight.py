"""What would become of a record that were sent now: the core itself judges it, on a copy of state.

Nothing here decides by a law of its own. The rows of the conversations in question are taken from
the resolver's changelog, and the very code that a worker runs admits the record. What a worker has
not read yet, and whether its policy file is this one, cannot be known.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass, field

from agents_topics.codec import Decoded, Malformed, decode_control
from agents_topics.envelopes import Headers
from agents_topics.events import Clock, Outcome, to_ms
from agents_topics.policy import Policy, PolicyProblem
from agents_topics.rules import FUTURE_MS_MAX
from agents_topics.topics import RESOLVER_CHANGELOG
from streams import changelog
from streams.changelog import PROGRESS_KEY, progress_of
from streams.fast_decoder import joined_decoders
from streams.resolve_outcomes import restore_times
from tables.outcome_resolver import OutcomeResolver
from trueup.plain_text import duration, shown, utc
from trueup.topic_reader import TopicReader


@dataclass(frozen=True, slots=True)
class Fate:
    """The class that a record would be in, why, and what it would say of which outcomes."""

    member: str
    reason: str = ""
    detail: str = ""
    outcomes: list[Outcome] = field(default_factory=list)

    def __str__(self) -> str:
        if self.member == "dead":
            return f"a dead letter again: {shown(self.reason)}: {shown(self.detail)}"
        if self.member == "late":
            return f"late: {self.detail}"
        if self.member == "duplicate":
            return f"a duplicate: {self.detail or 'its equal is admitted already'}"
        if self.member == "ignored":
            return "ignored: no policy version listens to its kind"
        told = [f"{o.outcome_type} of {shown(o.action_id)}: {o.status}" for o in self.outcomes]
        return f"admitted; {', '.join(told)}" if told else "admitted"


@dataclass(frozen=True, slots=True)
class _Sent:
    """A record as the core sees it."""

    offset: int
    timestamp: int


def read_event(
    topic: str, key: bytes | None, value: bytes | None, headers: Headers
) -> Decoded | Malformed:
    """The event of a joined topic's record, read as a worker reads it."""
    return _DECODERS[topic].decode(key, value, headers)


_DECODERS = joined_decoders()


class Foresight:
    """One partition's resolver, as its changelog has it; told records one after the other."""

    def __init__(self, resolver: OutcomeResolver) -> None:
        self._resolver = resolver
        resolver.finish()

    def of(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> Fate:
        """What would become of a record, after those that this was asked about before."""
        resolver = self._resolver
        before = {name: resolver.counts[topic, name] for name in ("duplicate", "ignored")}
        sent = _Sent(offset=2**62, timestamp=int(time.time() * 1000))
        resolver.admit(topic, [sent], [read_event(topic, key, value, headers)])
        step = resolver.finish()
        for refused in step.refused:
            return Fate("dead", refused.reason, refused.detail)
        for late in step.late:
            behind = duration(late.compared_ms - late.occurred_at_ms)
            return Fate(
                "late",
                late.reason,
                f"it happened {utc(late.occurred_at_ms)}, its topic is {behind} further, the grace "
                f"is {duration(late.grace_ms)}",
            )
        for name, count in before.items():
            if resolver.counts[topic, name] > count:
                return Fate(name)
        return Fate("admitted", outcomes=step.outcomes)


def fate_of_control(value: bytes | None) -> Fate:
    """What would become of a record of `control`."""
    found = decode_control(value)
    if isinstance(found, Malformed):
        return Fate("dead", found.reason, found.detail)
    if isinstance(found, Clock) and to_ms(found.until) > int(time.time() * 1000) + FUTURE_MS_MAX:
        return Fate("dead", "future", f"until {found.until}")
    return Fate("admitted")


async def foresight_into(
    reader: TopicReader,
    partition: int,
    policy: Policy,
    grace_ms: dict[str, int],
    keys: Collection[bytes],
) -> Foresight:
    """The state of some conversations, from the changelog's last stable offset.

    Raises:
        PolicyProblem: the state names a policy version that the policy lacks.
    """
    rows = await _rows_of(reader, partition, keys)
    resolver = OutcomeResolver(partition, policy, grace_ms)
    progress = rows.pop(PROGRESS_KEY, None)
    if progress is not None:
        restore_times(resolver, progress_of(progress, f"partition {partition}"))
    texts = {key.decode("utf-8", "replace") for key in keys}
    for key, value in rows.items():
        row = changelog.decode(value)
        if key.startswith(b"d/"):
            row = [one for one in row if one[0][0] in texts]
        try:
            resolver.restore(key, row)
        except KeyError as problem:
            raise PolicyProblem(
                f"The state names policy version {problem.args[0]}, which the policy lacks: set "
                "TRUEUP_POLICY to the worker's file."
            ) from None
    return Foresight(resolver)


async def _rows_of(
    reader: TopicReader, partition: int, keys: Collection[bytes]
) -> dict[bytes, bytes]:
    """The last rows of the conversations, all remembered ids, and the progress."""
    topic = RESOLVER_CHANGELOG.name
    rows: dict[bytes, bytes] = {}
    async for record in reader.records(topic, await reader.spans(topic, [partition])):
        key = record.key
        kind, conversation = key[:2], key[2:].partition(b"\0")[0]
        if (
            key != PROGRESS_KEY
            and kind != b"d/"
            and not (kind in (b"a/", b"i/") and conversation in keys)
        ):
            continue
        if record.value is None:
            rows.pop(key, None)
        else:
            rows[key] = record.value
    return rows

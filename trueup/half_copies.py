"""What a repartition leaves behind when it is cut short, and how that is known for one.

The changelog of the resolver is made last of all, so a half copy lacks it; no worker has written
there, and every record of the inputs says what it is a copy of.
"""

from collections.abc import Iterable
from typing import Literal

from aiokafka import ConsumerRecord

from agents_topics.connection import Connection
from agents_topics.letters import COPIED_FROM
from agents_topics.topics import (
    AGENT_ACTIONS,
    AGENT_FEEDBACK,
    AGENT_INTERACTIONS,
    CONTROL,
    POLICIES,
    RESOLVER_CHANGELOG,
    TOPICS,
)
from trueup.broker_view import administering
from trueup.topic_reader import TopicReader

SIZE_MAX = 1_000_000
"""A larger record is copied without our header, which would make it too large for its topic."""
_COPIED = frozenset((AGENT_ACTIONS.name, AGENT_INTERACTIONS.name, AGENT_FEEDBACK.name))
_SENT = frozenset((POLICIES.name, CONTROL.name))
"""What a copy writes beside what it copies: the rules, and a clock."""


class RepartitionRefused(Exception):
    """A copy would not be exact, or would mix with something: says why and what to do."""


async def refuse_half_copy(connection: Connection) -> None:
    """Returns where topics that lack may be made: with the last one a worker would start.

    Raises:
        RepartitionRefused: inputs and rules are there, and no worker has ever had a changelog.
    """
    async with administering(connection) as admin:
        there = set(await admin.list_topics())
    found = {topic.name for topic in TOPICS if connection.topic(topic.name) in there}
    if RESOLVER_CHANGELOG.name in found:
        return
    async with TopicReader(connection) as reader:
        holds = await holding(reader, found)
    if POLICIES.name in holds and holds & _COPIED and not holds - _COPIED - _SENT:
        raise RepartitionRefused(
            f"Under the prefix {connection.prefix} there is a copy that was cut short: run `trueup "
            "repartition` again, with --anew, or delete its topics."
        )


Copied = Literal["half", "whole"]


async def copied_so_far(reader: TopicReader, found: set[str], holds: set[str]) -> Copied | None:
    """What topics are of a copy on which no worker has begun: half of one, where the topic that is
    made last is not there, or a whole one; None where somebody else may have written. Nothing is
    lost with half a copy.
    """
    if holds - _COPIED - _SENT:
        return None
    for topic in holds & _COPIED:
        async for record in reader.records(topic, await reader.spans(topic)):
            is_copy = any(name == COPIED_FROM for name, _ in record.headers)
            if not is_copy and size_of(record) <= SIZE_MAX:
                return None
    return "whole" if RESOLVER_CHANGELOG.name in found else "half"


async def holding(reader: TopicReader, topics: Iterable[str]) -> set[str]:
    """Those that hold, or have held, a record."""
    spans = {topic: await reader.spans(topic) for topic in topics}
    return {topic for topic, of in spans.items() if any(end for _, end in of.values())}


def size_of(record: ConsumerRecord) -> int:
    """The bytes of a record's value and headers."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.value or b"") + headers

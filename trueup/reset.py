"""Everything derived goes, offsets, changelogs and rows together, and the inputs are read again.

The law: wherever a reset is cut short, no worker can take what is left for the whole. Rows go
first, with the offsets that stand among them: a publisher fills them again from the topics. Then
the topics go, all at once, while the group's offsets still say that there was a past: a task whose
changelog is empty refuses. The group goes last. Running it again ends it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupIdNotFound, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest

from agents_topics.connection import Connection
from agents_topics.rights import rights_of
from agents_topics.roster import AGENTS, GROUP
from agents_topics.topics import TOPICS
from sinks.postgres.queries import run_bound, run_sql
from sinks.postgres.tenant_tables import MADE_AGAIN
from streams.clients import KafkaClients
from streams.rights import Denied, lacking_by
from streams.topic_admin import create_topics
from streams.transactions import TaskProducer
from trueup.broker_view import administering, members_of
from trueup.embedded.problems import EnvironmentProblem
from trueup.topic_reader import TopicReader

DELETED_S_MAX = 30.0
POLL_S = 0.1

INPUTS = tuple(topic.name for topic in AGENTS[0].reads)
_OUTPUTS = {topic.name for row in AGENTS for topic in (*row.writes, row.changelog) if topic}
DERIVED = tuple(topic for topic in TOPICS if topic.name in _OUTPUTS)
"""What the agents have written."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a reset meets. Of topics by partition the first offset held and the end."""

    inputs: Mapping[str, Mapping[int, tuple[int, int]]]
    derived: Mapping[str, int]
    offsets: int
    rows: Mapping[str, int]

    @property
    def lost(self) -> dict[str, int]:
        """How many records of an input are gone: what they had said is not said again."""
        gone = {t: sum(first for first, _ in spans.values()) for t, spans in self.inputs.items()}
        return {topic: count for topic, count in gone.items() if count}


async def found(connection: Connection, url: str) -> Found:
    """What there is; changes nothing.

    Raises:
        EnvironmentProblem: a worker is at work, or an input topic is missing.
        PostgresProblem: Postgres is not there, or is not migrated.
    """
    async with administering(connection) as admin:
        await refuse_while_alive(admin, connection)
        there = set(await admin.list_topics())
    async with TopicReader(connection) as reader:
        inputs = {topic: await reader.spans(topic) for topic in INPUTS}
        derived = {}
        for topic in (topic.name for topic in DERIVED):
            if connection.topic(topic) in there:
                spans = await reader.spans(topic)
                derived[topic] = sum(end - first for first, end in spans.values())
        offsets = len(await reader.applied(GROUP))
    counts = [await run_bound(url, f"SELECT count(*) FROM tenant.{table}") for table in MADE_AGAIN]
    rows = {table: answer.rows[0][0] for table, answer in zip(MADE_AGAIN, counts, strict=True)}
    return Found(inputs, derived, offsets, rows)


async def reset(connection: Connection, url: str) -> None:
    """Nothing derived is left, and the derived topics are there, empty.

    Raises:
        Denied: this user may not do all of it; nothing was changed.
        EnvironmentProblem: a worker is at work, or an input topic is missing.
        PostgresProblem: this user may not empty the tables; nothing was changed.
        KafkaError: the broker refuses; what was done stays done, and it may be run again.
    """
    async with administering(connection) as admin:
        if lacks := await lacking_by(admin, connection, rights_of("reset", connection.prefix)):
            raise Denied(lacks)
        await refuse_while_alive(admin, connection)
        shape = await _shape_of(admin, connection)
        await _fence(connection, shape.partitions)
        await run_sql(url, "TRUNCATE " + ", ".join(f"tenant.{table}" for table in MADE_AGAIN))
        await delete_topics(admin, [connection.topic(topic.name) for topic in DERIVED])
        await create_topics(connection, shape.partitions, shape.replicas, DERIVED)
        await delete_group(admin, connection.topic(GROUP))


@dataclass(frozen=True, slots=True)
class _Shape:
    partitions: int
    replicas: int


async def refuse_while_alive(admin: AIOKafkaAdminClient, connection: Connection) -> None:
    """Returns where no worker is at work.

    Raises:
        EnvironmentProblem: one is.
    """
    group = connection.topic(GROUP)
    if count := await members_of(admin, group):
        raise EnvironmentProblem(
            f"The group {group} has {count} members at work.",
            "Stop every worker; one that was killed, or has a TRUEUP_INSTANCE_ID, is gone after "
            "its session's seconds.",
        )


async def _shape_of(admin: AIOKafkaAdminClient, connection: Connection) -> _Shape:
    """That of the first input: what is made anew is made alike."""
    name = connection.topic(INPUTS[0])
    (told,) = await admin.describe_topics([name])
    if not told["partitions"]:
        raise EnvironmentProblem(
            f"The topic {name} is not on the broker.", "Check KAFKA_BOOTSTRAP and TRUEUP_PREFIX."
        )
    return _Shape(len(told["partitions"]), min(len(p["replicas"]) for p in told["partitions"]))


async def _fence(connection: Connection, partitions: int) -> None:
    """A worker that only sleeps can write nothing more in its old name."""
    for row in AGENTS:
        for partition in range(partitions) if row.changelog else ():
            name = f"{row.transactional_ids}{partition}"
            producer = TaskProducer(KafkaClients(connection), name, connection.topic(GROUP))
            try:
                await producer.open()
            finally:
                await producer.close()


async def delete_topics(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """They are gone when this returns; those that were not there are no error."""
    response = await admin.delete_topics(list(names))
    for name, code in response.topic_error_codes:
        if code and for_code(code) is not UnknownTopicOrPartitionError:
            raise for_code(code)(name)
    deadline_s = time.monotonic() + DELETED_S_MAX
    while left := set(names) & set(await admin.list_topics()):
        if time.monotonic() > deadline_s:
            raise EnvironmentProblem(
                f"The broker has not deleted {', '.join(sorted(left))} yet.",
                "Run `trueup reset --yes` again.",
            )
        await asyncio.sleep(POLL_S)


async def delete_group(admin: AIOKafkaAdminClient, group: str) -> None:
    """Its offsets are gone; the broker refuses while it has a member."""
    coordinator = await admin.find_coordinator(group)
    response = await admin._send_request(DeleteGroupsRequest([group]), coordinator)
    for _, code in response.results:
        if code and for_code(code) is not GroupIdNotFound:
            raise for_code(code)(group)

"""Topics on the broker: created and checked by the operator's commands, never by a worker."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaTimeoutError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from agents_topics.connection import Connection
from agents_topics.rights import rights_of, rights_to_look
from agents_topics.roster import AGENTS
from agents_topics.topics import DAY_MS, FOREVER_MS, TOPICS, Topic
from streams.changelog import REBUILD
from streams.rights import Denied, lacking_by, naming

SEEN_WITHIN_S = 30
"""How long brokers may take to learn of a topic that was made."""
SPARE_MS = 7 * DAY_MS
"""How much longer than the longest window and its grace a topic must keep its records."""


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """What is wrong with a topic on the broker, and what to do. A warning stops nobody."""

    topic: str
    reason: str
    is_warning: bool = False


async def create_topics(
    connection: Connection,
    partitions: int,
    replication: int | None = None,
    topics: Collection[Topic] = TOPICS,
) -> list[str]:
    """Creates the topics that are missing; returns their names.

    Args:
        connection: Where.
        partitions: How many each gets.
        replication: How many replicas each gets; as recommended, or one a broker, if not given.
        topics: Those that there must be.

    Raises:
        Denied: its user may not look; a topic that it may not see is not taken for a missing one.
        KafkaError: the broker refuses one, or does not come to know of it.
    """
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    try:
        names = {connection.topic(topic.name) for topic in topics}
        needed = rights_of("topics-create", connection.prefix)
        needed = [right for right in needed if right.resource != "topic" or right.name in names]
        if lacks := await lacking_by(admin, connection, needed):
            raise Denied(lacks)
        there = set(await admin.list_topics())
        missing = [topic for topic in topics if connection.topic(topic.name) not in there]
        if not missing:
            return []
        brokers = len((await admin.describe_cluster())["brokers"])
        wanted = []
        for topic in missing:
            count = replication or min(topic.replication_recommended, brokers)
            wanted.append(
                NewTopic(
                    connection.topic(topic.name),
                    partitions,
                    count,
                    topic_configs=topic.config_with(count),
                )
            )
        response = await admin.create_topics(wanted)
        created = list(_created(response.topic_errors))
        await _seen_by_broker(admin, created)
        return created
    finally:
        await admin.close()


async def _seen_by_broker(admin: AIOKafkaAdminClient, names: list[str]) -> None:
    """Waits for topics: the controller answers before the brokers know what it has made."""
    unseen = set(names)
    try:
        async with asyncio.timeout(SEEN_WITHIN_S):
            while unseen := unseen - set(await admin.list_topics()):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise KafkaTimeoutError(
            f"{', '.join(sorted(unseen))}: created, and the broker does not know of it after "
            f"{SEEN_WITHIN_S} s: look at its log; `trueup topics check` says when it is there"
        ) from None


def _created(answers: Sequence[Any]) -> Iterator[str]:
    """The names of those that were made; one that somebody else has just made is not among them."""
    for name, code, *rest in answers:
        error = for_code(code)
        if error is TopicAlreadyExistsError:
            continue
        if error is TopicAuthorizationFailedError:
            with naming("Create"):
                raise error(name)
        if code:
            raise error(f"{name}: {rest[0] if rest else ''}")
        yield name


async def check_topics(
    connection: Connection, partitions: int, longest_ms: int = 0
) -> list[TopicProblem]:
    """What a worker would stumble over: missing topics, other partition counts or settings.

    Args:
        connection: Where the topics are.
        partitions: How many each must have.
        longest_ms: The longest wait from an action to its settle time, grace included.

    Raises:
        Denied: its user may not look; a topic that it may not see is not taken for a missing one.
    """
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    try:
        lacks = await lacking_by(admin, connection, rights_to_look(connection.prefix))
        if lacks:
            raise Denied(lacks)
        settings = await _settings_of(admin, [connection.topic(topic.name) for topic in TOPICS])
        needed = [connection.topic(topic.name) for topic in TOPICS if topic.is_needed]
        missing = [name for name in needed if name not in settings]
        problems = [TopicProblem(n, "is missing: `trueup topics create` makes it") for n in missing]
        changelogs = {connection.topic(row.changelog.name) for row in AGENTS if row.changelog}
        replicas = {}
        for found in await admin.describe_topics(list(settings)) if settings else []:
            count = len(found["partitions"])
            if not count:  # it has gone meanwhile
                continue
            replicas[found["topic"]] = min(len(p["replicas"]) for p in found["partitions"])
            if count != partitions:
                reason = (
                    f"has {count} partitions, TRUEUP_PARTITIONS says {partitions}: every topic "
                    "needs the same number, as the state was made for"
                )
                if found["topic"] in changelogs:
                    reason += f"; if the inputs have {partitions}: {REBUILD}"
                problems.append(TopicProblem(found["topic"], reason))
        brokers = len((await admin.describe_cluster())["brokers"])
        for topic in TOPICS:
            name = connection.topic(topic.name)
            if name in replicas:
                found_problems = _problems_of(topic, settings[name], longest_ms + SPARE_MS)
                problems += [TopicProblem(name, reason) for reason in found_problems]
                in_sync = int(settings[name].get("min.insync.replicas", 1))
                problems += replica_problems(topic, name, replicas[name], in_sync, brokers)
        return problems
    finally:
        await admin.close()


def replica_problems(
    topic: Topic, name: str, replicas: int, in_sync: int, brokers: int
) -> Iterator[TopicProblem]:
    """What the replicas of a topic lack, as far as there are brokers to hold more.

    >>> [p.reason for p in replica_problems(TOPICS[0], "a", 1, 1, brokers=1)]
    []
    >>> [p.is_warning for p in replica_problems(TOPICS[0], "a", 3, 1, brokers=3)]
    [True]
    """
    fix = "`kafka-configs --alter --add-config min.insync.replicas={}`"
    if in_sync > replicas:
        most = max(replicas - 1, topic.in_sync_min)
        reason = (
            f"has min.insync.replicas={in_sync} and {replicas} replicas: nothing can be written"
        )
        yield TopicProblem(name, f"{reason}: {fix.format(most)}")
    if replicas < min(topic.replication_recommended, brokers):
        reason = f"has {replicas} replicas of {topic.replication_recommended} recommended"
        yield TopicProblem(name, f"{reason}: `kafka-reassign-partitions` adds them", True)
    elif in_sync < topic.in_sync_recommended < replicas:
        reason = f"has min.insync.replicas={in_sync}: one lost broker may take records with it"
        yield TopicProblem(name, f"{reason}: {fix.format(topic.in_sync_recommended)}", True)


async def _settings_of(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """By topic that is there what the broker says of it.

    Raises:
        KafkaError: it may not be asked.
    """
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    settings = {}
    for answer in await admin.describe_configs(asked) if names else []:
        for code, message, _, name, entries, *_ in answer.resources:
            if for_code(code) is UnknownTopicOrPartitionError:
                continue
            if code:
                raise for_code(code)(f"{name}: {message}")
            settings[name] = {entry[0]: entry[1] for entry in entries}
    return settings


def _problems_of(topic: Topic, found: Mapping[str, str], kept_ms_min: int) -> Iterator[str]:
    """Settings under which results would be wrong or records lost, each with the one to give."""
    wanted = topic.broker_config()
    fix = "`kafka-configs --alter --add-config {}={}`"
    for name in ("cleanup.policy", "message.timestamp.type"):
        if found[name] != wanted[name]:
            yield f"has {name}={found[name]}: {fix.format(name, wanted[name])}"
    if int(found["max.message.bytes"]) < topic.message_bytes_max:
        name = "max.message.bytes"
        yield f"has {name}={found[name]}: {fix.format(name, wanted[name])}"
    if "delete" not in found["cleanup.policy"]:
        return
    if int(found["retention.bytes"]) != FOREVER_MS:
        yield f"has retention.bytes={found['retention.bytes']}: {fix.format('retention.bytes', -1)}"
    if FOREVER_MS != int(found["retention.ms"]) < kept_ms_min:
        yield (
            f"has retention.ms={found['retention.ms']}, less than the longest window, its grace "
            f"and 7 days: {fix.format('retention.ms', kept_ms_min)} at least"
        )

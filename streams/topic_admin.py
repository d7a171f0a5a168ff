"""Topics on the broker: created and checked by the operator's commands, never by a worker."""

from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from agents_topics.connection import Connection
from agents_topics.topics import TOPICS


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """What is wrong with a topic on the broker, and what to do."""

    topic: str
    reason: str


async def create_topics(connection: Connection, partitions: int, replication: int = 1) -> list[str]:
    """Creates the topics that are missing; returns their names.

    Raises:
        KafkaError: the broker refuses one.
    """
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    try:
        there = set(await admin.list_topics())
        missing = [topic for topic in TOPICS if connection.topic(topic.name) not in there]
        if not missing:
            return []
        response = await admin.create_topics(
            [
                NewTopic(
                    connection.topic(topic.name),
                    partitions,
                    replication,
                    topic_configs=topic.broker_config(),
                )
                for topic in missing
            ]
        )
        for name, code, *rest in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"{name}: {rest[0] if rest else ''}")
        return [connection.topic(topic.name) for topic in missing]
    finally:
        await admin.close()


async def check_topics(connection: Connection, partitions: int) -> list[TopicProblem]:
    """What a worker would stumble over: missing topics, other partition counts."""
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    try:
        there = set(await admin.list_topics())
        names = [connection.topic(topic.name) for topic in TOPICS]
        missing = [name for name in names if name not in there]
        problems = [TopicProblem(n, "is missing: `trueup topics create` makes it") for n in missing]
        present = [name for name in names if name in there]
        for found in await admin.describe_topics(present) if present else []:
            count = len(found["partitions"])
            if count != partitions:
                problems.append(
                    TopicProblem(
                        found["topic"],
                        f"has {count} partitions, TRUEUP_PARTITIONS says {partitions}: every "
                        "topic needs the same number, as the state was made for",
                    )
                )
        return problems
    finally:
        await admin.close()

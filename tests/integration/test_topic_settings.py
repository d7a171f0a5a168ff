"""Topics whose settings would make results wrong or lose records are named with the fix."""

import asyncio
import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from agents_topics.connection import Connection
from agents_topics.topics import TOPICS, TREND_CHANGES
from streams.topic_admin import check_topics, create_topics
from tests.topic_configs import configure

DAY_MS = 86_400_000


@pytest.fixture
async def connection(kafka_bootstrap):
    made = Connection(bootstrap=kafka_bootstrap, prefix=f"s{uuid.uuid4().hex[:8]}-")
    await create_topics(made, 1)
    return made


async def alter(connection, topic, **changes):
    config = next(t for t in TOPICS if t.name == topic).broker_config()
    config |= {name.replace("_", "."): value for name, value in changes.items()}
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    try:
        await configure(admin, {connection.topic(topic): config})
    finally:
        await admin.close()


async def checked(connection, is_problem):
    """What is found once the broker has taken in what was altered."""
    for _ in range(50):
        problems = await check_topics(connection, 1, 30 * DAY_MS)
        if bool(problems) == is_problem:
            break
        await asyncio.sleep(0.1)
    return problems


async def test_topics_as_they_are_created_have_no_problem(connection):
    assert await check_topics(connection, 1, 700 * DAY_MS) == []


async def test_an_installation_that_is_older_than_a_topic_is_told_to_make_it(kafka_bootstrap):
    made = Connection(bootstrap=kafka_bootstrap, prefix=f"s{uuid.uuid4().hex[:8]}-")
    await create_topics(made, 1, topics=[topic for topic in TOPICS if topic is not TREND_CHANGES])

    (problem,) = await checked(made, is_problem=True)

    assert problem.topic == made.topic("trend-changes")
    assert problem.reason == "is missing: `trueup topics create` makes it"
    await create_topics(made, 1)
    assert await checked(made, is_problem=False) == []


@pytest.mark.parametrize(
    ("topic", "changes", "told"),
    [
        (
            "outcome-resolver-changelog",
            {"cleanup_policy": "compact,delete"},
            "cleanup.policy=compact",
        ),
        ("calibrator-changelog", {"cleanup_policy": "delete"}, "cleanup.policy=compact"),
        ("agent-actions", {"cleanup_policy": "compact"}, "cleanup.policy=delete"),
        ("agent-interactions", {"message_timestamp_type": "CreateTime"}, "type=LogAppendTime"),
        ("control", {"retention_bytes": "1000000"}, "retention.bytes=-1"),
        ("agent-actions", {"retention_ms": str(36 * DAY_MS)}, f"retention.ms={37 * DAY_MS}"),
        ("dead-letters", {"max_message_bytes": "1000000"}, "max.message.bytes=2097176"),
    ],
)
async def test_a_setting_that_loses_or_bends_records_is_named_with_the_fix(
    connection, topic, changes, told
):
    await alter(connection, topic, **changes)

    problems = await checked(connection, True)

    assert {p.topic for p in problems} == {connection.topic(topic)}
    assert any(told in problem.reason for problem in problems), problems


async def test_a_retention_that_suffices_is_no_problem(connection):
    await alter(connection, "agent-actions", retention_ms=str(36 * DAY_MS))
    assert await checked(connection, True)

    await alter(connection, "agent-actions", retention_ms=str(37 * DAY_MS))
    assert not await checked(connection, False)


async def test_a_topic_that_no_agent_reads_may_be_made_later(connection):
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    try:
        await admin.delete_topics([connection.topic(t) for t in ("agent-feedback", "control")])
    finally:
        await admin.close()

    problems = await checked(connection, True)

    assert {problem.topic for problem in problems} == {connection.topic("control")}
    assert "agent-feedback" in str(await create_topics(connection, 1))

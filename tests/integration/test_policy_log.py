"""The topic `policies` on a real broker: recorded once, and another past is refused."""

import uuid

import pytest

from agents_topics.connection import connection_of
from agents_topics.policy_history import record_of
from streams.policy_log import enter_policy, recorded_policies
from streams.topic_admin import create_topics
from tests.unit.test_policy_history import file_of

FIRST, SECOND = (None, 24), ("2026-03-01T00:00:00Z", 12)
PLANNED = ("2126-03-01T00:00:00Z", 6)


@pytest.fixture
async def enter(kafka_bootstrap):
    """Enters a policy, as a worker does when it starts."""
    prefix = f"policies-{uuid.uuid4().hex[:8]}-"
    connection = connection_of({"KAFKA_BOOTSTRAP": kafka_bootstrap, "TRUEUP_PREFIX": prefix})
    await create_topics(connection, 2)

    async def entered(*versions):
        problems = await enter_policy(connection, file_of(*versions))
        recorded = {r.digest: r for r in await recorded_policies(connection)}
        return problems, recorded

    return entered


async def test_versions_are_recorded_once_and_a_plan_may_change(enter):
    await enter(FIRST, SECOND, PLANNED)
    problems, recorded = await enter(FIRST, SECOND, (PLANNED[0], 7))

    assert problems == []
    wanted = file_of(FIRST, SECOND, (PLANNED[0], 7)).versions
    assert recorded == {version.digest: record_of(version) for version in wanted}


async def test_another_past_is_refused_and_not_recorded(enter):
    _, before = await enter(FIRST, SECOND)

    problems, after = await enter((None, 25))

    assert len(problems) == 2
    assert "rules.toml, line 2: the version in force since the beginning was changed" in problems[0]
    assert "lacks the version in force since 2026-03-01" in problems[1]
    assert after == before

"""One tenant has nearly all of the events, over very many keys: what is held of them is let go."""

import json

import pytest
from aiokafka import AIOKafkaConsumer

from agents_topics.events import to_timestamp
from agents_topics.identifiers import key_of, tenant_id_of
from agents_topics.roster import RESOLVER
from agents_topics.topics import AGENT_ACTIONS, RESOLVER_CHANGELOG
from sinks.postgres.queries import run_sql
from streams.broker import last_values
from tests.faults.runs import PARTITIONS
from tests.faults.test_postgres_away import until
from trueup.emit import Sender, send_clock

KEYS, QUIET_ONE_IN = 20_000, 10
AT_MS = 1_767_571_200_000
DAY_MS = 86_400_000
ROWS_MAX = 50
"""Of a task that holds no action: its progress, counts, and ids of the last minutes in chunks."""


async def send_wave(connection, wave):
    """An action in each of the conversations, a tenth of them the quiet tenants', a day a wave."""
    async with Sender(connection) as sender:
        for number in range(KEYS):
            is_quiet = number % QUIET_ONE_IN == 0
            tenant_id = tenant_id_of(f"quiet-{number % 70}" if is_quiet else "hot")
            conversation_id = f"c{wave}-{number}"
            body = {
                "event_id": f"a{wave}-{number}",
                "tenant_id": tenant_id,
                "conversation_id": conversation_id,
                "action_type": "send_email",
                "predicted_confidence": 0.5,
                "occurred_at": to_timestamp(AT_MS + wave * 3 * DAY_MS + number),
            }
            key = key_of(tenant_id, conversation_id).encode()
            await sender.send(AGENT_ACTIONS.name, key, json.dumps(body).encode())


async def rows_held(connection):
    """How many rows each partition of the resolver's changelog holds."""
    reader = AIOKafkaConsumer(**connection.client_options(), isolation_level="read_committed")
    await reader.start()
    try:
        topic = connection.topic(RESOLVER_CHANGELOG.name)
        return [len((await last_values(reader, topic, p))[0]) for p in range(PARTITIONS)]
    finally:
        await reader.stop()


@pytest.mark.soak
async def test_the_state_of_very_many_keys_is_let_go_once_they_have_settled(run):
    it = run(1, 200)
    await it.prepare()
    it.start("a")
    worker = it.workers["a"]
    await worker.wait_until_ready()
    most = 0

    for wave in range(2):
        await send_wave(it.connection, wave)
        clock = to_timestamp(AT_MS + (wave * 3 + 2) * DAY_MS)
        await send_clock(it.connection, clock, PARTITIONS)
        expected = (wave + 1) * KEYS

        async def is_settled(expected=expected):
            nonlocal most
            tasks = worker.status()["tasks"]
            most = max(most, sum(t["open"] for t in tasks if t["agent"] == RESOLVER.name))
            sql = "SELECT count(*) FROM tenant.outcome_records WHERE is_settled"
            return (await run_sql(it.url, sql)).rows == [(expected,)]

        await until(is_settled, 120, "not settled")

    held = await rows_held(it.connection)
    tasks = [t for t in worker.status()["tasks"] if t["agent"] == RESOLVER.name]
    assert 0 < most <= KEYS
    assert sum(task["open"] for task in tasks) == 0
    assert max(held) <= ROWS_MAX, held

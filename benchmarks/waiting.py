"""How long an action takes from its send to its row in Postgres, in live mode."""

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np
from confluent_kafka import Producer

from agents_topics.connection import Connection
from agents_topics.events import to_timestamp
from agents_topics.identifiers import key_of, tenant_id_of

PER_SECOND = 100
SECONDS = 20
POLL_S = 0.005
SLACK = timedelta(milliseconds=1)
"""An action's time is in whole milliseconds."""
NEW = (
    "SELECT action_id FROM tenant.outcome_records"
    " WHERE tenant_id = $1 AND action_type = 'send_chat' AND created_at >= $2 AND rep_id = $3"
)
"""By an index, from the first action on that has no row yet: looking on must not cost a core."""


async def latencies_ms(connection: Connection, url: str) -> dict[str, float]:
    """Median and 99th percentile over actions that are sent at a steady pace."""
    producer = Producer(
        {"bootstrap.servers": connection.bootstrap, "partitioner": "murmur2_random", "linger.ms": 0}
    )
    topic = connection.topic("agent-actions")
    run = str(uuid.uuid4())
    tenant_id = tenant_id_of("latency")
    sent: dict[str, float] = {}
    waiting: dict[str, datetime] = {}
    """By action, in the order in which they were sent: when it happened."""
    stored: dict[str, float] = {}

    async def send() -> None:
        began = time.perf_counter()
        for number in range(PER_SECOND * SECONDS):
            now = datetime.now(UTC)
            body = _action(tenant_id, run, number, now)
            producer.produce(topic, json.dumps(body).encode(), _key(body))
            producer.poll(0)
            sent[body["event_id"]] = time.perf_counter()
            waiting[body["event_id"]] = now
            await asyncio.sleep(max(began + number / PER_SECOND - time.perf_counter(), 0))
        producer.flush()

    database = await asyncpg.connect(url)
    sending = asyncio.create_task(send())
    until = time.perf_counter() + SECONDS + 60
    while not sending.done() or len(stored) < len(sent):
        since = next(iter(waiting.values()), None)
        rows = await database.fetch(NEW, tenant_id, since - SLACK, run) if since else ()
        for (action_id,) in rows:
            if waiting.pop(action_id, None):
                stored[action_id] = time.perf_counter()
        if time.perf_counter() > until:
            raise TimeoutError(f"{len(stored)} of {len(sent)} actions reached Postgres")
        await asyncio.sleep(POLL_S)
    await database.close()
    waited = np.array([(stored[name] - at) * 1000 for name, at in sent.items()])
    return {
        "actions": len(waited),
        "per_second": PER_SECOND,
        "p50": round(float(np.percentile(waited, 50)), 1),
        "p99": round(float(np.percentile(waited, 99)), 1),
    }


def _action(tenant_id: str, run: str, number: int, now: datetime) -> dict[str, str | float]:
    return {
        "event_id": f"{run[:8]}-{number}",
        "tenant_id": tenant_id,
        "conversation_id": f"latency-{number % 50}",
        "action_type": "send_chat",
        "predicted_confidence": 0.5,
        "occurred_at": to_timestamp(int(now.timestamp() * 1000)),
        "rep_id": run,
    }


def _key(body: dict[str, str | float]) -> bytes:
    return key_of(str(body["tenant_id"]), str(body["conversation_id"])).encode()

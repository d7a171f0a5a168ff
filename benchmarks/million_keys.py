"""What is held of a million keys, most of them one tenant's, before and after their windows close.

    .venv/bin/python -m benchmarks.million_keys [keys]

An action in each of so many conversations, nine in ten of them one tenant's, all open at once in a
worker with the outcome resolver alone; then a clock record closes all windows. Held is what the
changelog has for a worker that would restore it, rows and bytes of the newest row of each key, and
the worker's memory: before there was anything, with all open, when all has settled, and that of a
new worker that takes up what is left.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

import psutil

from agents_topics.connection import Connection, connection_of
from agents_topics.events import to_timestamp
from agents_topics.identifiers import key_of, tenant_id_of
from agents_topics.topics import AGENT_ACTIONS, RESOLVER_CHANGELOG
from benchmarks.loading import close_windows, installation, produce
from benchmarks.peers_workload import HOUR_MS, START_MS
from benchmarks.recording import circumstances, record
from benchmarks.resolver import PARTITIONS, Measured, running, wait_for
from streams.broker import last_values
from streams.clients import KafkaClients
from streams.topic_admin import create_topics
from trueup.embedded.servers import servers

QUIET_ONE_IN, QUIET_TENANTS = 10, 70
CLOSED_MS = START_MS + 100 * HOUR_MS


def actions_of(keys: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Over one hour, each in a conversation of its own: topic, key, value."""
    hot = tenant_id_of("hot")
    quiet = [tenant_id_of(f"quiet-{number}") for number in range(QUIET_TENANTS)]
    for number in range(keys):
        is_quiet = number % QUIET_ONE_IN == 0
        tenant = quiet[number // QUIET_ONE_IN % QUIET_TENANTS] if is_quiet else hot
        body = {
            "event_id": f"a{number}",
            "tenant_id": tenant,
            "conversation_id": f"c{number}",
            "action_type": "send_email",
            "predicted_confidence": 0.7,
            "occurred_at": to_timestamp(START_MS + number * HOUR_MS // keys),
        }
        key = key_of(tenant, body["conversation_id"])
        yield AGENT_ACTIONS.name, key.encode(), json.dumps(body).encode()


async def changelog_held(connection: Connection) -> dict[str, int]:
    """Rows and bytes that a restore would take up."""
    reader = KafkaClients(connection).reader()
    await reader.start()
    rows = size = 0
    try:
        topic = connection.topic(RESOLVER_CHANGELOG.name)
        for partition in range(PARTITIONS):
            held, _ = await last_values(reader, topic, partition)
            rows += len(held)
            size += sum(len(key) + len(value) for key, value in held.items())
    finally:
        await reader.stop()
    return {"changelog_rows": rows, "changelog_bytes": size}


def rss_mb(measured: Measured) -> int:
    """The memory of a worker's process."""
    return round(psutil.Process(measured.worker.process.pid).memory_info().rss / 2**20)


def measure(connection: Connection, settings: Mapping[str, str], keys: int) -> dict[str, object]:
    """One worker from the first action to the last outcome, and one after it."""
    with running(settings, "outcome-resolver") as first:
        empty = {"rss_mb": rss_mb(first)}
        produce(connection, actions_of(keys))
        wait_for(keys, first.open_count)
        time.sleep(2)
        opened = {
            "seconds": round(time.monotonic() - first.began_s, 1),
            "open": first.open_count(),
            "rss_mb": rss_mb(first),
            **asyncio.run(changelog_held(connection)),
        }
        close_windows(connection, CLOSED_MS, PARTITIONS)
        wait_for(keys, first.settled_count)
        wait_for(PARTITIONS, lambda: first.promised_count(CLOSED_MS))
        time.sleep(2)
        closed = {
            "seconds": round(time.monotonic() - first.began_s, 1),
            "open": first.open_count(),
            "settled": first.settled_count(),
            "rss_mb": rss_mb(first),
            **asyncio.run(changelog_held(connection)),
        }
    with running(settings, "outcome-resolver") as second:
        after = {"open": second.open_count(), "rss_mb": rss_mb(second)}
    return {"keys": keys, "empty": empty, "open": opened, "closed": closed, "a_new_worker": after}


def main() -> None:
    """Runs once and writes a result."""
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with servers() as embedded, tempfile.TemporaryDirectory() as folder:
        settings = installation(embedded, folder)
        connection = connection_of(settings)
        asyncio.run(create_topics(connection, PARTITIONS))
        measured = measure(connection, settings, keys)
    record("million_keys", {**circumstances(f"million_keys {keys}"), **measured})


if __name__ == "__main__":
    main()

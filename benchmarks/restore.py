"""How long a worker takes to come back with many open actions.

    .venv/bin/python -m benchmarks.restore [actions]

Open actions, each in a conversation of its own, are resolved by a worker that is then killed with
-9; a second one restores them all from the changelog.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from agents_topics.connection import connection_of
from agents_topics.events import to_timestamp
from agents_topics.identifiers import key_of, tenant_id_of
from benchmarks.loading import installation, load
from benchmarks.peers_workload import START_MS, Workload
from benchmarks.recording import circumstances, record
from benchmarks.resolver import PARTITIONS, running, wait_for
from streams.topic_admin import create_topics
from trueup.embedded.servers import servers


def open_actions(count: int) -> Workload:
    """Actions over one hour, whose windows nothing closes."""
    tenants = [tenant_id_of(f"tenant-{number:02d}") for number in range(20)]
    records = []
    for number in range(count):
        tenant, conversation = tenants[number % 20], f"conversation-{number:08d}"
        body = {
            "event_id": f"event-{number:08d}",
            "tenant_id": tenant,
            "conversation_id": conversation,
            "action_type": "qualify",
            "predicted_confidence": 0.7,
            "occurred_at": to_timestamp(START_MS + number * 3_600_000 // count),
            "deal_stage": "discovery",
            "agent_id": f"agent-{number % 97:03d}",
        }
        records.append((key_of(tenant, conversation).encode(), json.dumps(body).encode()))
    return Workload(records, [], {})


def main() -> None:
    """Runs once and writes a result."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with servers() as embedded, tempfile.TemporaryDirectory() as folder:
        settings = installation(embedded, folder)
        connection = connection_of(settings)
        asyncio.run(create_topics(connection, PARTITIONS))
        load(connection, open_actions(count))
        with running(settings, "outcome-resolver") as first:
            wait_for(count, first.open_count)
            time.sleep(2)
            first.worker.process.kill()
            first.worker.process.wait()
        with running(settings, "outcome-resolver") as second:
            seconds = time.monotonic() - second.began_s
            restored = second.open_count()
            cost = second.cost(count)
        opened = [
            json.loads(line)["seconds"]
            for line in (Path(folder) / "worker.log").read_text().splitlines()
            if '"task_opened"' in line
        ][-PARTITIONS:]
    result = {
        **circumstances(f"restore {count}"),
        "open_actions": count,
        "restored": restored,
        "seconds_from_start_to_ready": round(seconds, 1),
        "seconds_to_open_the_slowest_task": max(opened),
        "cpu_s": round(cost["cpu_s_per_million"] * count / 1e6, 1),
        "peak_rss_mb": cost["peak_rss_mb"],
    }
    record("restore", result)


if __name__ == "__main__":
    main()

"""What a million input events cost: the peers' workload through a worker into Postgres.

    .venv/bin/python -m benchmarks.resolver [scale]

Starts the embedded servers, loads the input topics, then starts one worker and waits until every
outcome is in Postgres. Every outcome is compared with the workload's truth. CPU seconds are the
worker's process alone; broker and Postgres are given beside it.
"""

import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from agents_topics.connection import connection_of
from benchmarks.loading import close_windows, load
from benchmarks.peers_workload import CLOSED_MS, generate
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import run_sql
from streams.topic_admin import create_topics
from trueup.embedded.servers import servers
from trueup.worker_process import WorkerProcess

POLICY = Path(__file__).parent / "peers_policy.toml"
RESULTS = Path(__file__).parent / "results"
SECONDS_MAX = 540
SETTLED = "SELECT count(*) FROM tenant.outcome_records WHERE is_settled"


def cpu_s(pid: int) -> float:
    """User and system seconds of a process and its children."""
    process = psutil.Process(pid)
    return sum(
        one.cpu_times().user + one.cpu_times().system
        for one in [process, *process.children(recursive=True)]
    )


async def wait_until_settled(url: str, worker: WorkerProcess, events: int, count: int) -> tuple:
    """Seconds and worker CPU until the resolver has settled all, and until Postgres has it."""
    resolved = None
    began = time.monotonic()
    while time.monotonic() - began < SECONDS_MAX:
        status = await asyncio.to_thread(worker.status)
        tasks = (status or {}).get("tasks", ())
        settled = sum(
            n for t in tasks for name, n in t.get("counts", {}).items() if "settled/" in name
        )
        if resolved is None and settled >= count:
            resolved = (time.monotonic() - began, cpu_s(worker.process.pid))
        if resolved and (await run_sql(url, SETTLED)).rows[0][0] >= count:
            return *resolved, time.monotonic() - began, cpu_s(worker.process.pid)
        await asyncio.sleep(0.2)
    raise TimeoutError(f"{settled} of {count} outcomes of {events} events in {SECONDS_MAX} s")


async def wrong_outcomes(url: str, truth: dict[str, tuple[str, int]]) -> int:
    """How many outcomes are not the truth's, or missing."""
    answer = await run_sql(
        url,
        "SELECT action_id, outcome_status, (extract(epoch FROM resolved_at) * 1000)::bigint"
        " FROM tenant.outcome_records WHERE is_settled",
    )
    found = {action_id: (status, at) for action_id, status, at in answer.rows}
    return sum(found.get(name) != expected for name, expected in truth.items()) + len(
        found.keys() - truth.keys()
    )


def main() -> None:
    """Runs once and writes a result."""
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    workload = generate(scale)
    events = len(workload.actions) + len(workload.interactions)
    with servers() as running, tempfile.TemporaryDirectory() as folder:
        settings = {
            "KAFKA_BOOTSTRAP": running.kafka_bootstrap,
            "DATABASE_URL": running.database_url,
            "TRUEUP_POLICY": str(POLICY),
            "TRUEUP_DATA_FOLDER": folder,
        }
        connection = connection_of(settings)
        migrate(running.database_url)
        asyncio.run(create_topics(connection, 4))
        load(connection, workload)
        close_windows(connection, CLOSED_MS, 4)
        worker = WorkerProcess(settings, Path(folder) / "worker.log")
        try:
            asyncio.run(worker.wait_until_ready())
            resolved_s, resolved_cpu, stored_s, stored_cpu = asyncio.run(
                wait_until_settled(running.database_url, worker, events, len(workload.actions))
            )
            peak = psutil.Process(worker.process.pid).memory_info().rss >> 20
        finally:
            worker.stop()
        wrong = asyncio.run(wrong_outcomes(running.database_url, workload.truth))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    loop = time.process_time()
    for _ in range(20_000):
        sum(range(1000))
    result = {
        "command": f"python -m benchmarks.resolver {scale}",
        "commit": commit,
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "sum_range_1000_us": round((time.process_time() - loop) / 20_000 * 1e6, 1),
        "events": events,
        "outcomes": len(workload.truth),
        "wrong_outcomes": wrong,
        "resolved_s": round(resolved_s, 1),
        "worker_cpu_s_per_million_until_resolved": round(resolved_cpu / events * 1e6, 1),
        "stored_s": round(stored_s, 1),
        "events_per_s_until_stored": round(events / stored_s),
        "worker_cpu_s_per_million_until_stored": round(stored_cpu / events * 1e6, 1),
        "worker_rss_mb": peak,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "resolver.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

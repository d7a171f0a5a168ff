"""What commands cost before they do anything, and a worker until it is ready: CPU seconds.

    .venv/bin/python -m benchmarks.startup

The least and the median of several runs; other work on the machine makes all of them dearer, so
`sum_range_1000_us` stands beside them.
"""

import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from agents_topics.connection import connection_of
from benchmarks.resolver import PARTITIONS, RESULTS, commit_now, loop_us
from sinks.postgres.migrate import migrate
from streams.topic_admin import create_topics
from trueup.embedded.servers import servers
from trueup.worker_process import WorkerProcess

RUNS = 7
WORKER_RUNS = 3
TRUEUP = [sys.executable, "-m", "trueup"]
EVENT = {
    "event_id": "e1",
    "tenant_id": "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5",
    "conversation_id": "c1",
    "action_type": "send_email",
    "predicted_confidence": 0.82,
    "occurred_at": "2026-02-01T09:00:00Z",
}


def cpu_s(run: Callable[[], object]) -> float:
    """User and system time of the child processes that ended meanwhile."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(runs: int, run: Callable[[], object]) -> dict[str, float]:
    """Several runs."""
    found = [cpu_s(run) for _ in range(runs)]
    return {"least": round(min(found), 2), "median": round(statistics.median(found), 2)}


def command(folder: str, *words: str) -> Callable[[], object]:
    """A run of the command."""
    return lambda: subprocess.run(
        [*TRUEUP, *words], cwd=folder, stdout=subprocess.DEVNULL, check=True
    )


def worker(settings: dict[str, str], folder: str) -> Callable[[], object]:
    """A worker from its start until it is ready, and what stopping it takes."""

    def run() -> None:
        process = WorkerProcess(settings, Path(folder) / "worker.log")
        try:
            asyncio.run(process.wait_until_ready())
        finally:
            process.process.kill()
            process.process.wait()

    return run


def main() -> None:
    """Measures and writes a result."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "events.ndjson").write_text(json.dumps(EVENT) + "\n")
        figures = {
            "python -c pass": measured(
                RUNS, lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)
            ),
            "trueup id x": measured(RUNS, command(folder, "id", "x")),
            "trueup --help": measured(RUNS, command(folder, "--help")),
            "trueup check file": measured(RUNS, command(folder, "check", "events.ndjson")),
        }
        with servers(prepare=migrate) as running:
            settings = {
                "KAFKA_BOOTSTRAP": running.kafka_bootstrap,
                "DATABASE_URL": running.database_url,
                "TRUEUP_DATA_FOLDER": folder,
                "TRUEUP_PREFIX": "",
            }
            asyncio.run(create_topics(connection_of(settings), PARTITIONS))
            figures["a worker until it is ready"] = measured(WORKER_RUNS, worker(settings, folder))
    result = {
        "command": "python -m benchmarks.startup",
        "commit": commit_now(),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "sum_range_1000_us": loop_us(),
        "cpu_s": figures,
    }
    (RESULTS / "startup.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

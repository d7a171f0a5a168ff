"""What commands cost before they do anything, and a worker until it is ready, or has stopped.

    .venv/bin/python -m benchmarks.startup

CPU seconds and seconds that pass, the least and the median of several runs; other work on the
machine makes all of them dearer, so `sum_range_1000_us` stands beside them.
"""

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from agents_topics.connection import connection_of
from benchmarks.loading import installation
from benchmarks.recording import circumstances, record
from benchmarks.resolver import PARTITIONS
from sinks.postgres.migrate import migrate
from streams.topic_admin import create_topics
from trueup.embedded.servers import servers
from trueup.worker_process import WorkerProcess

RUNS = 7
WORKER_RUNS = 5
COMMANDS = ("id x", "--help", "check events.ndjson", "status", "audit")
Figures = dict[str, dict[str, float]]
TRUEUP = [sys.executable, "-m", "trueup"]
EVENT = {
    "event_id": "e1",
    "tenant_id": "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5",
    "conversation_id": "c1",
    "action_type": "send_email",
    "predicted_confidence": 0.82,
    "occurred_at": "2026-02-01T09:00:00Z",
}


def cpu_s() -> float:
    """User and system time of the child processes that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def measured(runs: int, run: Callable[[], object]) -> Figures:
    """Several runs."""
    cpu, passed = [], []
    for _ in range(runs):
        began_cpu, began = cpu_s(), time.monotonic()
        run()
        passed.append(time.monotonic() - began)
        cpu.append(cpu_s() - began_cpu)
    return {"cpu_s": _least_and_median(cpu), "seconds": _least_and_median(passed)}


def _least_and_median(found: list[float]) -> dict[str, float]:
    return {"least": round(min(found), 2), "median": round(statistics.median(found), 2)}


def command(folder: str, settings: dict[str, str], *words: str) -> Callable[[], object]:
    """A run of the command."""
    return lambda: subprocess.run(
        [*TRUEUP, *words],
        cwd=folder,
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def workers(settings: dict[str, str], folder: str) -> dict[str, Figures]:
    """Workers from their start until they are ready, and from being told to stop to their end."""
    cpu, ready, stopped = [], [], []
    for _ in range(WORKER_RUNS):
        began_cpu, began = cpu_s(), time.monotonic()
        process = WorkerProcess(settings, Path(folder) / "worker.log")
        try:
            asyncio.run(process.wait_until_ready())
            ready.append(time.monotonic() - began)
        finally:
            began = time.monotonic()
            process.stop()
            stopped.append(time.monotonic() - began)
        cpu.append(cpu_s() - began_cpu)
    return {
        "a worker until it is ready": {"seconds": _least_and_median(ready)},
        "a worker until it has stopped": {"seconds": _least_and_median(stopped)},
        "a worker that starts and stops": {"cpu_s": _least_and_median(cpu)},
    }


def main() -> None:
    """Measures and writes a result."""
    with tempfile.TemporaryDirectory() as folder, servers(prepare=migrate) as running:
        (Path(folder) / "events.ndjson").write_text(json.dumps(EVENT) + "\n")
        settings = installation(running, folder)
        asyncio.run(create_topics(connection_of(settings), PARTITIONS))
        nothing = [sys.executable, "-c", "pass"]
        figures = {"python -c pass": measured(RUNS, lambda: subprocess.run(nothing, check=True))}
        for words in COMMANDS:
            run = command(folder, settings, *words.split())
            figures[f"trueup {words}"] = measured(RUNS, run)
        figures |= workers(settings, folder)
    record("startup", {**circumstances("startup"), "figures": figures})


if __name__ == "__main__":
    main()

"""Whether a worker that is far behind gets through on a core that others keep busy.

    .venv/bin/python -m benchmarks.busy_core [actions]

Open actions, each in a conversation of its own, are in the topics when a worker with the outcome
resolver alone begins. It has one core, and four loops that never end have the same. Once it holds
nine tenths of them it is killed with -9; another one restores those and takes the rest. Kafka and
what looks on may use every core.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agents_topics.connection import connection_of
from benchmarks.loading import installation, load
from benchmarks.recording import circumstances, record
from benchmarks.resolver import PARTITIONS, Measured
from benchmarks.restore import open_actions
from streams.topic_admin import create_topics
from trueup.embedded.servers import servers

CORE, LOOPS = 0, 4
LOOK_S = 5.0
SECONDS_MAX = 1_200


@contextmanager
def busy(core: int, loops: int) -> Iterator[None]:
    """So many loops run on the core inside the block."""
    running = [subprocess.Popen([sys.executable, "-c", "while 1: pass"]) for _ in range(loops)]
    try:
        for loop in running:
            os.sched_setaffinity(loop.pid, {core})
        yield
    finally:
        for loop in running:
            loop.kill()
            loop.wait()


def look_at(measured: Measured) -> dict[str, Any] | None:
    """How far the worker is; None where its page does not answer."""
    status = measured.worker.status()
    if status is None:
        return None
    return {
        "seconds": round(time.monotonic() - measured.began_s),
        "open": sum(task.get("open", 0) for task in status["tasks"]),
        "transactions": {"committed": 0, **status["transactions"]},
        "reopened": sum(task["reopened"] for task in status["tasks"]),
        "restores": sum(held["count"] for held in status["restores"]),
    }


def look_until(count: int, measured: Measured) -> list[dict[str, Any]]:
    """What was seen until so many actions are open, or the patience has ended."""
    looks: list[dict[str, Any]] = []
    while time.monotonic() < measured.began_s + SECONDS_MAX:
        time.sleep(LOOK_S)
        if look := look_at(measured):
            looks.append(look)
            print(json.dumps(look), flush=True)
            if look["open"] >= count:
                break
    return looks


def records_per_transaction(looks: list[dict[str, Any]]) -> list[int]:
    """Over each half minute in which some were written and no state was restored."""
    told = []
    for before, after in zip(looks[:-6:6], looks[6::6], strict=False):
        count = after["transactions"]["committed"] - before["transactions"]["committed"]
        if count and after["restores"] == before["restores"]:
            told.append(round((after["open"] - before["open"]) / count))
    return told


def reasons(log: Path) -> Counter[str]:
    """Why tasks were opened again, without their figures."""
    lines = [line for line in log.read_text().splitlines() if '"task_reopens"' in line]
    told = [json.loads(line)["reason"] for line in lines]
    return Counter("".join(c for c in one if not c.isdigit()) for one in told)


def resolved(settings: dict[str, str], until: int, *, is_killed: bool) -> dict[str, Any]:
    """A worker has run until so many actions are open, or the patience has ended: how it went."""
    measured = Measured(settings, "outcome-resolver")
    process = measured.worker.process
    os.sched_setaffinity(process.pid, {CORE})
    try:
        looks = look_until(until, measured)
        cost = measured.cost(until)
    finally:
        if is_killed:
            process.kill()
        measured.worker.stop()
    return {
        "is_through": looks[-1]["open"] >= until,
        **looks[-1],
        "records_per_transaction_by_half_minute": records_per_transaction(looks),
        "cpu_s": round(cost["cpu_s_per_million"] * until / 1e6, 1),
        "peak_rss_mb": cost["peak_rss_mb"],
        "load_average_1m": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Runs once and writes a result."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_100_000
    with servers() as embedded, tempfile.TemporaryDirectory() as folder:
        settings = installation(embedded, folder)
        connection = connection_of(settings)
        asyncio.run(create_topics(connection, PARTITIONS))
        load(connection, open_actions(count))
        with busy(CORE, LOOPS):
            first = resolved(settings, count * 9 // 10, is_killed=True)
            second = resolved(settings, count, is_killed=False)
        why = reasons(Path(folder) / "worker.log")
    result = {
        **circumstances(f"busy_core {count}"),
        "open_actions": count,
        "busy_loops_on_its_core": LOOPS,
        "reopened_because": why,
        "until_killed": first,
        "restored_and_the_rest": second,
    }
    record("busy_core", result)


if __name__ == "__main__":
    main()

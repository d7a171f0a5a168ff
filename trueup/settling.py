"""Waiting until all that was sent has settled and is written, as the worker and Postgres tell."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from agents_topics.topics import CONTROL
from sinks.postgres.queries import run_sql
from trueup.worker_process import WorkerProcess

SETTLE_S_MAX = 120


async def wait_until_settled(
    worker: WorkerProcess,
    url: str,
    record_count: int,
    until_ms: int,
    show: Callable[[Counter[str]], None],
) -> None:
    """So many records are applied, time has come to `until_ms`, every settled row is written.

    Raises:
        TimeoutError: it takes too long.
    """
    deadline_s = time.monotonic() + SETTLE_S_MAX
    while time.monotonic() < deadline_s:
        status = await asyncio.to_thread(worker.status)
        counts = counts_of(status)
        show(counts)
        if status and counts["records"] == record_count and _is_settled(status, until_ms):
            stored = await run_sql(
                url, "SELECT count(*) FROM tenant.outcome_records WHERE is_settled"
            )
            entered = await run_sql(
                url,
                "SELECT coalesce(sum(n + excluded_n), 0) FROM tenant.calibration_stream_bins"
                " WHERE record_set = 'all'",
            )
            if stored.rows[0][0] == entered.rows[0][0] == counts["settled"]:
                return
        await asyncio.sleep(0.2)
    raise TimeoutError(
        f"the worker did not settle everything in {SETTLE_S_MAX} s; its log: {worker.log_file}"
    )


def counts_of(status: dict[str, Any] | None) -> Counter[str]:
    """The counters over all tasks of a worker's status page."""
    counts: Counter[str] = Counter()
    for task in (status or {}).get("tasks", ()):
        counts["open"] += task.get("open", 0)
        for name, count in task.get("counts", {}).items():
            group, _, member = name.rpartition("/")
            if group == "settled":
                counts[member] += count
                counts["settled"] += count
            elif group not in ("interactions", "check", CONTROL.name):
                counts["records"] += count
                counts[{"duplicate": "duplicates", "dead": "dead letters"}.get(member, member)] += (
                    count
                )
    return counts


def _is_settled(status: dict[str, Any], until_ms: int) -> bool:
    return all(
        task.get("settled_until_ms", until_ms) >= until_ms
        and task.get("promised_ms", until_ms) >= until_ms
        for task in status["tasks"]
    )

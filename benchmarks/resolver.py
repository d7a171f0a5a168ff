"""What a million input events cost, and how long one event takes to Postgres.

    .venv/bin/python -m benchmarks.resolver [scale]

On the peers' workload, already in the topics, with the embedded servers: a worker with the outcome
resolver alone until all is settled, every outcome in the topic `outcomes` compared with the truth;
then a worker with the other agents until Postgres holds the same and every outcome is in its bin;
then a whole worker in live mode at a steady pace, where each action is timed from its send to its
row. CPU seconds are a worker's whole process tree from its first instruction on, start-up included.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from agents_topics.connection import Connection, connection_of
from agents_topics.roster import RESOLVER
from benchmarks.loading import close_windows, installation, load, read_settled
from benchmarks.peers_workload import CLOSED_MS, Workload, generate
from benchmarks.recording import circumstances, record
from benchmarks.waiting import latencies_ms
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import run_sql
from streams.topic_admin import create_topics
from trueup.embedded.servers import servers
from trueup.worker_process import WorkerProcess

POLICY = Path(__file__).parent / "peers_policy.toml"
PARTITIONS = 4
SECONDS_MAX = 900
SETTLED = "SELECT count(*) FROM tenant.outcome_records WHERE is_settled"
BINS = (
    "SELECT coalesce(sum(n + excluded_n), 0) FROM tenant.calibration_stream_bins"
    " WHERE record_set = 'all'"
)
TRUTH = (
    "SELECT action_id, outcome_status, (extract(epoch FROM resolved_at) * 1000)::bigint"
    " FROM tenant.outcome_records WHERE is_settled"
)


class Measured:
    """A worker that runs now, and what it costs."""

    def __init__(self, settings: Mapping[str, str], agents: str) -> None:
        log = Path(settings["TRUEUP_DATA_FOLDER"]) / "worker.log"
        self.began_s = time.monotonic()
        self.worker = WorkerProcess({**settings, "TRUEUP_AGENTS": agents}, log)

    @property
    def tasks(self) -> Sequence[Mapping[str, Any]]:
        """What its page says of each task; nothing while there is no page."""
        return (self.worker.status() or {}).get("tasks", ())

    def settled_count(self) -> int:
        """How many outcomes its resolver tasks have settled."""
        return sum(
            n for t in self.tasks for name, n in t.get("counts", {}).items() if "settled" in name
        )

    def open_count(self) -> int:
        """How many outcomes its resolver tasks hold open."""
        return sum(t.get("open", 0) for t in self.tasks)

    def promised_count(self, closed_ms: int) -> int:
        """How many resolver tasks have told the calibrator of all that a clock record closed."""
        own = [task for task in self.tasks if task["agent"] == RESOLVER.name]
        return sum(task["promised_ms"] >= closed_ms - task["grace_ms"] for task in own)

    def cost(self, events: int) -> dict[str, float]:
        """Seconds, rate, CPU and memory since its start."""
        seconds = time.monotonic() - self.began_s
        process = psutil.Process(self.worker.process.pid)
        tree = [process, *process.children(recursive=True)]
        cpu_s = sum(sum(one.cpu_times()[:2]) for one in tree)
        status = Path(f"/proc/{process.pid}/status").read_text().split()
        return {
            "seconds": round(seconds, 1),
            "events_per_s": round(events / seconds),
            "cpu_s_per_million": round(cpu_s / events * 1e6, 1),
            "peak_rss_mb": int(status[status.index("VmHWM:") + 1]) >> 10,
        }


@contextmanager
def running(settings: Mapping[str, str], agents: str) -> Any:
    """A worker with some agents, ready and measured; stopped at the end."""
    measured = Measured(settings, agents)
    try:
        asyncio.run(measured.worker.wait_until_ready(SECONDS_MAX))
        yield measured
    finally:
        measured.worker.stop()


def asked(url: str, sql: str) -> int:
    """The one figure that a statement gives."""
    return int(asyncio.run(run_sql(url, sql)).rows[0][0])


def wait_for(count: int, counted: Any) -> None:
    """Until as many are counted."""
    until_s = time.monotonic() + SECONDS_MAX
    while counted() < count:
        if time.monotonic() > until_s:
            raise TimeoutError(f"{counted()} of {count} in {SECONDS_MAX} s")
        time.sleep(0.25)


def wrong_outcomes(found: Mapping[str, tuple[str, int]], truth: Workload) -> int:
    """How many outcomes are not the truth's, missing or too many."""
    expected = truth.truth
    return sum(found.get(name) != held for name, held in expected.items()) + len(
        found.keys() - expected.keys()
    )


def measure(connection: Connection, settings: Mapping[str, str], workload: Workload) -> dict:
    """All three runs."""
    url, outcomes = settings["DATABASE_URL"], len(workload.truth)
    events = len(workload.actions) + len(workload.interactions)

    with running(settings, "outcome-resolver") as resolver:
        wait_for(outcomes, resolver.settled_count)
        resolving = resolver.cost(events)
        # Without the last promises the calibrator would wait for ever.
        wait_for(PARTITIONS, lambda: resolver.promised_count(CLOSED_MS))
    settled, twice = read_settled(connection, PARTITIONS)
    with running(settings, "calibrator,publisher") as publisher:
        for sql in (SETTLED, BINS):
            wait_for(outcomes, partial(asked, url, sql))
        publishing = publisher.cost(events)
    rows = asyncio.run(run_sql(url, TRUTH)).rows
    stored = {name: (status, at_ms) for name, status, at_ms in rows}
    with running(settings, "outcome-resolver,calibrator,publisher"):
        latency = asyncio.run(latencies_ms(connection, url))
    return {
        "events": events,
        "outcomes": outcomes,
        "resolver": resolving,
        "wrong_in_topic": wrong_outcomes(settled, workload),
        "settled_twice": twice,
        "calibrator_and_publisher": publishing,
        "wrong_in_postgres": wrong_outcomes(stored, workload),
        "event_to_postgres_ms": latency,
    }


def main() -> None:
    """Runs once and writes a result."""
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    workload = generate(scale)
    with servers() as embedded, tempfile.TemporaryDirectory() as folder:
        settings = installation(embedded, folder, TRUEUP_POLICY=str(POLICY))
        connection = connection_of(settings)
        migrate(embedded.database_url)
        asyncio.run(create_topics(connection, PARTITIONS))
        load(connection, workload)
        close_windows(connection, CLOSED_MS, PARTITIONS)
        measured = measure(connection, settings, workload)
    result = {
        **circumstances(f"resolver {scale}"),
        **measured,
    }
    record("resolver", result)


if __name__ == "__main__":
    main()

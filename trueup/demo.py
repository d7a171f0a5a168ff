"""The demo: simulated tenants whose agents' truth is known, through real Kafka and Postgres.

Nothing in it is special: the events are produced as a user would produce them, an ordinary worker
settles them, the figures are read from Postgres, and the audit recomputes them from the topics.

It is a fixed show: its rules are the defaults, whatever `TRUEUP_*` says in the environment, which
speaks of the user's own events.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

from agents_topics.calibration import StreamCalibration
from agents_topics.connection import Connection, connection_of
from agents_topics.events import to_ms
from agents_topics.policy_file import load_policy
from sinks.postgres.calibration_readings import calibration_streams, threshold_adjustments
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import run_sql
from streams.settings import Settings
from streams.topic_admin import create_topics
from tables.calibration_bins import UNIT
from trueup.audit import AuditReport
from trueup.demo_workload import Workload, workload
from trueup.embedded.folders import private_folder
from trueup.embedded.leftovers import own_folder, remove_leftovers
from trueup.embedded.servers import servers
from trueup.emit import send_clock, send_records
from trueup.ledger import audit_database
from trueup.plain_terminal import in_ascii
from trueup.reliability_picture import (
    in_words,
    needs_ascii,
    picture,
    picture_bin,
    reading_of,
)
from trueup.running import FOLDER, announced
from trueup.settling import counts_of, wait_until_settled
from trueup.standing_words import standing_json, standing_words
from trueup.worker_process import WorkerProcess

CHUNK_RECORDS = 1_500
RULES = Settings.model_construct()  # the defaults, read from no environment
COUNTERS = (
    "open", "positive", "negative", "ambiguous", "expired", "late", "duplicates", "dead letters",
)  # fmt: skip

_BINS = """
    SELECT tenant_id::text, action_type, bin_index, n::text, sp::text, sy::text
    FROM tenant.calibration_stream_bins WHERE record_set = 'lead' ORDER BY 1, 2, 3
"""
_REVISIONS = "SELECT coalesce(sum(revision + 1), 0), count(*) FROM tenant.outcome_records"
ADJUSTMENTS_MAX = 100
"""Of a stream: a first threshold older than these is not told."""
_EXAMPLE_SQL = "SELECT outcome_status, count(*) FROM tenant.outcome_records GROUP BY 1"


@dataclass(slots=True)
class Summary:
    """What the demo found; `ledger_exact` is the audit's word."""

    events_in: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    open: int = 0
    revisions: int = 0
    late: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    seconds: float = 0.0
    events_per_s: float = 0.0
    first_outcome_s: float | None = None
    ledger_exact: bool = False
    agents: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Demo:
    """One run. `say` writes a line, `show` a line that the next one replaces."""

    seed: int
    actions: int
    is_once: bool
    say: Callable[[str], None]
    show: Callable[[str], None]
    screen: TextIO
    kafka_port: int | None = None
    postgres_port: int | None = None

    def run(self) -> Summary:
        """Starts everything, plays the workload, tells what was found; ends what it started."""
        began_s = time.monotonic()
        step = 0

        def told(text: str, seconds: float) -> None:
            nonlocal step
            step += 1
            self.say(f"{step}. {text} ({seconds:.1f} s)")

        private_folder(FOLDER.absolute())  # what will be announced there holds a password
        if count := remove_leftovers():
            told(f"removed {count} folders that killed runs had left", time.monotonic() - began_s)
        with ExitStack() as undo:
            # Both are made while Kafka starts, which takes longer than either.
            played = undo.enter_context(ThreadPoolExecutor(1)).submit(
                workload, self.seed, self.actions
            )
            running = undo.enter_context(
                servers(
                    say=told,
                    kafka_port=self.kafka_port,
                    postgres_port=self.postgres_port,
                    prepare=migrate,
                )
            )
            folder = undo.enter_context(own_folder("trueup-demo-"))
            prefix = f"demo-{int(time.time() * 1000):x}-"
            settings = {
                "KAFKA_BOOTSTRAP": running.kafka_bootstrap,
                "DATABASE_URL": running.database_url,
                # A log's time never goes back: each run has topics of its own.
                "TRUEUP_PREFIX": "" if running.is_embedded_kafka else prefix,
                "TRUEUP_DATA_FOLDER": str(folder / "worker"),
            }
            inherited = undisturbed(os.environ, is_embedded_kafka=running.is_embedded_kafka)
            started_s = time.monotonic()
            connection = connection_of({**inherited, **settings})
            asyncio.run(create_topics(connection, RULES.partitions))
            worker = WorkerProcess(settings, folder / "worker.log", inherited)
            undo.callback(worker.stop)
            undo.enter_context(announced({**settings, "TRUEUP_METRICS": f"{worker.url}/metrics"}))
            asyncio.run(worker.wait_until_ready())
            told(f"worker, metrics at {worker.url}/metrics", time.monotonic() - started_s)
            summary = asyncio.run(
                self._play(connection, running.database_url, worker, played, began_s)
            )
            if not self.is_once:
                self._stay(worker)
            return summary

    async def _play(
        self,
        connection: Connection,
        url: str,
        worker: WorkerProcess,
        made: Future[Workload],
        began_s: float,
    ) -> Summary:
        played = made.result()
        started_s = time.monotonic()
        summary = Summary(events_in=len(played.records))
        for first in range(0, len(played.records), CHUNK_RECORDS):
            await send_records(connection, played.records[first : first + CHUNK_RECORDS])
            counts = counts_of(await asyncio.to_thread(worker.status))
            if summary.first_outcome_s is None and counts["positive"]:
                summary.first_outcome_s = round(time.monotonic() - began_s, 1)
            self._show_counts(counts)
        await send_clock(connection, played.clock_until, RULES.partitions)
        until_ms = to_ms(played.clock_until) - RULES.grace_ms_max
        await wait_until_settled(worker, url, len(played.records), until_ms, self._show_counts)
        summary.seconds = round(time.monotonic() - started_s, 1)
        summary.events_per_s = round(summary.events_in / max(summary.seconds, 0.1))
        if summary.first_outcome_s is None:
            summary.first_outcome_s = round(time.monotonic() - began_s, 1)
        counts = counts_of(await asyncio.to_thread(worker.status))
        self._show_counts(counts)
        self.say("")
        _fill(summary, counts)
        summary.revisions = int((await run_sql(url, _REVISIONS)).rows[0][0])
        await self._tell_agents(played, url, summary)
        report = await audit_database(
            connection, load_policy(None), url, RULES.grace_ms, RULES.idle_after_ms
        )
        summary.ledger_exact = report.is_exact
        self._tell_end(summary, report)
        return summary

    async def _tell_agents(self, played: Workload, url: str, summary: Summary) -> None:
        rows = (await run_sql(url, _BINS)).rows
        standings = await _standings(url)
        ascii_only = needs_ascii(self.screen)
        for agent in played.agents:
            own = {
                index: (int(n), int(sp), int(sy))
                for tenant_id, action_type, index, n, sp, sy in rows
                if (tenant_id, action_type) == (agent.tenant_id, agent.action_type)
            }
            bins = [picture_bin(*own.get(index, (0, 0, 0))) for index in range(10)]
            read = reading_of(bins)
            self.say(f"{agent.tenant}, {agent.action_type}")
            for line in picture(agent.name, bins, ascii_only):
                self.say(line)
            self.say(in_words(agent.name, read, ascii_only))
            standing = standings.get((agent.tenant_id, agent.action_type))
            if standing is not None:
                words = standing_words(*standing)
                self.say(f"  {in_ascii(words) if ascii_only else words}")
            self.say(f"  the truth: {agent.truth_in_words}")
            self.say("")
            summary.agents.append(
                {
                    "tenant": agent.tenant,
                    "name": agent.name,
                    "action_type": agent.action_type,
                    "truth": agent.truth,
                    "verdict": read.verdict,
                    "stated": round(read.stated, 4),
                    "actual": round(read.actual, 4),
                    "low": round(read.low, 4),
                    "high": round(read.high, 4),
                    "lead_records": read.count,
                    "calibration": standing and standing_json(*standing),
                }
            )

    def _tell_end(self, summary: Summary, report: AuditReport) -> None:
        word = "exact" if report.is_exact else "NOT EXACT"
        self.say(
            f"{summary.events_in:,} events in {summary.seconds} s; the ledger is {word}: every "
            "outcome and bin was recomputed from the topics by other code."
        )
        for difference in report.differences[:5]:
            self.say(f"  {difference}")

    def _stay(self, worker: WorkerProcess) -> None:
        self.say("\nIn a second terminal, in this folder:")
        self.say("  trueup status")
        self.say("  trueup audit")
        self.say(
            "  trueup sql 'SELECT outcome_status, count(*) FROM tenant.outcome_records GROUP BY 1'"
        )
        self.say("  trueup emit my.ndjson")
        self.say(f"  curl {worker.url}/metrics")
        self.say("Ctrl-C ends it.")
        while worker.process.poll() is None:
            time.sleep(0.5)
        self.say(f"The worker has ended (exit {worker.process.returncode}).")

    def _show_counts(self, counts: Counter[str]) -> None:
        self.show("   ".join(f"{name} {counts[name]:,}" for name in COUNTERS))


async def _standings(url: str) -> dict[tuple[str, str], tuple[StreamCalibration, float]]:
    """Where the stream of each tenant and action type stands, and its threshold at first."""
    adjustments = await threshold_adjustments(url, per_stream=ADJUSTMENTS_MAX)
    first = {(one.tenant_id, one.action_type): one.old_threshold for one in adjustments}
    return {
        (one.tenant_id, one.action_type): (
            one,
            first.get((one.tenant_id, one.action_type), one.threshold_millionths / UNIT),
        )
        for one in await calibration_streams(url)
    }


def undisturbed(environ: Mapping[str, str], *, is_embedded_kafka: bool) -> dict[str, str]:
    """The environment without what would change the show.

    Without settings of the user's own worker and database; without those of the user's Kafka
    unless that is the one it plays on.

    >>> undisturbed({"TRUEUP_POLICY": "mine.toml", "HOME": "/root"}, is_embedded_kafka=True)
    {'HOME': '/root'}
    """
    others = ("TRUEUP_", "DATABASE_URL", *(["KAFKA_"] if is_embedded_kafka else []))
    return {name: value for name, value in environ.items() if not name.startswith(others)}


def _fill(summary: Summary, counts: Counter[str]) -> None:
    summary.outcomes = {
        status: counts[status] for status in ("positive", "negative", "ambiguous", "expired")
    }
    summary.open = counts["open"]
    summary.late = counts["late"]
    summary.duplicates = counts["duplicates"]
    summary.dead_letters = counts["dead letters"]


def summary_as_json(summary: Summary) -> dict[str, Any]:
    """The summary in plain values."""
    return asdict(summary)

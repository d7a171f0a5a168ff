"""Workers of one prefix, the workload that they settle, and what the broker says about them."""

import asyncio
import json
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from agents_topics.connection import connection_of
from agents_topics.policy_file import load_policy
from agents_topics.roster import CALIBRATOR, RESOLVER
from agents_topics.topics import (
    AGENT_ACTIONS,
    AGENT_INTERACTIONS,
    DEAD_LETTERS,
    OUTCOMES,
    RESOLVER_CHANGELOG,
)
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import run_sql
from streams.clients import RETRY_MS
from streams.topic_admin import create_topics
from trueup.demo_workload import workload
from trueup.emit import send_clock, send_records
from trueup.ledger import audit_database
from trueup.worker_process import WORKER, WorkerProcess

PARTITIONS = 4
GRACE_MS = {"agent-actions": 3_600_000, "agent-interactions": 3_600_000}
JOINED = (AGENT_ACTIONS.name, AGENT_INTERACTIONS.name)
TRANSACTIONAL = [
    topic.name for agent in (RESOLVER, CALIBRATOR) for topic in (*agent.writes, agent.changelog)
]
"""Half of a transaction may be a dead letter, and nothing else."""
REASON_HEADER = "__connect.errors.exception.class.name"
LAG_MIN = 500
"""So many records behind is lag, and not the way from the log to the worker."""


class Run:
    """Workers of one prefix on given servers, and the workload that they settle."""

    partitions = PARTITIONS

    def __init__(self, bootstrap, database_url, tmp_path, seed, actions):
        self.settings = {
            "KAFKA_BOOTSTRAP": bootstrap,
            "DATABASE_URL": database_url,
            "TRUEUP_PREFIX": f"f{uuid.uuid4().hex[:8]}-",
        }
        self.url = database_url
        self.connection = connection_of(self.settings)
        self.played = workload(seed, actions)
        print(f"workload({seed}, {actions}) under {self.settings['TRUEUP_PREFIX']}")  # noqa: T201
        self.sent = 0
        self.tmp_path = tmp_path
        self.workers = {}

    async def prepare(self):
        await asyncio.to_thread(migrate, self.url)
        await create_topics(self.connection, self.partitions)

    def start(self, name, module=WORKER, **more):
        """A worker of this name, with more settings than the run's."""
        folder = self.folder(name)
        settings = {**self.settings, "TRUEUP_DATA_FOLDER": str(folder), **more}
        self.workers[name] = WorkerProcess(settings, folder / "worker.log", module=module)

    def folder(self, name):
        """Where a worker keeps its log and its data."""
        folder = self.tmp_path / name
        folder.mkdir(exist_ok=True)
        return folder

    def stop(self):
        with ThreadPoolExecutor() as pool:
            list(pool.map(WorkerProcess.stop, self.workers.values()))

    @asynccontextmanager
    async def running(self, name):
        """All is there that a worker of this name needs, and it is ready; whoever runs then stops
        at the end.
        """
        await self.prepare()
        self.start(name)
        try:
            await self.workers[name].wait_until_ready()
            yield
        finally:
            self.stop()

    async def status(self, name):
        """What a worker's page says; None while there is none."""
        return await asyncio.to_thread(self.workers[name].status)

    async def states(self):
        """Of every worker's tasks: state, problem and lag; for the story of a failure."""
        names = ("state", "problem", "reopened", "lag")
        return {
            name: {task["name"]: [task[n] for n in names] for task in status["tasks"]}
            for name in self.workers
            if (status := await self.status(name))
        }

    # ---- input ---------------------------------------------------------------------------------

    async def feed(self, parts):
        """The next part of so many is in the log; the last one holds the rest."""
        await self.feed_records(len(self.played.records) // parts + 1)

    async def feed_records(self, count):
        """The next records are in the log."""
        until = self.sent + count
        await send_records(self.connection, self.played.records[self.sent : until])
        self.sent = until

    # ---- the end -------------------------------------------------------------------------------

    async def settle(self, seconds, more=0):
        """The clock record, then Postgres' word that all is settled and counted in bins.

        `more` is how many outcomes a promotion has added to those of the workload.
        """
        await send_clock(self.connection, self.played.clock_until, self.partitions)
        expected = sum(self.played.expected.by_status.values()) + more
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            count = await run_sql(
                self.url, "SELECT count(*) FROM tenant.outcome_records WHERE is_settled"
            )
            bins = await run_sql(
                self.url,
                "SELECT coalesce(sum(n + excluded_n), 0) FROM tenant.calibration_stream_bins"
                " WHERE record_set = 'all'",
            )
            if count.rows[0][0] == bins.rows[0][0] == expected:
                return
            await asyncio.sleep(0.5)
        raise AssertionError((count.rows, bins.rows, expected, await self.states()))

    async def check(self):
        """By status as planted, no id settled twice, as many dead letters, the audit's word."""
        async with Gauge(self.connection) as gauge:
            assert await gauge.settled_twice() == 0
            assert await gauge.dead_letters() == self.played.expected.dead_letters
        rows = (
            await run_sql(
                self.url,
                "SELECT outcome_status, count(*) FROM tenant.outcome_records"
                " WHERE is_settled GROUP BY 1",
            )
        ).rows
        assert dict(rows) == dict(self.played.expected.by_status)
        report = await audit_database(self.connection, load_policy(None), self.url, GRACE_MS)
        assert report.is_exact, str(report)


class Gauge:
    """What the broker says of a run, by readers of its own: nothing here asks a worker."""

    def __init__(self, connection):
        self.connection = connection
        options = {
            **connection.client_options(),
            "fetch_max_wait_ms": 50,
            "retry_backoff_ms": RETRY_MS,
        }
        self.committed = AIOKafkaConsumer(**options, isolation_level="read_committed")
        self.uncommitted = AIOKafkaConsumer(**options, isolation_level="read_uncommitted")
        self.admin = AIOKafkaAdminClient(**connection.client_options())

    async def __aenter__(self):
        await asyncio.gather(self.committed.start(), self.uncommitted.start(), self.admin.start())
        return self

    async def __aexit__(self, *_):
        await asyncio.gather(self.committed.stop(), self.uncommitted.stop(), self.admin.close())

    def partitions(self, *topics):
        names = [self.connection.topic(topic) for topic in topics]
        return [TopicPartition(name, number) for name in names for number in range(PARTITIONS)]

    async def progress(self):
        """How many input records are applied, and how many are not.

        The group's offsets are committed in the very transaction that applies the records.
        """
        tps = self.partitions(*JOINED)
        group = self.connection.topic("trueup")
        offsets, ends = await asyncio.gather(
            self.admin.list_consumer_group_offsets(group), self.committed.end_offsets(tps)
        )
        applied = {tp: offsets[tp].offset if tp in offsets else 0 for tp in tps}
        return sum(applied.values()), sum(ends[tp] - applied[tp] for tp in tps)

    async def all_applied(self):
        """Waits until all that was sent is applied."""
        while (await self.progress())[1]:
            await asyncio.sleep(0.2)

    async def open_transactions(self, numbers):
        """Which of the resolver tasks with these numbers have written and not yet committed."""
        topic = self.connection.topic(RESOLVER_CHANGELOG.name)
        tps = [TopicPartition(topic, number) for number in numbers]
        stable = await self.committed.end_offsets(tps)
        ends = await self.uncommitted.end_offsets(tps)
        return {tp.partition for tp in tps if stable[tp] < ends[tp]}

    async def aborted(self):
        """How many records were written in transactions that were aborted, by topic.

        They are what lies in the log and is seen only by who reads uncommitted.
        """
        ends = await self.committed.end_offsets(self.partitions(*TRANSACTIONAL))
        every, valid = await asyncio.gather(
            _read(self.uncommitted, ends), _read(self.committed, ends)
        )
        counts = Counter(record.topic for record in every)
        counts.subtract(Counter(record.topic for record in valid))
        return +counts

    async def settled_twice(self):
        """How many ids have more than one settled record in `outcomes`, read committed."""
        records = await self.records(OUTCOMES.name)
        settled = Counter(r.key for r in records if json.loads(r.value)["is_settled"])
        return sum(count > 1 for count in settled.values())

    async def dead_letters(self):
        """How many there are, by reason."""
        records = await self.records(DEAD_LETTERS.name)
        return Counter(dict(record.headers)[REASON_HEADER].decode() for record in records)

    async def records(self, topic):
        """All committed records of a topic."""
        ends = await self.committed.end_offsets(self.partitions(topic))
        return await _read(self.committed, ends)


async def _read(reader, ends):
    """All records of the partitions before these offsets, as this reader's isolation sees them."""
    reader.assign(list(ends))
    await reader.seek_to_beginning(*ends)
    records = []
    while [tp for tp, end in ends.items() if await reader.position(tp) < end]:
        for tp, fetched in (await reader.getmany(timeout_ms=200)).items():
            records += [record for record in fetched if record.offset < ends[tp]]
    return records


def resolver_numbers(status):
    """The partition numbers of the resolver tasks that run in a worker, as its page says.

    A running task has ended what its predecessor left open: an open transaction is its own.
    """
    tasks = status["tasks"] if status else ()
    return [
        task["partition"]
        for task in tasks
        if task["agent"] == RESOLVER.name and task["state"] == "running"
    ]

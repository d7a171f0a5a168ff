"""The Faust app, made from the environment: `faust -A streams.app worker` and `trueup worker`."""

import os
import sys
import threading
from dataclasses import dataclass
from typing import Any, cast

import faust
import structlog
from faust.types import TP

from agents_topics.connection import Connection, connection_of, secret_of
from agents_topics.policy_file import load_policy
from agents_topics.rights import rights_of
from agents_topics.roster import CALIBRATOR, PUBLISHER, RESOLVER
from sinks.contract import Sink
from sinks.postgres.writer import PostgresWriter
from sinks.prometheus.collector import render
from streams import topology
from streams.batches import BatchApp, BatchConsumer, NoTables
from streams.fetched_records import fetch_light_records
from streams.garbage import collect_seldom
from streams.header_names import read_any_header_name
from streams.health import HealthServer
from streams.logs import configure_logs
from streams.policy_log import enter_policy
from streams.problems import WorkerProblem
from streams.resolve_outcomes import ResolverSettings
from streams.rights import lacking
from streams.settings import Settings, read_settings
from streams.tasks import Tasks
from streams.topic_admin import check_topics
from streams.work import tools_of

STOP_S_MAX = 12.0
EXIT_CONTESTED = 3
WATCH_S = 2.0
NEW_CLUSTER_S = 5.0
THREAD_S_MAX = 0.0005
"""For so long a thread that reckons keeps the event loop from its turn: by Python's own 5 ms it
would wait in each of a transaction's dozens of turns, as long as a forecast is made.
"""

log = structlog.get_logger("trueup.worker")


class Process(faust.Worker):
    """Faust's process of a worker; it ends once all has stopped."""

    async def _sentinel_task(self) -> None:
        """Nothing; the stock one is a second of sleep."""


@dataclass(slots=True)
class Worker:
    """What lives beside Faust in a worker's process."""

    tasks: Tasks
    health: HealthServer


class WorkerApp(BatchApp):
    """Starts and stops what lives beside Faust, and gives the group's decisions to the tasks."""

    worker: Worker

    is_checked = False
    stop_s_max: float | None = None

    async def check(self) -> None:
        """Checks rights, topics, and the policy against what is recorded; then records the policy.

        Raises:
            WorkerProblem: the worker would bend results; says why and what to do.
        """
        tasks = self.worker.tasks
        needed = rights_of("worker", self.connection.prefix, tasks.agents)
        lacks = await lacking(self.connection, needed, NEW_CLUSTER_S)
        if lacks:
            raise WorkerProblem(lacks)
        found = await check_topics(self.connection, tasks.tools.partition_count, tasks.longest_ms)
        for problem in found:
            if problem.is_warning:
                log.warning("topic_warning", topic=problem.topic, reason=problem.reason)
        wrong = [problem for problem in found if not problem.is_warning]
        if wrong:
            raise WorkerProblem("; ".join(f"topic {p.topic} {p.reason}" for p in wrong))
        if RESOLVER in tasks.agents or CALIBRATOR in tasks.agents:
            contradictions = await enter_policy(self.connection, tasks.policy)
            if contradictions:
                raise WorkerProblem("; ".join(contradictions))
        self.is_checked = True

    async def on_first_start(self) -> None:
        """Checks what nobody has checked, connects, begins to listen.

        Raises:
            WorkerProblem: as `check` does.
        """
        configure_logs(read_settings().log_format)  # Faust has just set up its own
        await super().on_first_start()
        collect_seldom()
        sys.setswitchinterval(THREAD_S_MAX)
        if not self.is_checked:
            await self.check()
        tools = self.worker.tasks.tools
        await tools.broker.start()
        await self.worker.health.start()
        self.on_partitions_assigned.connect(cast(Any, self._open_tasks))
        self.on_partitions_revoked.connect(cast(Any, self._close_tasks))
        self.add_future(self._watch_group())
        log.info("worker_started", web_port=self.worker.health.port, group=tools.group)

    async def _watch_group(self) -> None:
        while not self.should_stop:
            await self.sleep(WATCH_S)
            if not self.should_stop and cast(BatchConsumer, self.consumer).was_refused:
                self.on_contested_membership()

    def on_contested_membership(self) -> None:
        """Ends the process at once: of two workers that throw each other out the older one goes.

        Were it to stop in good order, it would join again meanwhile, and the other one go as well.
        What was not committed is thrown away, as after any other end.
        """
        name = self.conf.consumer_group_instance_id
        reason = f"another worker has TRUEUP_INSTANCE_ID={name}: give each a name of its own"
        if name is None:
            reason = "the group has refused this worker for good: the lines above say why"
        log.error("worker_ends", reason=reason)
        os._exit(EXIT_CONTESTED)

    async def _open_tasks(self, _: Any, assigned: set[TP], *__: Any, **___: Any) -> None:
        self.worker.tasks.open(assigned, cast(BatchConsumer, self.consumer))

    async def _close_tasks(self, _: Any, revoked: set[TP], *__: Any, **___: Any) -> None:
        await self.worker.tasks.close()

    async def stop(self) -> None:
        """The open steps end, then everything is let go.

        A process of its own ends in any case: where the broker is away clients wait for it without
        end, and whatever was not committed is thrown away by the next owner.
        """
        if self.stop_s_max is not None:
            out_of_patience = threading.Timer(self.stop_s_max, _give_up)
            out_of_patience.daemon = True
            out_of_patience.start()
        await self.worker.tasks.close()
        await super().stop()
        await self.worker.health.stop()
        await self.worker.tasks.tools.broker.stop()


def make_app(
    connection: Connection,
    settings: Settings,
    sink: Sink,
    forecasts: PostgresWriter | None = None,
) -> WorkerApp:
    """A Faust app with every agent bound; nothing is connected before it starts.

    `forecasts` is where they are kept, if they are: where the sink's rows are, by connections of
    its own.
    """
    read_any_header_name()
    fetch_light_records()
    tools = tools_of(connection, settings)
    resolver_settings = ResolverSettings(
        policy=load_policy(settings.policy),
        grace_ms=settings.grace_ms,
        idle_after_ms=settings.idle_after_ms,
    )
    tasks = Tasks(
        tools, resolver_settings, sink, settings.step_records_max, settings.rows, forecasts
    )
    settings.data_folder.mkdir(parents=True, exist_ok=True)
    app = WorkerApp(
        tools.group,
        broker=f"kafka://{connection.bootstrap}",
        store="memory://",
        TableManager=NoTables,
        datadir=str(settings.data_folder),
        topic_partitions=settings.partitions,
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        stream_buffer_maxsize=64,
        broker_max_poll_records=4_000,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_rebalance_timeout=20,
        broker_request_timeout=40,
        consumer_group_instance_id=settings.instance_id,
        autodiscover=False,
    )
    app.connection = connection
    app.worker = Worker(tasks, HealthServer(tasks, settings.web_host, settings.web_port, render))
    topology.bind(app, tasks)
    return app


def from_environment() -> WorkerApp:
    """The app that this process's environment describes.

    Raises:
        SettingsProblem: a setting is wrong.
        WorkerProblem: DATABASE_URL is missing and this worker publishes.
    """
    settings = read_settings()
    url = secret_of(os.environ, "DATABASE_URL")
    if not url and PUBLISHER.name in settings.agents:
        raise WorkerProblem("DATABASE_URL is not set: give it postgresql://user:password@host/db")
    connection = connection_of(os.environ)
    writer = PostgresWriter(url or "", connection.prefix)
    # Rows do not wait for a connection that a forecast has.
    forecasts = PostgresWriter(url or "", connection.prefix, connections_max=1)
    return make_app(connection, settings, writer, forecasts)


def __getattr__(name: str) -> WorkerApp:
    """`streams.app:app`, made when it is first asked for: an import connects nothing."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = from_environment()
    return cast(WorkerApp, globals()["app"])


def run(app: WorkerApp) -> None:
    """Runs the worker until it is told to stop, and ends the process."""
    app.stop_s_max = STOP_S_MAX
    worker = Process(app, loglevel="WARN", redirect_stdouts=False, quiet=True)
    worker.spinner = None  # it would write control characters into the log
    worker.execute_from_commandline()


def _give_up() -> None:
    log.error("worker_gives_up", reason=f"it could not stop in {STOP_S_MAX} s")
    os._exit(1)

"""Health and readiness on the worker's web server, and the snapshot that metrics are read from.

`/healthz` says `ok`, `degraded` or `failed`, and why: it is 200 while the process can work, 503
once a task failed or refused. A degraded worker mends itself; a restart would not help. `/readyz`
is 200 only when partitions are assigned and every task has restored; `/status` says all of it.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, Literal

from aiohttp import web

from agents_topics.events import to_timestamp
from agents_topics.roster import PUBLISHER
from streams.calibrate import CalibratorWork
from streams.checks import setup_learning_scheduler
from streams.resolve_outcomes import ResolverWork
from streams.task import Task
from streams.tasks import Tasks
from tables.label_delay import BOUNDS_S
from tables.stream_calibration import StreamFold
from tables.stream_test import StreamTest
from tables.stream_threshold import StreamThreshold

SINK_BEHIND_MS_MAX = 20_000
"""Twice as long as a transaction of the other tasks may hold the publisher's input back."""

BROKEN = ("failed", "refused")

Health = Literal["ok", "degraded", "failed"]


def status_of(tasks: Tasks) -> dict[str, Any]:
    """Every task's state in plain values, and what they come to."""
    health, problems = health_of(tasks, _now_ms())
    return {
        "ready": tasks.is_ready,
        "health": health,
        "problems": problems,
        "partitions": tasks.tools.partition_count,
        "transactions": dict(tasks.tools.transactions),
        "restores": [
            {"agent": agent, "partition": partition, "count": count}
            for (agent, partition), count in tasks.tools.restores.items()
        ],
        "checks": [asdict(run()) for run in setup_learning_scheduler(tasks).values()],
        "tasks": [
            {
                "name": task.name,
                "agent": task.row.name,
                "partition": task.partition,
                "state": task.state,
                "problem": task.problem,
                "reopened": task.reopened_count,
                "next_offsets": task.next_offsets(),
                "queued": {t.name: task.queued_count(t.name) for t in task.row.reads},
                "lag": task.lag,
                "unstable": {t: held and asdict(held) for t, held in task.unstable.items()},
                "applied_until_ms": task.applied_until_ms,
                **_state_of(task.work),
            }
            for task in tasks
        ],
    }


def health_of(tasks: Iterable[Task], now_ms: int) -> tuple[Health, dict[str, str]]:
    """What the tasks' states come to, and of each that is not well the reason in words, by name."""
    held = list(tasks)
    problems = {task.name: words for task in held if (words := _words(task, now_ms))}
    if any(task.state in BROKEN for task in held):
        return "failed", problems
    return "degraded" if problems else "ok", problems


def _words(task: Task, now_ms: int) -> str | None:
    """Why a task is not well; None where it is, or only restores."""
    if task.state in BROKEN:
        return task.problem
    behind_ms = max(now_ms - task.applied_until_ms, 0)
    is_sink = task.row.name == PUBLISHER.name
    if task.problem is None and not (is_sink and behind_ms > SINK_BEHIND_MS_MAX):
        return None
    since = to_timestamp(task.applied_until_ms // 1000 * 1000).replace(".000Z", "Z")
    behind = f"{'the sink is ' if is_sink else ''}{behind_ms // 1000} s behind, since {since}"
    return f"{task.problem}; {behind}" if task.problem else behind


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _state_of(work: object) -> dict[str, Any]:
    if isinstance(work, ResolverWork):
        resolver = work.resolver
        return {
            "open": resolver.open_count,
            "counts": work.counted,
            "settled_until_ms": resolver.settled_ms,
            "promised_ms": work.promised_ms,
            "grace_ms": max(time.grace_ms for time in resolver.times.topics.values()),
            "times_ms": {t: time.now_ms for t, time in resolver.times.topics.items()},
            "label_delays": {
                name: {"bounds_s": BOUNDS_S, "counts": delay.counts, "sum_ms": delay.sum_ms}
                for name, delay in resolver.label_delays.items()
            },
        }
    if isinstance(work, CalibratorWork):
        calibrator = work.calibrator
        return {
            "waiting": calibrator.waiting_count,
            "promised_ms": calibrator.promised_ms,
            "promises": calibrator.promises,
            "bins": [
                {
                    "tenant_id": stream.tenant_id,
                    "action_type": stream.action_type,
                    "bin": index,
                    **asdict(held.all),
                }
                for (stream, index), held in calibrator.bins.items()
            ],
            "streams": [
                _stands(fold, fold.judged, fold.acting)
                for fold in calibrator.folds.values()
                if fold.judged and fold.acting
            ],
        }
    return {}


def _stands(fold: StreamFold, judged: StreamTest, acting: StreamThreshold) -> dict[str, Any]:
    """Evidence, alarm, threshold and the supported directions of a stream."""
    return {
        "action_type": fold.stream.action_type,
        "log_evidence_nanos": judged.test.raw.log_nanos(),
        "is_alarm": judged.alarm is not None,
        "threshold": acting.threshold.value,
        "trends": {
            metric.value: test.evidence.direction for metric, test in fold.trends.tests.items()
        },
    }


Render = Callable[[dict[str, Any]], bytes]


class HealthServer:
    """The worker's web server; `render` makes the Prometheus page from the snapshot."""

    def __init__(self, tasks: Tasks, host: str, port: int, render: Render) -> None:
        self._tasks = tasks
        self._host, self._port = host, port
        self._render = render
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._runner
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Begins to listen.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/status", self._status)
        app.router.add_get("/metrics", self._metrics_page)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        health, problems = health_of(self._tasks, _now_ms())
        body = {"status": health, "problems": problems}
        return web.json_response(body, status=503 if health == "failed" else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        states = {task.name: task.state for task in self._tasks}
        return web.json_response(states, status=200 if self._tasks.is_ready else 503)

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(status_of(self._tasks))

    async def _metrics_page(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._render(status_of(self._tasks)), content_type="text/plain", charset="utf-8"
        )

"""`python -m tests.faults.crashing_worker`: the worker as it is, and points at which it may die.

The engine has no hook for it: what crashes is handed in, the producers around its transactions and
the sink's connections around their COMMIT. A point is armed by a file in the worker's data folder,
also while it runs; at the n-th passing from then on the process kills itself by SIGKILL.
"""

import asyncio
import os
import signal
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from aiokafka.producer.message_accumulator import BatchBuilder

from agents_topics.connection import connection_of
from sinks.postgres.writer import PostgresWriter
from streams.app import make_app, run
from streams.clients import Clients
from streams.logs import configure_logs
from streams.settings import read_settings
from trueup.parent import end_with_parent

CRASHING = ("-m", "tests.faults.crashing_worker")

AFTER_CORE = "after-core"
HALF_SENT = "half-sent"
AFTER_OFFSETS = "after-offsets"
AFTER_COMMIT = "after-commit"
BEFORE_SINK_COMMIT = "before-sink-commit"
AFTER_SINK_COMMIT = "after-sink-commit"
POINTS = (
    *(AFTER_CORE, HALF_SENT, AFTER_OFFSETS, AFTER_COMMIT),
    *(BEFORE_SINK_COMMIT, AFTER_SINK_COMMIT),
)


def arm(folder, point, passing):
    """The worker of this folder dies at the point's passing of this number, counted from now."""
    disarm(folder)
    beside = folder / "arming"
    beside.write_text(f"{point} {passing}")
    beside.rename(folder / "armed")


def disarm(folder):
    """Nothing is armed, and no crash is told."""
    for name in ("armed", "crashed"):
        (folder / name).unlink(missing_ok=True)


def crashed(folder):
    """At which point a worker has crashed, and where in it; None if it did not."""
    file = folder / "crashed"
    return file.read_text() if file.exists() else None


class CrashPoints:
    """What is armed in a folder, and how often that was passed."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._passed = 0

    def is_armed(self, point):
        return self._armed()[0] == point

    def is_due(self, point):
        """Whether to die here; counts the passing."""
        armed, passing = self._armed()
        self._passed += armed == point
        return armed == point and self._passed >= passing

    def die(self, told):
        (self._folder / "armed").unlink()
        (self._folder / "crashed").write_text(told)
        os.kill(os.getpid(), signal.SIGKILL)

    def pass_by(self, point):
        if self.is_due(point):
            self.die(point)

    def _armed(self):
        try:
            point, passing = (self._folder / "armed").read_text().split()
        except FileNotFoundError:
            return None, 0
        return point, int(passing)


class Held(NamedTuple):
    """A batch that is not sent yet, and the result that its sender awaits."""

    batch: BatchBuilder
    topic: str
    partition: int
    result: asyncio.Future


class CrashingProducer:
    """A task's producer; how many batches make half of a transaction shows once it has all."""

    def __init__(self, producer, points):
        self._producer = producer
        self._points = points
        self._held = None

    def __getattr__(self, name):
        return getattr(self._producer, name)

    async def begin_transaction(self):
        self._points.pass_by(AFTER_CORE)
        self._held = [] if self._points.is_armed(HALF_SENT) else None
        await self._producer.begin_transaction()

    async def send_batch(self, batch, topic, *, partition):
        if self._held is None:
            return await self._producer.send_batch(batch, topic, partition=partition)
        result = asyncio.get_running_loop().create_future()
        self._held.append(Held(batch, topic, partition, result))
        return result

    async def send_offsets_to_transaction(self, offsets, group):
        await self._send_held(self._held or ())
        await self._producer.send_offsets_to_transaction(offsets, group)
        self._points.pass_by(AFTER_OFFSETS)

    async def commit_transaction(self):
        await self._producer.commit_transaction()
        self._points.pass_by(AFTER_COMMIT)

    async def _send_held(self, held):
        half = len(held) // 2
        if half and self._points.is_due(HALF_SENT):
            await asyncio.gather(*[await self._send(one) for one in held[:half]])
            self._points.die(f"{HALF_SENT}: {half} of {len(held)} batches")
        for one in held:
            sent = await self._send(one)
            sent.add_done_callback(partial(_pass_on, one.result))

    async def _send(self, one):
        return await self._producer.send_batch(one.batch, one.topic, partition=one.partition)


def _pass_on(result, sent):
    if sent.cancelled() or result.done():
        result.cancel()
    elif sent.exception():
        result.set_exception(sent.exception())
    else:
        result.set_result(sent.result())


@dataclass(frozen=True, slots=True)
class CrashingClients:
    """Clients of a broker, whose producers may crash."""

    clients: Clients
    points: CrashPoints

    def producer(self, transactional_id):
        return CrashingProducer(self.clients.producer(transactional_id), self.points)

    def reader(self):
        return self.clients.reader()

    def admin(self):
        return self.clients.admin()


class CrashingConnection:
    """A connection to Postgres that may crash around COMMIT."""

    def __init__(self, connection, points):
        self._connection = connection
        self._points = points

    def __getattr__(self, name):
        return getattr(self._connection, name)

    async def execute(self, statement, *values):
        if statement == "COMMIT":
            self._points.pass_by(BEFORE_SINK_COMMIT)
        answer = await self._connection.execute(statement, *values)
        if statement == "COMMIT":
            self._points.pass_by(AFTER_SINK_COMMIT)
        return answer


class CrashingWriter(PostgresWriter):
    """The sink, on connections that may crash."""

    def __init__(self, url, prefix, points):
        super().__init__(url, prefix)
        self._points = points

    async def _connect(self):
        return CrashingConnection(await super()._connect(), self._points)


def crashing_app():
    """The worker's app of this process's environment, with what may crash handed in."""
    settings, connection = read_settings(), connection_of(os.environ)
    points = CrashPoints(settings.data_folder)
    sink = CrashingWriter(os.environ["DATABASE_URL"], connection.prefix, points)
    app = make_app(connection, settings, sink)
    tools = app.worker.tasks.tools
    tools.clients = CrashingClients(tools.clients, points)
    return app


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    configure_logs(read_settings().log_format)
    run(crashing_app())

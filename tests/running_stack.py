"""A worker on the shared servers, and `trueup` beside it."""

import asyncio
import json
import time
import uuid
from contextlib import contextmanager

from agents_topics.connection import connection_of
from sinks.postgres.migrate import migrate
from streams.topic_admin import create_topics
from tests.command_line import run_trueup
from trueup.worker_process import WorkerProcess


class Stack:
    """Topics and a database of its own, and one worker."""

    def __init__(self, folder, settings):
        self.folder = folder
        self.settings = settings
        self.worker = WorkerProcess(settings, folder / "worker.log")

    def restart(self):
        self.worker.stop()
        self.worker = WorkerProcess(self.settings, self.folder / "worker.log")
        asyncio.run(self.worker.wait_until_ready())

    def trueup(self, *words, code=0):
        done = run_trueup(self.folder, *words, settings=self.settings)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def emit(self, *events, options=()):
        file = self.folder / f"{uuid.uuid4().hex}.ndjson"
        file.write_text("".join(json.dumps(event) + "\n" for event in events))
        return self.trueup("emit", str(file), *options)

    def rows(self, sql):
        return json.loads(self.trueup("sql", "--json", sql))

    def wait_for(self, sql, count):
        deadline_s = time.monotonic() + 60
        while len(found := self.rows(sql)) < count:
            assert time.monotonic() < deadline_s, found
        return found


@contextmanager
def running_stack(kafka_bootstrap, database_url, folder, **settings):
    """One with a single partition, whose worker is ready; stopped afterwards."""
    settings = {
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "DATABASE_URL": database_url,
        "TRUEUP_PREFIX": f"stack-{uuid.uuid4().hex[:8]}-",
        "TRUEUP_DATA_FOLDER": str(folder),
        "TRUEUP_PARTITIONS": "1",
        "TRUEUP_IDLE_AFTER_S": "3600",  # silence moves no time while we look
    } | settings
    migrate(database_url)
    asyncio.run(create_topics(connection_of(settings), 1))
    made = Stack(folder, settings)
    try:
        asyncio.run(made.worker.wait_until_ready())
        yield made
    finally:
        made.worker.stop()

"""Postgres comes back from an old dump, or empty, under a live worker: it is exact again."""

import asyncio
import json
import threading
import urllib.parse

import asyncpg
import pytest

from sinks.postgres.checksums import checksums
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import run_sql, sink_offsets
from tests.faults.runs import GRACE_MS
from trueup.replay import Job, conclude, prepare, run_plan
from trueup.replay_plan import Asked

SETTLED_S = 90
REST_S = 8


class Databases:
    """The server on which a run's database stands, as its administrator sees it."""

    def __init__(self, servers, url):
        self._url = servers.database_url
        self.name = urllib.parse.urlsplit(url).path.lstrip("/")
        self.copy = f"{self.name}_old"

    async def _execute(self, *statements):
        connection = await asyncpg.connect(self._url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async def dump(self):
        """The database as it is now is kept beside it; nobody may be connected."""
        await self._execute(f'CREATE DATABASE "{self.copy}" TEMPLATE "{self.name}"')

    async def restore(self):
        """What was kept takes the database's place; who is connected is thrown out."""
        await self._execute(
            f'DROP DATABASE "{self.name}" WITH (FORCE)',
            f'ALTER DATABASE "{self.copy}" RENAME TO "{self.name}"',
        )

    async def empty(self):
        """A database with nothing in it, no schema either, takes the database's place."""
        await self._execute(
            f'DROP DATABASE "{self.name}" WITH (FORCE)', f'CREATE DATABASE "{self.name}"'
        )


@pytest.mark.soak
async def test_postgres_from_an_old_dump_is_exact_again(servers, run, chance):
    it = run(seed=chance.randrange(1_000), actions=600)
    databases = Databases(servers, it.url)
    await it.prepare()
    it.start("a")
    await it.workers["a"].wait_until_ready()
    await it.feed(3)
    while not await _rows(it):
        await asyncio.sleep(0.2)
    await asyncio.to_thread(it.stop)
    await databases.dump()
    then = await sink_offsets(it.url)

    it.start("b")
    worker = it.workers["b"]
    await worker.wait_until_ready()
    await it.feed(1)
    await it.settle(SETTLED_S)
    last = await sink_offsets(it.url)
    await databases.restore()
    await it.settle(SETTLED_S)

    assert set(then) <= set(last)
    assert any(then.get(place, 0) < offset for place, offset in last.items())
    assert worker.process.poll() is None
    assert not any("task_failed" in line for line in _told(worker))
    await it.check()


@pytest.mark.soak
async def test_an_emptied_postgres_is_filled_by_the_worker_that_lives_to_the_same_checksums(
    servers, run, chance
):
    it = await _settled_by_a_worker(run, chance)
    before = await _at_rest(it)

    await Databases(servers, it.url).empty()
    while not any("Postgres is not set up" in p for p in await _problems(it, "a")):
        await asyncio.sleep(0.2)
    await asyncio.to_thread(migrate, it.url)
    await it.settle(SETTLED_S)
    after = await _at_rest(it)

    assert after == before
    assert before.outcomes.rows == sum(it.played.expected.by_status.values())
    assert not any("task_failed" in line for line in _told(it.workers["a"]))
    await it.check()


@pytest.mark.soak
async def test_an_emptied_postgres_is_filled_by_a_replay_through_which_a_worker_begins(
    servers, run, chance
):
    """It begins once a piece is read, and has written before the replay has written anything."""
    it = await _settled_by_a_worker(run, chance)
    before = await _at_rest(it)
    await asyncio.to_thread(it.stop)

    await Databases(servers, it.url).empty()
    await asyncio.to_thread(migrate, it.url)
    job = Job(connection=it.connection, url=it.url, policy=None, grace_ms=GRACE_MS)
    plan = await prepare(job, Asked(), GRACE_MS)
    is_midway, may_go_on = threading.Event(), threading.Event()

    def in_the_midst(_):
        is_midway.set()
        assert may_go_on.wait(2 * SETTLED_S)

    filling = asyncio.create_task(asyncio.to_thread(run_plan, job, plan, 1, in_the_midst))
    try:
        assert await asyncio.to_thread(is_midway.wait, SETTLED_S), "no piece was read"
        it.start("b")
        while not await _rows(it):
            await asyncio.sleep(0.1)
    finally:
        may_go_on.set()
    await conclude(job, await filling)
    await it.settle(SETTLED_S)
    after = await _at_rest(it)

    assert after == before
    await it.check()


async def _settled_by_a_worker(run, chance):
    it = run(seed=chance.randrange(1_000), actions=600)
    await it.prepare()
    it.start("a")
    await it.workers["a"].wait_until_ready()
    await it.feed(1)
    await it.settle(SETTLED_S)
    return it


async def _at_rest(it):
    """The checksums once nothing is written any more: forecasts are made at leisure."""
    last, since_s = None, 0.0
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SETTLED_S):
        while True:
            found = await checksums(it.url)
            if found != last:
                last, since_s = found, loop.time()
            if loop.time() - since_s > REST_S:
                return found
            await asyncio.sleep(0.5)


async def _problems(it, name):
    status = await it.status(name)
    return [task["problem"] or "" for task in status["tasks"]]


async def _rows(it):
    answer = await run_sql(it.url, "SELECT count(*) FROM tenant.outcome_records")
    return answer.rows[0][0]


def _told(worker):
    lines = worker.log_file.read_text().splitlines()
    return [json.loads(line).get("event", "") for line in lines if line.startswith("{")]

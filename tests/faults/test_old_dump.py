"""Postgres comes back from an old dump under a live worker: it goes on from there, exactly."""

import asyncio
import json
import urllib.parse

import asyncpg
import pytest

from sinks.postgres.queries import run_sql, sink_offsets

SETTLED_S = 90


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


async def _rows(it):
    answer = await run_sql(it.url, "SELECT count(*) FROM tenant.outcome_records")
    return answer.rows[0][0]


def _told(worker):
    lines = worker.log_file.read_text().splitlines()
    return [json.loads(line).get("event", "") for line in lines if line.startswith("{")]

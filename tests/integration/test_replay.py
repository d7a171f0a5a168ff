"""`trueup replay` on real servers: what a worker has made of the demo's topics, made again."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from contextlib import contextmanager
from dataclasses import asdict

import asyncpg
import pytest

from sinks.postgres.checksums import checksums
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import run_sql
from tests.faults.runs import GRACE_MS, Gauge, Run
from trueup.replay import Job, conclude, prepare, run_plan
from trueup.replay_plan import Asked

pytestmark = pytest.mark.slow


def trueup(run, *words, code=0, **settings):
    ours = ("KAFKA_", "DATABASE_URL", "TRUEUP_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-m", "trueup", *words],
        cwd=run.tmp_path, env=inherited | run.settings | settings,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


def replayed(run, into, processes=1, ends=None, **job):
    """What the command does; and its checksums."""
    job = Job(connection=run.connection, url=into, policy=None, grace_ms=GRACE_MS, **job)
    asked = Asked(judging=job.judging, ends=ends or {}, topics=job.topics)
    plan = asyncio.run(prepare(job, asked, GRACE_MS))
    found = run_plan(job, plan, processes, lambda _: None)
    return found, asyncio.run(conclude(job, found))


def sums(url):
    found = asyncio.run(checksums(url))
    return {"outcomes": found.outcomes, "bins": found.bins}


@contextmanager
def database_beside(url):
    """An empty, migrated database on the same server."""
    name = f"beside_{uuid.uuid4().hex}"

    async def execute(statement):
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(execute(f'CREATE DATABASE "{name}"'))
    address, slash, rest = url.rpartition("/")
    own = address + slash + name + rest[len(rest.partition("?")[0]) :]
    migrate(own)
    try:
        yield own
    finally:
        asyncio.run(execute(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="module")
def lived(kafka_bootstrap, database_url, tmp_path_factory):
    """A worker has settled half of the demo's events, gone on in a database that a replay filled,
    and settled the rest there.
    """
    run = Run(kafka_bootstrap, database_url, tmp_path_factory.mktemp("replay"), 11, 800)
    asyncio.run(run.prepare())
    with database_beside(database_url) as gone_on:
        run.start("before")
        try:
            asyncio.run(run.workers["before"].wait_until_ready())
            asyncio.run(run.feed(2))
            asyncio.run(applied(run))
        finally:
            run.stop()
        first = replayed(run, gone_on)
        offsets = asyncio.run(
            run_sql(gone_on, "SELECT topic, next_offset FROM tenant.sink_offsets")
        )
        run.url = run.settings["DATABASE_URL"] = gone_on
        run.start("after")
        try:
            asyncio.run(run.workers["after"].wait_until_ready())
            asyncio.run(run.feed(1))
            asyncio.run(run.settle(120))
            asyncio.run(run.check())
        finally:
            run.stop()
        yield run, first, offsets.rows


async def applied(run):
    """All that was sent is applied, and what it gave is in Postgres."""
    async with Gauge(run.connection) as gauge:
        while (await gauge.progress())[1]:
            await asyncio.sleep(0.2)
    await asyncio.sleep(2)


def test_a_live_publisher_goes_on_exactly_where_a_replay_has_ended(lived):
    """`check` has asked the audit, after the rest was fed."""
    _, first, offsets = lived

    found, checked = first
    assert found.outcomes["open"] > 0
    assert checked["outcomes"].rows > 0
    assert all(offset > 0 for topic, offset in offsets if topic.endswith("-outcomes"))


def test_the_topics_replayed_into_a_fresh_database_give_the_checksums_of_live_and_so_again(lived):
    run, _, _ = lived

    with database_beside(run.url) as fresh:
        first = trueup(run, "replay", "--into", fresh, "--processes", "2", "--json")
        second, again = replayed(run, fresh)
        stored = json.loads(trueup(run, "checksum", "--database", fresh, "--json").stdout)

    live = sums(run.url)
    assert live["outcomes"].rows == sum(run.played.expected.by_status.values())
    assert again == live
    assert json.loads(first.stdout)["checksums"] == stored
    assert stored == {name: asdict(checksum) for name, checksum in live.items()}
    assert second.rows == 0
    assert "/s, " in first.stderr


def test_where_live_has_written_a_replay_as_recorded_is_refused(lived):
    run, _, _ = lived
    refused = trueup(run, "replay", code=3)

    assert "A live publisher has written to this database" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_in_pieces_that_grow_the_rows_are_the_same_in_the_end(lived):
    run, _, _ = lived
    ends = {("agent-actions", 0): 60, ("agent-interactions", 1): 50}

    with database_beside(run.url) as fresh:
        piece, of_piece = replayed(run, fresh, ends=ends)
        whole, of_whole = replayed(run, fresh)

    assert piece.records < whole.records
    assert of_piece["outcomes"].rows < of_whole["outcomes"].rows
    assert of_whole == sums(run.url)

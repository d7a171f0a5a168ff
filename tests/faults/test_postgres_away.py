"""Postgres is away under load: the streams go on, the publisher waits, and all is caught up."""

import asyncio
import json
import re
import signal
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import psutil
import pytest

from agents_topics.roster import PUBLISHER
from sinks.postgres.queries import run_sql
from streams.health import SINK_BEHIND_MS_MAX
from streams.settings import Settings
from tests.faults.runs import Gauge
from trueup.embedded.postgres import EmbeddedPostgres
from trueup.status import read_status
from trueup.status_text import lines_of

AWAY = re.compile(r"Postgres is away: .+; the sink is (?P<seconds>\d+) s behind, since 2\d{3}-.+Z")
SLOW = re.compile(r"the sink is \d+ s behind, since 2\d{3}-.+Z")
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def page(worker, name):
    """The code and the body of one of a worker's pages."""
    try:
        with _open(f"{worker.url}/{name}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


async def until(claim, seconds, what):
    """Returns when the claim holds."""
    deadline = time.monotonic() + seconds
    while not await claim():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("end", "away_s"),
    [
        pytest.param(EmbeddedPostgres.kill, 10, marks=pytest.mark.slow),
        pytest.param(EmbeddedPostgres.shut_down, 60, marks=pytest.mark.soak),
    ],
)
async def test_postgres_may_be_away(servers, own_postgres, run_on, chance, end, away_s):
    postgres = await asyncio.to_thread(own_postgres)
    it = run_on(servers.kafka_bootstrap, postgres.url, chance.randrange(1_000), 3_000)
    await it.prepare()
    it.start("a")
    worker = it.workers["a"]
    await worker.wait_until_ready()

    async def is_published():
        rows = await run_sql(it.url, "SELECT count(*) FROM tenant.outcome_records")
        return rows.rows[0][0] > 0

    async with Gauge(it.connection) as gauge:

        async def is_resolved():
            return (await gauge.progress())[1] == 0

        feeding = asyncio.create_task(it.feed(2))
        await until(is_published, 30, "nothing was published")
        await asyncio.to_thread(end, postgres)
        gone_s = time.monotonic()
        await feeding
        await it.feed(4)
        await until(is_resolved, away_s, "the resolver waits for Postgres")
        await asyncio.sleep(max(gone_s + away_s - time.monotonic(), 0))
        health, ready = page(worker, "healthz"), page(worker, "readyz")
        problems = {task["name"]: task["problem"] for task in worker.status()["tasks"]}
        status = await read_status(it.connection, it.url, [worker.url], Settings())
        letters_then = await gauge.dead_letters()

    await asyncio.to_thread(postgres.start)
    back_s = time.monotonic()
    await it.feed(4)
    await worker.wait_until_ready()
    await it.settle(60)
    recovered = page(worker, "healthz")
    print(f"settled {time.monotonic() - back_s:.1f} s after it was back")  # noqa: T201

    waiting = {name for name, state in ready[1].items() if state != "running"}
    assert ready[0] == 503
    code, told = health
    assert (code, told["status"], set(told["problems"])) == (200, "degraded", waiting)
    behind = [AWAY.search(words) for words in told["problems"].values()]
    assert all(one and int(one["seconds"]) >= away_s - 3 for one in behind), told
    screen = "\n".join(lines_of(status))
    assert f"{worker.url}  NOT READY, degraded" in screen
    assert len(AWAY.findall(screen)) == len(waiting), screen
    assert urlsplit(postgres.url).password not in json.dumps(told) + screen
    assert recovered == (200, {"status": "ok", "problems": {}})
    assert waiting == {f"{PUBLISHER.name}-{number}" for number in range(4)}
    assert all("Postgres is away" in problems[name] for name in waiting), problems
    assert letters_then <= it.played.expected.dead_letters
    await it.check()


@pytest.mark.soak
async def test_a_postgres_that_gives_no_answer_is_told_before_anything_times_out(
    servers, own_postgres, run_on
):
    postgres = await asyncio.to_thread(own_postgres)
    it = run_on(servers.kafka_bootstrap, postgres.url, 1, 1_500)
    await it.prepare()
    it.start("a")
    worker = it.workers["a"]
    await worker.wait_until_ready()
    await it.feed(3)

    stopped = signal_all(postgres, signal.SIGSTOP)
    try:
        await it.feed(3)

        async def is_told():
            return page(worker, "healthz")[1]["status"] == "degraded"

        await until(is_told, SINK_BEHIND_MS_MAX / 1000 + 8, "slow, and healthy")
        health = page(worker, "healthz")
    finally:
        for process in stopped:
            process.send_signal(signal.SIGCONT)
    await it.feed(1)
    await it.settle(60)

    assert health[0] == 200
    assert all(SLOW.fullmatch(words) for words in health[1]["problems"].values()), health
    assert page(worker, "healthz") == (200, {"status": "ok", "problems": {}})
    await it.check()


def signal_all(postgres, number):
    """The server and each process of a session of it gets the signal; who they were."""
    server = psutil.Process(postgres.pid)
    found = [server, *server.children(recursive=True)]
    for process in found:
        process.send_signal(number)
    return found

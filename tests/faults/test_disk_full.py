"""A server's disk fills up under load: it is told clearly, and with room again all is exact."""

import asyncio
import errno
import urllib.request

import pytest

from agents_topics.roster import PUBLISHER, RESOLVER
from tests.faults.test_postgres_away import page, until

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
DISK_MB = 120
FULL = "No space left on device"


def fill(disk):
    """Not a byte is left; returns the file that takes the room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError as problem:
                assert problem.errno == errno.ENOSPC
    return filler


def problems_of(worker, agent):
    """The problems that an agent's tasks tell, of each one that does not run."""
    tasks = worker.status()["tasks"]
    return [t["problem"] for t in tasks if t["agent"] == agent and t["state"] != "running"]


def not_ready(worker, agent):
    """How many of an agent's tasks the metrics have as not ready."""
    with _open(f"{worker.url}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    about = f'trueup_task_ready{{agent="{agent}"'
    return sum(line.startswith(about) and float(line.split()[-1]) == 0 for line in lines)


@pytest.mark.soak
async def test_postgres_may_have_no_room(servers, small_disk, own_postgres, run_on, chance):
    disk = small_disk(DISK_MB)
    postgres = await asyncio.to_thread(own_postgres, disk)
    it = run_on(servers.kafka_bootstrap, postgres.url, chance.randrange(1_000), 1_500)
    await it.prepare()
    it.start("a")
    worker = it.workers["a"]
    await worker.wait_until_ready()
    await it.feed(3)

    filler = fill(disk)
    await it.feed(3)

    async def all_wait():
        return len(problems_of(worker, PUBLISHER.name)) == 4

    await until(all_wait, 30, "the publishers wrote without room")
    waiting, health = not_ready(worker, PUBLISHER.name), page(worker, "healthz")
    filler.unlink()
    if not postgres.is_running:
        await asyncio.to_thread(postgres.start)
    await it.feed(1)
    await it.settle(60)

    assert waiting == 4
    assert (health[0], health[1]["status"], len(health[1]["problems"])) == (200, "degraded", 4)
    assert all("no room left on its disk" in words for words in health[1]["problems"].values())
    lines = worker.log_file.read_text()
    assert "Postgres has no room left on its disk" in lines and FULL in lines
    assert "task_failed" not in lines
    await it.check()


@pytest.mark.soak
async def test_kafka_may_have_no_room(own_database_url, small_disk, own_kafka, run_on, chance):
    """A broker whose only disk fails ends itself; a person makes room and starts it again."""
    disk = small_disk(DISK_MB)
    kafka = await asyncio.to_thread(own_kafka, "", disk)
    it = run_on(kafka.bootstrap, own_database_url, chance.randrange(1_000), 3_000)
    await it.prepare()
    it.start("a")
    worker = it.workers["a"]
    await worker.wait_until_ready()
    await it.feed(2)

    filler = fill(disk)  # in the midst of the workers' transactions

    async def has_ended():
        return not kafka.is_running

    async def is_told():
        return not_ready(worker, RESOLVER.name) == 4

    await until(has_ended, 60, "Kafka goes on without room")
    said = (kafka.folder / "server.log").read_text()
    await until(is_told, 60, "the worker says nothing of it")
    problems = problems_of(worker, RESOLVER.name)
    filler.unlink()
    await asyncio.to_thread(kafka.start)
    await worker.wait_until_ready(90)
    await it.feed(1)
    await it.settle(90)

    assert FULL in said
    assert all(problems), problems
    lines = worker.log_file.read_text()
    assert "task_failed" not in lines and "task_refused" not in lines
    await it.check()

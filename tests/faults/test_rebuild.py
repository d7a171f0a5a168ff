"""`trueup rebuild` on real servers: what a refusal prints makes lost changelogs again, exactly."""

import asyncio
import re
import shlex
import time

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete

from agents_topics.topics import CALIBRATOR_CHANGELOG, RESOLVER_CHANGELOG
from streams.topic_admin import create_topics
from tests.command_line import run_trueup
from tests.faults.runs import PARTITIONS, Gauge
from tests.topic_configs import configure
from trueup.broker_view import administering
from trueup.demo_workload import ACTIONS_MIN
from trueup.exits import ENVIRONMENT
from trueup.reset import delete_topics

SETTLED_S = 60
CHANGELOGS = (RESOLVER_CHANGELOG, CALIBRATOR_CHANGELOG)


def trueup(it, words):
    return run_trueup(it.tmp_path, *words, settings=it.settings)


def printed(text):
    """The words of the rebuild that a refusal prints."""
    (command,) = set(re.findall(r"`trueup (rebuild [^`]*)`", text))
    return shlex.split(command)


async def delete(it, admin):
    """The changelogs are gone; whoever runs things makes the topics that a worker misses."""
    await delete_topics(admin, [it.connection.topic(topic.name) for topic in CHANGELOGS])
    await create_topics(it.connection, PARTITIONS)


async def truncate(it, admin):
    """Rows are deleted from the beginning of each; the last ones stay."""
    for topic in CHANGELOGS:
        name = it.connection.topic(topic.name)
        await configure(admin, {name: topic.broker_config() | {"cleanup.policy": "delete"}})
        async with Gauge(it.connection) as gauge:
            ends = await gauge.committed.end_offsets(
                [TopicPartition(name, number) for number in range(PARTITIONS)]
            )
        cuts = {tp: RecordsToDelete(end - 2) for tp, end in ends.items() if end > 2}
        await admin.delete_records(cuts)
        await configure(admin, {name: topic.broker_config()})


async def grow(it, admin):
    """Somebody has added a partition to each."""
    names = [it.connection.topic(topic.name) for topic in CHANGELOGS]
    await admin.create_partitions(dict.fromkeys(names, NewPartitions(PARTITIONS + 1)))


async def refused(it, name):
    """What a worker that starts now says, on its page or as it ends."""
    it.start(name)
    worker, deadline_s = it.workers[name], time.monotonic() + 40
    while time.monotonic() < deadline_s:
        status = await it.status(name)
        problems = [t["problem"] for t in (status or {}).get("tasks", ()) if t["problem"]]
        if len(problems) >= 2 * PARTITIONS or worker.process.poll() is not None:
            break
        await asyncio.sleep(0.3)
    await asyncio.to_thread(worker.stop)
    return worker.log_file.read_text() + "".join(problems)


@pytest.mark.soak
@pytest.mark.parametrize("lose", [delete, truncate, grow])
async def test_what_the_refusal_prints_makes_the_changelogs_again_and_a_worker_goes_on_exactly(
    run, lose
):
    it = run(seed=7, actions=ACTIONS_MIN)
    await it.prepare()
    it.start("a")
    await it.workers["a"].wait_until_ready()
    await it.feed(2)
    async with Gauge(it.connection) as gauge:
        await gauge.all_applied()
    alive = await asyncio.to_thread(trueup, it, ["rebuild", "--yes"])
    await asyncio.to_thread(it.stop)
    whole = await asyncio.to_thread(trueup, it, ["rebuild", "--yes"])
    async with administering(it.connection) as admin:
        await lose(it, admin)

    words = printed(await refused(it, "b"))
    told = await asyncio.to_thread(trueup, it, ["rebuild"])
    done = await asyncio.to_thread(trueup, it, words)
    again = await asyncio.to_thread(trueup, it, words)

    assert alive.returncode == ENVIRONMENT
    assert "has 1 members at work. Stop every worker" in alive.stderr
    assert "there is nothing to rebuild" in whole.stdout, whole.stderr
    assert told.returncode == 0, told.stderr
    assert "Nothing was changed. `trueup rebuild --yes` does it." in told.stdout
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("made  ") == 2 * PARTITIONS
    assert "there is nothing to rebuild" in again.stdout, again.stderr
    it.start("c")
    await it.workers["c"].wait_until_ready()
    await it.feed(1)
    await it.settle(SETTLED_S)
    await it.check()

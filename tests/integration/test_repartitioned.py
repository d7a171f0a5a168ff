"""What workers make of a repartitioned installation: four partitions become three, and every result
is what the old one's workers make.
"""

import asyncio
import copy
import re
import time
from dataclasses import fields, replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from agents_topics.connection import connection_of
from agents_topics.events import to_ms
from agents_topics.letters import COPIED_FROM
from agents_topics.policy_file import load_policy
from sinks.postgres.checksums import checksums
from tests.command_line import run_trueup
from tests.faults.runs import GRACE_MS, JOINED, Run
from tests.integration.test_replay import applied, database_beside
from trueup.half_copies import RepartitionRefused
from trueup.ledger import audit_database
from trueup.repartition_plan import Site, plan_of
from trueup.topic_reader import TopicReader

pytestmark = pytest.mark.soak
NEW = 3
WAITING = 60
SECONDS = 60


class Move:
    """An installation that has judged half of the demo's events and not the next few, its copy,
    and what the command said.
    """

    def __init__(self, run):
        self.old, self.new = run, copy.copy(run)
        self.new.partitions, self.new.workers = NEW, {}
        self.new.settings = run.settings | {
            "TRUEUP_PREFIX": "wide-" + run.settings["TRUEUP_PREFIX"],
            "TRUEUP_PARTITIONS": str(NEW),
        }
        self.new.connection = connection_of(self.new.settings)

    def repartition(self, *words):
        prefix = self.new.settings["TRUEUP_PREFIX"]
        done = run_trueup(
            self.old.tmp_path, "repartition", "--to", prefix, "--partitions", str(NEW), *words,
            settings=self.old.settings,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def plan(self, **changes):
        """What the command asks first."""
        site = Site(self.old.connection, self.new.connection, NEW, GRACE_MS)
        return asyncio.run(plan_of(replace(site, **changes)))

    def stop(self):
        self.old.stop()
        self.new.stop()


def sums(url, as_of_ms=None):
    found = asyncio.run(checksums(url, as_of_ms) if as_of_ms else checksums(url))
    return {one.name: getattr(found, one.name) for one in fields(found)}


def until(reached):
    deadline_s = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


@pytest.fixture(scope="module")
def moved(kafka_bootstrap, database_url, tmp_path_factory):
    run = Run(kafka_bootstrap, database_url, tmp_path_factory.mktemp("moved"), 12, 500)
    move = Move(run)
    with database_beside(database_url) as fresh:
        move.new.url = move.new.settings["DATABASE_URL"] = fresh
        try:
            asyncio.run(run.prepare())
            run.start("old")
            asyncio.run(run.workers["old"].wait_until_ready())
            asyncio.run(run.feed(2))
            asyncio.run(applied(run))
            run.stop()
            asyncio.run(run.feed_records(WAITING))
            move.told = move.repartition()
            move.topics_when_told = names(move)
            move.done = move.repartition("--yes")
            yield move
        finally:
            move.stop()


def names(move):
    async def asked():
        admin = AIOKafkaAdminClient(**move.old.connection.client_options())
        await admin.start()
        found = await admin.list_topics()
        await admin.close()
        return found

    prefix = move.new.connection.prefix
    return [name for name in asyncio.run(asked()) if name.startswith(prefix)]


def test_it_is_told_first_and_then_done_and_says_the_same(moved):
    plan = [line for line in moved.told.splitlines() if line.split()[0] in ("copy", "leave")]

    assert moved.topics_when_told == []
    assert moved.told.endswith("Nothing was changed. The same with --yes does it.\n")
    assert plan == [line for line in moved.done.splitlines() if line in plan]
    assert re.search(r"leave +\S+agent-interactions: \d+ records, late\n", moved.told)
    assert re.search(
        r"leave +\S+agent-actions: 1 record, (json_invalid|conflict|key)\n", moved.told
    )
    told = re.findall(r"of which (\d+) nobody has judged yet", moved.told)
    assert 0 < sum(map(int, told)) <= WAITING


def test_every_copy_names_the_record_that_it_was(moved):
    async def read(connection):
        async with TopicReader(connection) as reader:
            for topic in JOINED:
                async for record in reader.records(topic, await reader.spans(topic)):
                    yield record

    async def both():
        old = {
            f"{r.topic}/{r.partition}/{r.offset}/{r.timestamp}": (r.key, r.value)
            async for r in read(moved.old.connection)
        }
        new = {
            dict(r.headers)[COPIED_FROM].decode(): (r.key, r.value)
            async for r in read(moved.new.connection)
        }
        return old, new

    old, new = asyncio.run(both())

    assert 0 < len(new) < len(old)
    assert new.items() <= old.items()


def test_it_is_refused_where_it_would_mix_or_lose(moved):
    with pytest.raises(RepartitionRefused, match=r"hold something .*agent-actions"):
        moved.plan()
    with pytest.raises(RepartitionRefused, match="names the prefix in force"):
        moved.plan(new=moved.old.connection)
    with pytest.raises(RepartitionRefused, match=r"a grace of 3600 s for agent-actions"):
        moved.plan(new=elsewhere(moved), grace_ms=dict.fromkeys(GRACE_MS, 1))
    with pytest.raises(RepartitionRefused, match="No worker has left a state"):
        moved.plan(old=moved.new.connection, new=elsewhere(moved))


def elsewhere(move):
    return replace(move.new.connection, prefix=f"else-{move.new.connection.prefix}")


def test_a_worker_of_the_copy_has_settled_the_same_and_goes_on_as_the_old_one_would(moved):
    (as_of,) = set(re.findall(r"--as-of (\S+)", moved.done))
    as_of_ms, before = to_ms(as_of), sums(moved.old.url, to_ms(as_of))["outcomes"]

    moved.new.start("new")
    until(lambda: sums(moved.new.url, as_of_ms)["outcomes"] == before)
    moved.old.start("again")
    asyncio.run(go_on(moved))

    assert before.rows > 50
    assert sums(moved.new.url) == sums(moved.old.url)


async def go_on(move):
    """The rest is sent to both, and both settle all."""
    move.new.sent = move.old.sent
    for run in (move.old, move.new):
        await run.feed(1)
    for run in (move.old, move.new):
        await run.settle(SECONDS)
    await move.old.check()
    report = await audit_database(move.new.connection, load_policy(None), move.new.url, GRACE_MS)
    assert report.is_exact, str(report)

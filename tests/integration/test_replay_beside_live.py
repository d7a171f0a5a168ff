"""`trueup replay` into an empty database while a worker goes on and records still come."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from itertools import pairwise

import pytest

from agents_topics.topics import AGENT_ACTIONS
from sinks.postgres.checksums import Checksums, checksums
from sinks.postgres.queries import run_sql
from tests.faults.runs import GRACE_MS, Gauge, Run
from tests.integration.test_replay import database_beside, forecasts_made, replayed, trueup
from trueup.replay import Job, conclude, prepare, run_plan
from trueup.replay_plan import Asked, ReplayRefused

WAITED_S = 30
SENT_AT_ONCE = 20
MORE = 2 * SENT_AT_ONCE


@pytest.fixture
def fresh(database_url):
    with database_beside(database_url) as url:
        yield url


@asynccontextmanager
async def under_load(run, pause_s=0.2):
    """Until this ends records are being sent, a few at a time."""
    is_over = asyncio.Event()

    async def send():
        while not is_over.is_set():
            await run.feed_records(SENT_AT_ONCE)
            assert run.sent < len(run.played.records), "the load has ended before the replays"
            await asyncio.sleep(pause_s)

    load = asyncio.create_task(send())
    try:
        yield
    finally:
        is_over.set()
        await load


async def applied_more(gauge):
    """Waits until live has applied more records than it has now."""
    wanted = (await gauge.progress())[0] + MORE
    async with asyncio.timeout(WAITED_S):
        while (await gauge.progress())[0] < wanted:
            await asyncio.sleep(0.05)


async def run_beside(job, plan, gauge):
    """Runs the plan; once a piece of it is read the replay waits until live has applied more."""
    is_midway, may_go_on = threading.Event(), threading.Event()

    def in_the_midst(_):
        is_midway.set()
        assert may_go_on.wait(2 * WAITED_S)

    running = asyncio.create_task(asyncio.to_thread(run_plan, job, plan, 1, in_the_midst))
    try:
        assert await asyncio.to_thread(is_midway.wait, WAITED_S), "no piece was read"
        await applied_more(gauge)
    finally:
        may_go_on.set()
    return await running


async def action_ids_beyond(gauge, plan):
    """The actions of which every record stands at or past the end of what the plan reads."""
    ends = {source: end for share in plan.shares for source, (_, end) in share.spans.items()}
    within, beyond = set(), set()
    for record in await gauge.records(AGENT_ACTIONS.name):
        try:
            event = json.loads(record.value)
        except ValueError:
            continue  # poison
        is_within = record.offset < ends[AGENT_ACTIONS.name, record.partition]
        (within if is_within else beyond).add(event.get("action_id") or event["event_id"])
    return beyond - within


async def is_of_live(run, as_of_ms, said):
    """Whether a checksum of settled outcomes is what live has by that time; there are some."""
    return said["rows"] > 0 and said == asdict((await checksums(run.url, as_of_ms)).outcomes)


async def drained(run, seconds):
    """The rest is sent and settled, live is exact, and no task of it has ever had a problem."""
    await run.feed(1)
    await run.settle(seconds)
    await run.check()
    (tasks,) = (await run.states()).values()
    assert {(state, problem) for state, problem, *_ in tasks.values()} == {("running", None)}


async def test_beside_live_a_replay_ends_where_live_had_come_when_it_began_and_both_are_exact(
    kafka_bootstrap, database_url, fresh, tmp_path
):
    run = Run(kafka_bootstrap, database_url, tmp_path, 23, 400)
    job = Job(connection=run.connection, url=fresh, policy=None, grace_ms=GRACE_MS)
    async with run.running("a"), Gauge(run.connection) as gauge:
        await run.feed(3)
        await gauge.all_applied()
        async with under_load(run):
            begun, _ = await gauge.progress()
            plan = await prepare(job, Asked(), GRACE_MS)
            seen, _ = await gauge.progress()
            found = await run_beside(job, plan, gauge)
            checked = await conclude(job, found)
            written = await run_sql(fresh, "SELECT action_id FROM tenant.outcome_records")
            with pytest.raises(ReplayRefused, match="A live publisher has written"):
                await prepare(replace(job, url=run.url), Asked(), GRACE_MS)
        beyond = await action_ids_beyond(gauge, plan)
        await drained(run, 60)
        whole, again = await asyncio.to_thread(replayed, run, fresh)
        await forecasts_made(run, again["forecasts"].rows)

    assert begun <= plan.offsets <= seen
    assert found.records == plan.offsets
    assert found.outcomes["open"] > 0
    assert beyond
    assert not beyond & {action_id for (action_id,) in written.rows}
    assert await is_of_live(run, found.as_of_ms, asdict(checked["outcomes"]))
    assert found.records + MORE <= whole.records
    assert Checksums(**again) == await checksums(run.url)


@pytest.mark.soak
async def test_the_command_again_and_again_beside_live_has_what_live_has_settled(
    kafka_bootstrap, database_url, fresh, tmp_path
):
    run = Run(kafka_bootstrap, database_url, tmp_path, 29, 3_000)
    command = (run, "replay", "--into", fresh, "--json")
    told = []
    async with run.running("a"), Gauge(run.connection) as gauge:
        await run.feed(6)
        await gauge.all_applied()
        async with under_load(run, pause_s=0.5):
            for _ in range(3):
                begun, _ = await gauge.progress()
                told.append(json.loads((await asyncio.to_thread(trueup, *command)).stdout))
                ended, _ = await gauge.progress()
                assert begun <= told[-1]["records"] < ended
        await drained(run, 90)
        told.append(json.loads((await asyncio.to_thread(trueup, *command)).stdout))
        await forecasts_made(run, told[-1]["checksums"]["forecasts"]["rows"])

    for before, after in pairwise(one["records"] for one in told):
        assert before < after
    for one in told:
        assert await is_of_live(run, one["as_of_ms"], one["checksums"]["outcomes"])
    assert told[-1]["checksums"] == asdict(await checksums(run.url))

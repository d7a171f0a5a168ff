"""Forecasts through a worker when people decide: a label overrules, a tenant is forgotten."""

import asyncio
import uuid
from dataclasses import replace

import pytest

from agents_topics.events import to_timestamp
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from sinks.postgres.queries import run_sql
from tests.command_line import run_trueup
from tests.faults.runs import Run
from tests.integration.test_forecasts_live import (
    DAY,
    FIRST_DAY,
    HOUR,
    MADE_S,
    TENANT,
    all_made,
    emails,
)
from tests.integration.test_replay import database_beside, replayed, sums

pytestmark = [pytest.mark.slow, pytest.mark.soak]

SEEN_DAY = FIRST_DAY + 6
SEEN_MS = (SEEN_DAY + 1) * DAY + 10 * HOUR
"""When a person looks: the day has closed, and its last emails have not settled."""
OTHER = str(uuid.uuid5(uuid.NAMESPACE_DNS, "forecasts of another"))


def emails_of(tenants):
    """The emails of each."""
    played = emails()
    played.records = [of_tenant(one, name) for one in played.records for name in tenants]
    return played


def of_tenant(one, tenant):
    mine, its = TENANT.encode(), tenant.encode()
    return replace(one, key=one.key.replace(mine, its), value=one.value.replace(mine, its))


def heard_of(played):
    """The last conversation of the day whose reply had come by its end."""
    seen = [one for one in played.records if one.at_ms < (SEEN_DAY + 1) * DAY]
    replied = {one.key for one in seen if one.topic == AGENT_INTERACTIONS.name}
    sent = [one for one in seen if one.topic == AGENT_ACTIONS.name and one.key in replied]
    assert sent[-1].at_ms > SEEN_MS - DAY
    return sent[-1].key.decode().partition("/")[2]


async def fed_until(run, at_ms):
    """What came before a moment is in the log."""
    await run.feed_records(sum(one.at_ms < at_ms for one in run.played.records) - run.sent)


async def trueup(run, *words):
    done = await asyncio.to_thread(run_trueup, run.tmp_path, *words, settings=run.settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def asked(url, sql):
    return (await run_sql(url, sql)).rows


async def labelled(run, name):
    """A person says that what had been answered was a success all the same."""
    await trueup(run, "label", name, "positive", "--at", to_timestamp(SEEN_MS))
    decided = "SELECT 1 FROM tenant.outcome_records WHERE signal_source = 'human_label'"
    async with asyncio.timeout(60):
        while not await asked(run.url, decided):
            await asyncio.sleep(0.2)


async def through_a_label(run):
    """The day's forecast as it was made, before and after the label, and all in the end."""
    async with run.running("a"):
        await fed_until(run, SEEN_MS)
        _, _, before = await all_made(run.url)
        await labelled(run, heard_of(run.played))
        await run.feed(1)
        await run.settle(120)
        return before, await all_made(run.url)


def test_what_a_label_overrules_counts_as_silent_once_it_is_scored_and_a_replay_says_the_same(
    kafka_bootstrap, own_database_url, tmp_path
):
    run = Run(kafka_bootstrap, own_database_url, tmp_path, 1, 200)
    run.played = emails()
    before, (_, read, stored) = asyncio.run(through_a_label(run))
    with database_beside(run.url) as fresh:
        replayed(run, fresh)
        live, retold = sums(run.url), sums(fresh)

    waiting, *_, came = before[SEEN_DAY]
    assert (waiting > 5, came) == (True, None)
    assert stored[SEEN_DAY][0] == waiting + 1
    assert stored[SEEN_DAY] == read[SEEN_DAY]
    assert stored[SEEN_DAY][-1] is not None
    assert retold == live


async def rows_of(run, tenant):
    told = f"SELECT as_of_day FROM tenant.calibration_forecasts WHERE tenant_id = '{tenant}'"
    return len(await asked(run.url, told))


async def through_a_forgetting(run):
    """How many rows there are of the tenant that is forgotten and of the other one."""
    async with run.running("a"):
        await fed_until(run, SEEN_MS)
        for tenant in (TENANT, OTHER):
            await made_of(run, tenant, 2)
        await trueup(run, "forget", TENANT, "--yes")
        at_once = await rows_of(run, TENANT)
        run.workers["a"].stop()
        run.start("b")
        await run.workers["b"].wait_until_ready(60)
        made = await rows_of(run, OTHER)
        run.played.records = [one for one in run.played.records if OTHER.encode() in one.key]
        run.sent //= 2
        await fed_until(run, SEEN_MS + 3 * DAY)
        await made_of(run, OTHER, made + 3)
        return at_once, await rows_of(run, TENANT)


async def made_of(run, tenant, count):
    async with asyncio.timeout(MADE_S):
        while await rows_of(run, tenant) < count:
            await asyncio.sleep(0.2)


def test_of_a_tenant_that_is_forgotten_no_row_is_left_and_none_is_made_again(
    kafka_bootstrap, own_database_url, tmp_path
):
    run = Run(kafka_bootstrap, own_database_url, tmp_path, 1, 200)
    run.played = emails_of([TENANT, OTHER])

    assert asyncio.run(through_a_forgetting(run)) == (0, 0)

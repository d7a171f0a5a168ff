"""Forecasts that a worker writes while events come, and the same by a replay of its topics."""

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from types import SimpleNamespace

import pytest

from agents_topics.events import to_timestamp
from agents_topics.identifiers import key_of
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from sinks.postgres.calibration_readings import calibration_streams
from tables.stream import stream_of
from tests.faults.runs import Run
from tests.integration.test_forecasts import on_reading, rows
from tests.integration.test_replay import database_beside, replayed, sums
from trueup.demo_workload import Record

pytestmark = pytest.mark.slow

DAY, HOUR = 86_400_000, 3_600_000
FIRST_DAY, DAYS, A_DAY = 20_458, 14, 50
TENANT = str(uuid.uuid5(uuid.NAMESPACE_DNS, "forecasts"))
MADE_S = 60


def emails():
    """Each waits a day for its reply, which comes in half of the cases, mostly soon."""
    dice, records, statuses = random.Random(3), [], Counter()
    for number in range(DAYS * A_DAY):
        at_ms = FIRST_DAY * DAY + number * DAY // A_DAY
        stated, name = round(dice.uniform(0.3, 0.9), 3), f"email-{number}"
        about = {"tenant_id": TENANT, "conversation_id": name}
        records.append(
            record(AGENT_ACTIONS, about, at_ms, action_type="send_email", action_id=name,
                   predicted_confidence=stated, confidence_source="judge")
        )  # fmt: skip
        has_reply = dice.random() < stated - 0.1
        if has_reply:
            replied_ms = at_ms + int(dice.betavariate(1, 2) * DAY)
            records.append(record(AGENT_INTERACTIONS, about, replied_ms, kind="reply_received"))
        statuses["positive" if has_reply else "expired"] += 1
    return SimpleNamespace(
        records=sorted(records, key=lambda one: one.at_ms),
        expected=SimpleNamespace(by_status=statuses, dead_letters=Counter()),
        clock_until=to_timestamp((FIRST_DAY + DAYS + 8) * DAY),
    )


def record(topic, about, at_ms, **own):
    times = {"event_id": str(uuid.uuid4()), "occurred_at": to_timestamp(at_ms)}
    key = key_of(about["tenant_id"], about["conversation_id"]).encode()
    return Record(topic.name, key, json.dumps(about | times | own).encode(), at_ms)


async def all_made(url):
    """The last closed day, what is made of the rows on reading, and what is stored, once that says
    as much.
    """
    deadline, told = time.monotonic() + MADE_S, None
    while time.monotonic() < deadline:
        for stands in await calibration_streams(url, TENANT):
            closed_day = stands.last_settled_at_ms // DAY - 1
            read, stored = await on_reading(url, stream_of(stands), closed_day), await rows(url)
            told = closed_day, read, stored
            if stored and made(read) == made(stored):
                return told
        await asyncio.sleep(0.5)
    raise AssertionError(told)


def made(forecasts):
    """What they say, without what came."""
    return {day: figures for day, (*figures, _) in forecasts.items()}


async def through_a_kill(run):
    """What was made halfway, and in the end."""
    async with run.running("killed"):
        await run.feed_records(len(run.played.records) * 2 // 3)
        half = await all_made(run.url)
        run.workers["killed"].process.kill()
        run.start("heir")
        await run.workers["heir"].wait_until_ready(60)
        await run.feed(1)
        await run.settle(120)
        end = await all_made(run.url)
        await run.check()
    return half, end


@pytest.mark.soak
def test_a_worker_writes_what_is_read_through_a_kill_and_a_replay_the_same(
    kafka_bootstrap, own_database_url, tmp_path
):
    run = Run(kafka_bootstrap, own_database_url, tmp_path, 1, 200)
    run.played = emails()
    (half_day, _, half), (closed_day, read, stored) = asyncio.run(through_a_kill(run))
    with database_beside(run.url) as fresh:
        replayed(run, fresh)
        again, live, retold = asyncio.run(rows(fresh)), sums(run.url), sums(fresh)

    assert FIRST_DAY + 4 <= half_day < FIRST_DAY + 10
    assert half[half_day][-1] is None
    assert made(half) == {day: told for day, told in made(stored).items() if day in half}
    assert max(stored) == closed_day == FIRST_DAY + DAYS - 1
    scored = {day: told for day, told in stored.items() if told[-1] is not None}
    assert scored == {day: read[day] for day in stored if day < closed_day}
    assert again == stored
    assert retold == live
    assert live["forecasts"].rows == len(scored) > 5

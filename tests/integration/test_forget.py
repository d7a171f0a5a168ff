"""`trueup forget` on real servers, while a worker runs: gone everywhere, and it stays gone."""

import asyncio
import json
import uuid
from dataclasses import fields

import pytest

from agents_topics.identifiers import key_of
from sinks.postgres.checksums import checksums
from sinks.postgres.queries import run_sql
from sinks.postgres.tenant_tables import OF_TENANTS
from streams.partitioner import partitions_of
from tests.command_line import run_trueup
from tests.integration.test_redrive import (
    ACTIONS,
    INTERACTIONS,
    PARTITIONS,
    TENANT,
    bench,  # noqa: F401 (a fixture)
    event,
)
from tests.integration.test_replay import database_beside, replayed
from trueup.emit import send_clock

pytestmark = pytest.mark.slow

OTHER = "11111111-2222-4333-8444-555555555555"
CANARY = "canary of a conversation"
NEXT_WEEK = "2026-01-12T10:00:00Z"


async def trueup(bench, *words, code=0):  # noqa: F811
    done = await asyncio.to_thread(run_trueup, bench.folder, *words, settings=bench.settings)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if "--json" in words else done.stdout


async def rows(bench, where="true", table="outcome_records"):  # noqa: F811
    found = await run_sql(bench.url, f"SELECT count(*) FROM tenant.{table} WHERE {where}")
    return int(found.rows[0][0])


async def reach_rows(bench, count, where="true"):  # noqa: F811
    async with asyncio.timeout(40):
        while await rows(bench, where) != count:
            await asyncio.sleep(0.2)


async def put_of_other(bench, event_id, conversation, **fields):  # noqa: F811
    key = key_of(OTHER, conversation).encode()
    body = json.loads(event(event_id, conversation, "10:00:00", **fields)) | {"tenant_id": OTHER}
    (partition,) = partitions_of([key], PARTITIONS)
    name = bench.connection.topic(ACTIONS)
    value = json.dumps(body).encode()
    await bench.producer.send_and_wait(name, value, key, partition=partition)


async def check_retold(bench):  # noqa: F811
    """The audit is exact, and a replay into an empty database has the same of everything."""
    told = await trueup(bench, "audit", "--json")
    assert told["differences"] == []

    def replay():
        with database_beside(bench.url) as into:
            _, sums = replayed(bench, into)
            return sums

    live = await checksums(bench.url)
    told_live = {one.name: getattr(live, one.name) for one in fields(live)}
    assert await asyncio.to_thread(replay) == told_live
    return told


@pytest.mark.soak
async def test_a_conversation_is_forgotten_stays_so_and_begins_anew_and_then_its_tenant(
    bench,  # noqa: F811
):
    await bench.start_worker()
    for number, conversation in enumerate((CANARY, "c1", "c2")):
        await bench.put(ACTIONS, event(f"a{number}", conversation, "10:00:00"), conversation)
    await bench.put(INTERACTIONS, event("r", CANARY, "11:00:00", kind="reply_received"), CANARY)
    await put_of_other(bench, "a0", CANARY)
    await bench.reach(admitted=5)
    await send_clock(bench.connection, "2026-01-10T00:00:00Z", PARTITIONS)
    await bench.settled(4)
    opened = event("open", CANARY, "10:00:00", occurred_at=NEXT_WEEK)
    await bench.put(ACTIONS, opened, CANARY)
    await reach_rows(bench, 5)

    told = await trueup(bench, "forget", TENANT, CANARY)
    assert "goes   1 open action " in told
    assert "outcome_records: 2 rows, 1 of them settled" in told
    assert "Nothing was changed" in told
    assert await rows(bench) == 5

    done = await trueup(bench, "forget", TENANT, CANARY, "--yes", "--json")
    assert done["forgotten"]["is_written"]
    assert done["forgotten"]["open_outcomes"] == 1
    of_it = f"tenant_id = '{TENANT}' AND conversation_id = '{CANARY}'"
    assert (await rows(bench, of_it), await rows(bench)) == (0, 3)
    assert await rows(bench, f"tenant_id = '{OTHER}'") == 1
    await bench.settled_rows(3)
    await check_retold(bench)

    await bench.put(ACTIONS, opened, CANARY)  # its id is remembered
    anew = event("anew", CANARY, "10:00:00", occurred_at="2026-01-12T11:00:00Z")
    await bench.put(ACTIONS, anew, CANARY)
    await reach_rows(bench, 1, of_it)
    await bench.reach(duplicate=1)
    records = (await check_retold(bench))["records"][ACTIONS]
    assert {name: n for name, n in records.items() if n} == {
        "admitted": 4, "duplicates": 1, "forgotten": 2,
    }  # fmt: skip

    again = await trueup(bench, "forget", TENANT, "never heard of", "--yes", "--json")
    assert again["forgotten"]["is_written"]
    assert await rows(bench) == 4

    done = await trueup(bench, "forget", TENANT, "--yes", "--json")
    assert done["forgotten"]["is_written"]
    for table in OF_TENANTS:
        assert await rows(bench, f"tenant_id = '{TENANT}'", table) == 0
    for table in ("calibration_stream_bins", "calibration_bins"):
        assert await rows(bench, f"tenant_id = '{OTHER}'", table) > 0
    await check_retold(bench)

    later = event("later", "c1", "10:00:00", occurred_at="2026-01-13T11:00:00Z")
    await bench.put(ACTIONS, later, "c1")
    await reach_rows(bench, 1, f"tenant_id = '{TENANT}'")
    await send_clock(bench.connection, "2026-02-10T00:00:00Z", PARTITIONS)
    await reach_rows(bench, 1, f"tenant_id = '{TENANT}' AND is_settled")
    async with asyncio.timeout(40):
        while not await rows(bench, f"tenant_id = '{TENANT}'", "calibration_bins"):
            await asyncio.sleep(0.2)
    await check_retold(bench)

    assert CANARY not in (bench.folder / "worker.log").read_text()


@pytest.mark.soak
async def test_a_forgetting_that_nobody_applies_says_so_and_is_applied_when_a_worker_comes(
    bench,  # noqa: F811
):
    await bench.start_worker()
    await bench.put(ACTIONS, event("a0", CANARY, "10:00:00"), CANARY)
    await reach_rows(bench, 1)
    bench.worker.stop()

    told = await trueup(bench, "forget", TENANT, CANARY, "--yes", "--wait", "1", code=3)

    assert "have not come to it yet" in told
    assert await rows(bench) == 1
    await bench.start_worker()
    await reach_rows(bench, 0)
    name = f"{uuid.uuid4()}"
    assert (await trueup(bench, "forget", TENANT, name, "--json"))["forgotten"] is None
    await check_retold(bench)

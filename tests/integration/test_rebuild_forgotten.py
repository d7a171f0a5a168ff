"""A rebuild on real servers after a conversation and a tenant were forgotten: it stays exact."""

import asyncio

import pytest

from agents_topics.topics import CALIBRATOR_CHANGELOG, RESOLVER_CHANGELOG
from streams.topic_admin import create_topics
from tests.integration.test_forget import (
    CANARY,
    OTHER,
    check_retold,
    put_of_other,
    reach_rows,
    rows,
    trueup,
)
from tests.integration.test_redrive import (
    ACTIONS,
    PARTITIONS,
    TENANT,
    bench,  # noqa: F401 (a fixture)
    event,
)
from trueup.broker_view import administering
from trueup.emit import send_clock
from trueup.reset import delete_topics

pytestmark = [pytest.mark.slow, pytest.mark.soak]

OF_IT = f"conversation_id = '{CANARY}'"


async def lose_changelogs(bench):  # noqa: F811
    names = [bench.connection.topic(t.name) for t in (RESOLVER_CHANGELOG, CALIBRATOR_CHANGELOG)]
    async with administering(bench.connection) as admin:
        await delete_topics(admin, names)
    await create_topics(bench.connection, PARTITIONS)


async def test_what_was_forgotten_is_not_there_again_and_the_worker_goes_on_exactly(
    bench,  # noqa: F811
):
    await bench.start_worker()
    for number, conversation in enumerate((CANARY, "c1", "c2")):
        await bench.put(ACTIONS, event(f"a{number}", conversation, "10:00:00"), conversation)
    await put_of_other(bench, "a0", CANARY)
    await bench.reach(admitted=4)
    await send_clock(bench.connection, "2026-01-10T00:00:00Z", PARTITIONS)
    await bench.settled(4)
    later = {"occurred_at": "2026-01-12T10:00:00Z"}
    for number, conversation in enumerate((CANARY, "c1", "c2"), 3):
        await bench.put(ACTIONS, event(f"a{number}", conversation, "", **later), conversation)
    await reach_rows(bench, 7)
    await trueup(bench, "forget", TENANT, CANARY, "--yes")
    await trueup(bench, "forget", OTHER, "--yes")
    await bench.put(ACTIONS, event("anew", CANARY, "", **later), CANARY)
    await reach_rows(bench, 5)
    await asyncio.to_thread(bench.worker.stop)
    await lose_changelogs(bench)

    done = await trueup(bench, "rebuild", "--yes")

    assert done.count("made  ") == 2 * PARTITIONS
    await bench.start_worker()
    await bench.put(ACTIONS, event("a3", CANARY, "", **later), CANARY)  # its id is remembered
    await bench.reach(duplicate=1)
    await send_clock(bench.connection, "2026-02-10T00:00:00Z", PARTITIONS)
    await reach_rows(bench, 5, "is_settled")
    assert (await rows(bench), await rows(bench, OF_IT)) == (5, 1)
    counted = await rows(bench, "record_set = 'all'", "calibration_stream_bins")
    assert counted == 1
    await asyncio.sleep(2)
    await check_retold(bench)

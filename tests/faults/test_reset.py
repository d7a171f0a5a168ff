"""`trueup reset` on real servers: told first, refused while a worker lives, exact afterwards."""

import asyncio

import pytest

from sinks.postgres.queries import run_sql
from sinks.postgres.tenant_tables import MADE_AGAIN
from tests.command_line import run_trueup
from trueup.demo_workload import ACTIONS_MIN
from trueup.exits import ENVIRONMENT

SETTLED_S = 60

LIVE_TABLES = ("outcome_records", "calibration_stream_bins", "calibration_bins", "sink_offsets")
"""Those that a worker fills; the others are a promotion's."""


def trueup(it, *words):
    return run_trueup(it.tmp_path, *words, settings=it.settings)


async def row_counts(it):
    counts = [await run_sql(it.url, f"SELECT count(*) FROM tenant.{table}") for table in MADE_AGAIN]
    return {table: answer.rows[0][0] for table, answer in zip(MADE_AGAIN, counts, strict=True)}


@pytest.mark.soak
async def test_a_reset_is_told_first_refused_while_a_worker_lives_and_ends_exact(run):
    it = run(seed=5, actions=ACTIONS_MIN)
    await it.prepare()
    it.start("a")
    await it.workers["a"].wait_until_ready()
    await it.feed(1)
    await it.settle(SETTLED_S)

    alive = await asyncio.to_thread(trueup, it, "reset", "--yes")
    await asyncio.to_thread(it.stop)
    before = await row_counts(it)
    told = await asyncio.to_thread(trueup, it, "reset")
    untouched = await row_counts(it)
    done = await asyncio.to_thread(trueup, it, "reset", "--yes")
    after = await row_counts(it)
    again = await asyncio.to_thread(trueup, it, "reset", "--yes")

    assert alive.returncode == ENVIRONMENT
    assert "has 1 members at work. Stop every worker" in alive.stderr
    assert told.returncode == 0, told.stderr
    assert "Nothing was changed. `trueup reset --yes` does it." in told.stdout
    assert f"outcome_records: {before['outcome_records']:,} rows" in told.stdout
    assert untouched == before
    assert min(before[table] for table in LIVE_TABLES) > 0
    assert done.returncode == 0, done.stderr
    assert set(after.values()) == {0}
    assert again.returncode == 0, again.stderr
    it.start("b")
    await it.workers["b"].wait_until_ready()
    await it.settle(SETTLED_S)
    await it.check()

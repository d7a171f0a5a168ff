"""`trueup reset` on real servers: told first, refused while a worker lives, exact afterwards."""

import asyncio

import pytest

from agents_topics.policy_file import DEFAULT_POLICY_TOML
from sinks.postgres.queries import run_sql
from sinks.postgres.tenant_tables import MADE_AGAIN
from tests.command_line import run_trueup
from trueup.demo_workload import ACTIONS_MIN
from trueup.exits import ENVIRONMENT

SETTLED_S = 60

FILLED = (
    "outcome_records", "calibration_stream_bins", "calibration_bins", "sink_offsets", "shadows",
    "shadow_outcome_records", "calibration_corrections", "calibration_day_corrections",
)  # fmt: skip
"""Tables that a worker or a promotion has filled."""


def trueup(it, *words):
    return run_trueup(it.tmp_path, *words, settings=it.settings)


async def row_counts(it):
    counts = [await run_sql(it.url, f"SELECT count(*) FROM tenant.{table}") for table in MADE_AGAIN]
    return {table: answer.rows[0][0] for table, answer in zip(MADE_AGAIN, counts, strict=True)}


async def promote(it):
    """A shadow with half the window takes the place of what live has said."""
    policy = it.tmp_path / "half.toml"
    policy.write_text(DEFAULT_POLICY_TOML.replace("window_hours = 24", "window_hours = 12"))
    for words in (
        ("replay", "--shadow", "half", "--policy", policy),
        ("shadow", "promote", "half"),
    ):
        done = await asyncio.to_thread(trueup, it, *map(str, words))
        assert done.returncode == 0, done.stderr


async def lineages(it):
    told = "SELECT DISTINCT lineage FROM tenant.outcome_records ORDER BY 1"
    return [row[0] for row in (await run_sql(it.url, told)).rows]


@pytest.mark.soak
async def test_a_reset_is_told_first_refused_while_a_worker_lives_and_ends_exact(run):
    it = run(seed=5, actions=ACTIONS_MIN)
    await it.prepare()
    it.start("a")
    await it.workers["a"].wait_until_ready()
    await it.feed(1)
    await it.settle(SETTLED_S)
    await promote(it)
    promoted = await lineages(it)

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
    assert min(before[table] for table in FILLED) > 0
    assert promoted[-1] == 1
    assert done.returncode == 0, done.stderr
    assert set(after.values()) == {0}
    assert again.returncode == 0, again.stderr
    it.start("b")
    await it.workers["b"].wait_until_ready()
    await it.settle(SETTLED_S)
    assert await lineages(it) == [0]
    await it.check()

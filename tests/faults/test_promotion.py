"""A shadow is promoted while a worker goes on writing: readers see all of it or nothing."""

import asyncio

import pytest

from agents_topics.policy_file import DEFAULT_POLICY_TOML, load_policy
from sinks.postgres.promotion import promote_shadow
from sinks.postgres.queries import run_bound
from sinks.postgres.shadows import ShadowProblem, shadow_named
from tests.command_line import run_trueup
from tests.faults.runs import GRACE_MS, Gauge
from trueup.ledger import audit_database
from trueup.stream_replay import sums_of

POLICY = DEFAULT_POLICY_TOML.replace("window_hours = 24", "window_hours = 12").replace(
    "action_types.process_reply", "action_types.read_reply"
)
"""Half the window; and one type of actions is not known, so that live's are to go."""
SEEN = """\
SELECT count(*) FILTER (WHERE lineage > 0),
  count(*) FILTER (WHERE lineage = 0 AND outcome_type = 'email_engagement'
    AND settled_at <= 'epoch'::timestamptz + interval '{} ms')
FROM tenant.outcome_records WHERE is_settled"""


async def promoted(it, name):
    """As a person would: where the publisher is behind, they come again."""
    for _ in range(60):
        try:
            return await promote_shadow(it.url, name, sums_of)
        except ShadowProblem as problem:
            assert "promote it when that is written" in str(problem)
            await asyncio.sleep(0.5)
    raise AssertionError("the publisher stays behind")


@pytest.mark.soak
async def test_a_shadow_is_promoted_under_load_and_the_audit_is_exact(run, tmp_path):
    it = run(17, 2_000)
    policy = tmp_path / "half.toml"
    policy.write_text(POLICY)
    await it.prepare()
    it.start("a")
    await it.workers["a"].wait_until_ready()
    await it.feed(2)
    async with Gauge(it.connection) as gauge:
        await gauge.all_applied()

    seen, is_over = [], asyncio.Event()
    load = asyncio.create_task(feed_slowly(it, is_over))
    replay = ("replay", "--shadow", "half", "--policy", str(policy))
    done = await asyncio.to_thread(run_trueup, tmp_path, *replay, settings=it.settings)
    assert done.returncode == 0, done.stderr
    as_of_ms = (await shadow_named(it.url, "half")).as_of_ms
    reader = asyncio.create_task(read(it.url, as_of_ms, seen, is_over))
    became = await promoted(it, "half")
    is_over.set()
    await asyncio.gather(load, reader)
    await it.feed(1)
    await it.settle(90, became.taken - became.removed)

    assert became.removed > became.taken > 100
    assert {taken for taken, _ in seen} == {0, became.taken}
    assert {held for taken, held in seen if taken} == {0}
    report = await audit_database(it.connection, load_policy(None), it.url, GRACE_MS)
    assert report.is_exact, str(report)
    assert report.unheld == {}
    async with Gauge(it.connection) as gauge:
        assert await gauge.settled_twice() == 0


async def feed_slowly(it, is_over):
    """More records come all the while."""
    while not is_over.is_set():
        await it.feed_records(20)
        await asyncio.sleep(0.2)


async def read(url, as_of_ms, seen, is_over):
    """Notes over and over how many promoted outcomes are seen, and how many they stand for."""
    asked = SEEN.format(as_of_ms)
    while not is_over.is_set():
        seen += (await run_bound(url, asked)).rows
    seen += (await run_bound(url, asked)).rows

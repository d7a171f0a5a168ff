"""What was promoted, then forgotten: on real servers the audit and a replay stay exact."""

import pytest

from agents_topics.policy_file import DEFAULT_POLICY_TOML
from sinks.postgres.tenant_tables import CORRECTIONS
from tests.integration.test_forget import (
    CANARY,
    OTHER,
    check_retold,
    put_of_other,
    rows,
    trueup,
)
from tests.integration.test_redrive import (
    ACTIONS,
    INTERACTIONS,
    PARTITIONS,
    TENANT,
    bench,  # noqa: F401 (a fixture)
    event,
)
from trueup.emit import send_clock

pytestmark = [pytest.mark.slow, pytest.mark.soak]

OF_TENANT = f"tenant_id = '{TENANT}'"


async def lived(bench):  # noqa: F811
    """Two tenants; of the first each reply comes after more than half of its window."""
    await bench.start_worker()
    for number, conversation in enumerate((CANARY, "c1", "c2", "c3")):
        await bench.put(ACTIONS, event(f"a{number}", conversation, "02:00:00"), conversation)
        reply = event(f"r{number}", conversation, "18:00:00", kind="reply_received")
        await bench.put(INTERACTIONS, reply, conversation)
    await put_of_other(bench, "a0", CANARY)
    await bench.reach(admitted=9)
    await send_clock(bench.connection, "2026-01-10T00:00:00Z", PARTITIONS)
    await bench.settled(5)


async def promote(bench, name, *words):  # noqa: F811
    await trueup(bench, "replay", "--shadow", name, *words)
    told = await trueup(bench, "shadow", "promote", name)
    assert f"{name} is promoted" in told


async def corrected(bench):  # noqa: F811
    """How many corrections there are of the tenant."""
    return sum([await rows(bench, OF_TENANT, table) for table in CORRECTIONS])


async def test_what_was_promoted_by_other_rules_is_forgotten_and_the_audit_is_exact(
    bench,  # noqa: F811
):
    await lived(bench)
    half = bench.folder / "half.toml"
    half.write_text(DEFAULT_POLICY_TOML.replace("window_hours = 24", "window_hours = 12"))
    await promote(bench, "half", "--policy", str(half), "--tenant", TENANT)
    assert (await trueup(bench, "audit", "--json"))["differences"] == []
    assert await corrected(bench) > 0

    done = await trueup(bench, "forget", TENANT, CANARY, "--yes", "--json")

    assert done["forgotten"]["is_written"]
    assert await rows(bench, f"{OF_TENANT} AND lineage = 1") == 3
    assert (await trueup(bench, "audit", "--json"))["differences"] == []
    await promote(bench, "whole", "--tenant", TENANT)
    assert await rows(bench, f"{OF_TENANT} AND lineage = 2") == 3
    assert (await trueup(bench, "audit", "--json"))["differences"] == []

    done = await trueup(bench, "forget", TENANT, "--yes", "--json")

    assert done["forgotten"]["is_written"]
    assert (await rows(bench), await rows(bench, f"tenant_id = '{OTHER}'")) == (1, 1)
    assert await corrected(bench) == 0
    await check_retold(bench)


async def test_what_was_promoted_by_the_same_rules_is_forgotten_and_a_replay_is_equal(
    bench,  # noqa: F811
):
    await lived(bench)
    await promote(bench, "same")
    await check_retold(bench)

    await trueup(bench, "forget", TENANT, CANARY, "--yes", "--json")

    assert await rows(bench, "lineage = 1") == 4
    await check_retold(bench)
    await trueup(bench, "forget", TENANT, "--yes", "--json")
    await check_retold(bench)

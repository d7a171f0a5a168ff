"""Shadows on a real Postgres: compared, promoted while live writes on, dropped."""

import random

import pytest

from sinks.postgres.checksums import checksums
from sinks.postgres.migrate import migrate
from sinks.postgres.promotion import promote_shadow
from sinks.postgres.queries import run_sql
from sinks.postgres.recounting import sums_sql
from sinks.postgres.shadow_compare import compare_shadow
from sinks.postgres.shadows import ShadowProblem, begin_shadow, drop_shadow, shadows
from sinks.postgres.writer import PostgresWriter
from tests import pipeline
from tests.pipeline import Pipeline, about_of
from tests.resolver_task import ACTIONS, HOUR, INTERACTIONS, START
from trueup.stream_replay import sums_of

RULE = """
[[version]]
[[version.action_types.send]]
type = "reply"
calibrates = true
window_hours = {hours}
signals = [{{ kind = "reply", means = "positive" }}, {{ kind = "bounce", means = "negative" }}]
"""
AS_OF_MS = START + 150 * HOUR
WINDOW = "window: 24 h in live, 4 h in the shadow"
DECIDED = ["positive by reply", "negative by bounce", "expired"]
STREAM = "action_type, outcome_type, window_ms, confidence_source, bin_index, record_set"
SUMS = "n, sp, spp, sy, spy, excluded_n, excluded_sp, excluded_spp, positive_count, expired_count"


def events(tenant, seed=3, count=400):
    """Actions of two conversations, most of them answered within a day: (topic, ms, fields)."""
    dice = random.Random(seed)
    told = []
    for number in range(count):
        at_ms = START + dice.randrange(200 * HOUR)
        about = {"tenant_id": tenant, "conversation_id": f"c{number // 2}"}
        said = {"event_id": f"a{number}", "action_type": "send", "action_id": f"a{number}"}
        told.append((ACTIONS, at_ms, about | said | {"predicted_confidence": dice.random()}))
        if dice.random() < 0.7:
            kind = dice.choice(["reply", "bounce"])
            reply = {"event_id": f"i{number}", "kind": kind, "action_id": f"a{number}"}
            told.append((INTERACTIONS, at_ms + dice.randrange(24 * HOUR), about | reply))
    return sorted(told, key=lambda one: one[1])


async def shadow_of(url, live, hours, told):
    """A shadow by a rule with another window, settled up to the as-of."""
    return await pipeline.shadow_of(url, live, RULE.format(hours=hours), told, AS_OF_MS)


@pytest.fixture(scope="module")
def url(database_url):
    migrate(database_url)
    return database_url


@pytest.fixture
async def live(url):
    """A tenant of its own whose rule has 24 hours, settled up to the as-of."""
    async with PostgresWriter(url) as writer:
        live = Pipeline(RULE.format(hours=24), writer)
        every = events(live.tenant)
        live.told = [one for one in every if one[1] < AS_OF_MS]
        live.rest = every[len(live.told) :]
        live.take(live.told)
        await live.live(AS_OF_MS)
        yield live


async def rows_of(url, tenant):
    answer = await run_sql(
        url,
        "SELECT action_id, outcome_status, decided_by, is_settled, lineage,"
        " extract(epoch FROM window_expires_at - created_at)::int / 3600 FROM"
        f" tenant.outcome_records WHERE tenant_id = '{tenant}' ORDER BY action_id",
    )
    return {row[0]: row[1:] for row in answer.rows}


async def bins_differ(url, tenant):
    """Bins that are not what the settled rows add up to."""
    counted = sums_sql(f"(SELECT * FROM tenant.outcome_records WHERE tenant_id = '{tenant}')")
    stored = f"SELECT * FROM tenant.calibration_stream_bins WHERE tenant_id = '{tenant}'"
    kept = f"SELECT {STREAM}, {SUMS} FROM"
    return (
        await run_sql(
            url,
            f"({kept} ({counted}) AS c EXCEPT {kept} ({stored}) AS s) UNION ALL"
            f" ({kept} ({stored}) AS s WHERE n + excluded_n > 0 EXCEPT {kept} ({counted}) AS c)",
        )
    ).rows


async def test_the_server_counts_bins_as_the_calibrator_does(url, live):
    assert await bins_differ(url, live.tenant) == []
    assert len(await rows_of(url, live.tenant)) > 250


async def test_a_shadow_by_the_same_rule_differs_in_nothing(url, live):
    name, settled = await shadow_of(url, live, 24, live.told)
    found = await compare_shadow(url, name)

    assert (found.reasons, found.bins) == ([], [])
    assert found.live_count == found.shadow_count == len(settled) > 100


async def test_another_window_differs_by_its_window_alone_and_examples_are_named(url, live):
    name, settled = await shadow_of(url, live, 4, live.told)
    found = await compare_shadow(url, name)
    before = await rows_of(url, live.tenant)

    assert {reason.reason for reason in found.reasons} == {WINDOW}
    said = {(reason.live.said, reason.shadow.said): reason for reason in found.reasons}
    assert set(said) == {
        *[(one, other) for one in DECIDED for other in (one, "expired")],
        ("still open", "expired"),
        ("still open", "positive by reply"),
        ("still open", "negative by bounce"),
    }
    other = [o for o in settled if before[o.action_id][2] and o.status != before[o.action_id][0]]
    cut = [said[one, "expired"] for one in DECIDED[:2]]
    assert sum(reason.count for reason in cut) == len(other) > 50
    assert all(reason.other_results == reason.count for reason in cut)
    example = cut[0].examples[0]
    assert before[example.action_id][:2] == (example.live_status, example.live_decided_by)
    assert (example.shadow_status, example.shadow_decided_by) == ("expired", "-")
    assert {one.stream[3] // HOUR for one in found.bins} == {4, 24}
    assert all(set(one.reasons) == {WINDOW} for one in found.bins)
    entered = sum(one.sums["n"][1] for one in found.bins)
    assert sum(one.reasons[WINDOW] for one in found.bins if one.stream[3] == 4 * HOUR) == entered


async def test_an_interaction_that_only_one_side_admitted_is_told_as_admission(url, live):
    missing = next(told for told in live.told if told[0] == INTERACTIONS)
    action = missing[2]["action_id"]
    name, _ = await shadow_of(url, live, 24, [told for told in live.told if told is not missing])
    without, _ = await shadow_of(
        url, live, 24, [told for told in live.told if told[2]["event_id"] != action]
    )
    one, other = await compare_shadow(url, name), await compare_shadow(url, without)

    (changed,) = [r for r in one.reasons if r.other_results]
    assert changed.reason == "admission: other interactions were admitted"
    assert [example.action_id for example in changed.examples] == [action]
    gone = {r.reason: r for r in other.reasons}["admission: the action is not in the shadow"]
    assert (gone.count, gone.examples[0].action_id) == (1, action)


async def test_promoted_it_is_what_readers_see_and_live_goes_on_beside_it(url, live):
    dropped = live.told[0][2]["action_id"]
    told = [one for one in live.told if one[2]["event_id"] != dropped]
    name, settled = await shadow_of(url, live, 4, told)
    before = await rows_of(url, live.tenant)
    done = await promote_shadow(url, name, sums_of)
    after = await rows_of(url, live.tenant)
    differences = await bins_differ(url, live.tenant)
    live.take(live.rest)
    await live.live(START + 400 * HOUR)
    later = await rows_of(url, live.tenant)

    taken = {o.action_id: o for o in settled if before[o.action_id][2]}
    assert (done.taken, done.removed) == (len(taken), len(taken) + 1)
    assert set(before) - set(after) == {dropped}
    for action_id, row in after.items():
        if action_id in taken:
            assert row == (
                taken[action_id].status,
                taken[action_id].decided_by,
                True,
                done.lineage,
                4,
            )
        else:
            assert row == before[action_id]
    assert differences == []
    assert {a: later[a] for a in taken} == {a: after[a] for a in taken}
    assert all(row[2] for row in later.values()) and len(later) > len(after)
    assert await bins_differ(url, live.tenant) == []
    assert [s.state for s in await shadows(url, name)] == ["promoted"]

    await drop_shadow(url, name)
    assert [(s.state, s.rows) for s in await shadows(url, name)] == [("promoted", 0)]
    assert await rows_of(url, live.tenant) == later


async def test_a_publisher_that_is_behind_the_shadow_is_waited_for(url, live):
    name, _ = await shadow_of(url, live, 4, live.told)
    behind, _ = await shadow_of(url, live, 4, live.told)
    await run_sql(
        url,
        "UPDATE tenant.shadows SET about = jsonb_set(about::jsonb, '{output_ends}',"
        f" '{{\"outcomes/{live.partition}\": 999999}}')::json WHERE name = '{behind}'",
    )
    with pytest.raises(ShadowProblem, match="promote it when that is written"):
        await promote_shadow(url, behind, sums_of)

    await promote_shadow(url, name, sums_of)
    with pytest.raises(ShadowProblem, match="is promoted, not ready"):
        await promote_shadow(url, name, sums_of)


async def test_a_name_is_taken_once_and_a_dropped_shadow_leaves_nothing(url, live):
    before = await checksums(url)
    name, settled = await shadow_of(url, live, 4, live.told)
    with pytest.raises(ShadowProblem, match="already"):
        await begin_shadow(url, name, about_of(live))
    rows = await drop_shadow(url, name)

    assert rows > len(settled)
    assert await shadows(url, name) == []
    assert await checksums(url) == before
    with pytest.raises(ShadowProblem, match="There is no shadow"):
        await drop_shadow(url, name)

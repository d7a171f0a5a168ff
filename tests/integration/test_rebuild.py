"""A rebuild on a real broker: what one task has lost is there again, or it says why it cannot be.

A resolver task lives as in `test_open`; then its changelog is lost in some way.
"""

import uuid
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import pytest

from agents_topics.policy_file import DEFAULT_POLICY_TOML
from agents_topics.roster import RESOLVER
from agents_topics.topics import (
    AGENT_ACTIONS,
    CALIBRATOR_CHANGELOG,
    CONTROL,
    DEAD_LETTERS,
    FORGOTTEN,
    OUTCOMES,
    RESOLVER_CHANGELOG,
)
from streams.changelog import PROGRESS_KEY, StateProblem, progress_of
from streams.clients import KafkaClients
from streams.policy_log import enter_policy
from streams.settings import Settings
from streams.topic_admin import check_topics, create_topics
from streams.transactions import Out, TaskProducer
from tests.integration.test_open import SETTINGS, TENANT, one_installation
from trueup.forget import Asked, Whose, send_forget
from trueup.rebuild import rebuild
from trueup.rebuild_plan import RebuildRefused, examine, site_of
from trueup.reset import delete_topics


async def rebuilt(installation, **settings):
    """What the command does; returns the tasks it has made again."""
    made = []
    async with site_of(installation.connection, Settings(partitions=1, **settings)) as site:
        found = await examine(site)
        if found.lost or found.to_make:
            await rebuild(site, found, made.append)
    return made


async def rows_of(installation):
    name = installation.name(RESOLVER_CHANGELOG)
    await installation.settled()
    rows, _ = await installation.broker.changelog(name, 0)
    progress = progress_of(rows.pop(PROGRESS_KEY), "task")
    return {key: msgspec.msgpack.decode(row) for key, row in rows.items()}, progress


@asynccontextmanager
async def lived(kafka_bootstrap):
    """A task has lived two steps: two actions are open."""
    async with one_installation(kafka_bootstrap) as made:
        await enter_policy(made.connection, SETTINGS.policy)
        for event_id in ("a0", "a1"):
            await made.act(event_id)
            await made.live()
        yield made


@pytest.fixture
async def installation(kafka_bootstrap):
    async with lived(kafka_bootstrap) as made:
        yield made


async def test_a_changelog_that_was_deleted_is_as_it_was_and_once_is_enough(installation):
    before = await rows_of(installation)
    await installation.lose(RESOLVER_CHANGELOG)

    first = await rebuilt(installation)
    after = await rows_of(installation)
    second = await rebuilt(installation)
    offsets, open_count = await installation.opened()

    assert first == ["made   outcome-resolver-0: 3 rows"]
    assert second == []
    assert actions_in(after) == actions_in(before)
    assert ids_in(after) == ids_in(before)
    assert after[1].times == before[1].times
    assert after[1].counts == before[1].counts
    assert (offsets[AGENT_ACTIONS.name], open_count) == (2, 2)


def actions_in(state):
    return {key: row for key, row in state[0].items() if key.startswith(b"a/")}


def ids_in(state):
    """However they lie in chunks."""
    chunks = [row for key, row in state[0].items() if key.startswith(b"d/")]
    return sorted(one for chunk in chunks for one in chunk)


async def test_a_changelog_that_is_not_there_or_has_another_count_is_made_anew(installation):
    names = [installation.name(topic) for topic in (RESOLVER_CHANGELOG, CALIBRATOR_CHANGELOG)]
    await delete_topics(installation.admin, names)
    await create_topics(installation.connection, 2, topics=[RESOLVER_CHANGELOG])

    problems = {p.topic: p.reason for p in await check_topics(installation.connection, 1)}
    made = await rebuilt(installation)

    assert "`trueup rebuild --yes`" in problems[names[0]]
    assert made == ["made   outcome-resolver-0: 3 rows"]
    assert await check_topics(installation.connection, 1) == []
    assert (await installation.opened())[1] == 2


async def test_of_a_cut_changelog_the_last_progress_counts_and_another_cut_is_refused(installation):
    before = await rows_of(installation)
    await installation.cut(RESOLVER_CHANGELOG, 4)

    made = await rebuilt(installation)
    after = await rows_of(installation)
    opened = await installation.opened()
    await installation.act("a2")
    await installation.live()
    again = await installation.opened()
    await installation.cut(RESOLVER_CHANGELOG, after[1].begins + 1)

    assert made
    assert after[1].begins > 4
    assert replace(after[1], begins=0) == before[1]
    assert (opened[1], again[1]) == (2, 3)
    with pytest.raises(StateProblem, match=r"begins at offset .*`trueup rebuild --yes`"):
        await installation.opened()
    assert await rebuilt(installation)
    assert (await installation.opened())[1] == 3


async def test_where_offsets_were_lost_too_nobody_knows_how_far_it_had_come(installation):
    await installation.lose(RESOLVER_CHANGELOG)
    await installation.lose_offsets()

    with pytest.raises(RebuildRefused, match=r"how far it had come.*`trueup reset`"):
        await rebuilt(installation)


async def test_where_offsets_alone_have_expired_a_cut_changelog_is_made_again(installation):
    await installation.cut(RESOLVER_CHANGELOG, 4)
    await installation.lose_offsets()

    assert await rebuilt(installation)
    offsets, open_count = await installation.opened()

    assert (offsets[AGENT_ACTIONS.name], open_count) == (2, 2)


@pytest.mark.soak
async def test_a_group_that_was_set_back_beside_it_is_found_by_what_was_said(installation):
    await installation.lose(RESOLVER_CHANGELOG)
    await installation.set_group(1)

    with pytest.raises(RebuildRefused, match="is open by the topic outcomes or the inputs alone"):
        await rebuilt(installation)


@pytest.mark.parametrize("topic", [AGENT_ACTIONS, DEAD_LETTERS])
async def test_what_has_lost_its_beginning_gives_no_state(installation, topic):
    if topic is DEAD_LETTERS:
        await write(installation, topic, [Out(b"k", b"v")])
    await installation.lose(RESOLVER_CHANGELOG)
    await installation.cut(topic, 1)

    with pytest.raises(RebuildRefused, match=r"begins at offset 1: .*`trueup reset`"):
        await rebuilt(installation)


@pytest.mark.soak
async def test_outcomes_that_retention_has_taken_are_not_needed(installation):
    await installation.lose(RESOLVER_CHANGELOG)
    await installation.cut(OUTCOMES, 2)

    assert await rebuilt(installation)
    assert (await installation.opened())[1] == 2


async def test_by_other_rules_or_another_grace_it_is_refused_and_nothing_is_written(
    installation, tmp_path
):
    policy = tmp_path / "other.toml"
    policy.write_text(DEFAULT_POLICY_TOML.replace("window_hours = 24", "window_hours = 6"))
    await installation.cut(RESOLVER_CHANGELOG, 4)

    with pytest.raises(RebuildRefused, match="The policy is not the one"):
        await rebuilt(installation, policy=policy)
    with pytest.raises(RebuildRefused, match="a grace of 3600 s for agent-actions"):
        await rebuilt(installation, grace_s=60)
    with pytest.raises(StateProblem, match="begins at offset 4"):
        await installation.opened()


async def test_a_rebuild_that_was_cut_short_is_refused_and_ended_by_the_next(installation):
    await installation.lose(RESOLVER_CHANGELOG)
    await write(installation, RESOLVER_CHANGELOG, [Out(b"a/stray", b"row")])

    with pytest.raises(StateProblem, match=r"has rows but no progress; .*`trueup rebuild --yes`"):
        await installation.opened()
    await rebuilt(installation)

    assert (await installation.opened())[1] == 2
    assert b"a/stray" not in (await rows_of(installation))[0]


async def test_a_changelog_that_has_lost_its_end_is_as_far_as_the_group_again(installation):
    name = installation.name(RESOLVER_CHANGELOG)
    older, _ = await installation.broker.changelog(name, 0)
    await installation.act("a2")
    await installation.live()
    before = await rows_of(installation)
    await installation.lose(RESOLVER_CHANGELOG)
    await write(installation, RESOLVER_CHANGELOG, [Out(k, value) for k, value in older.items()])

    refused = r"the group has 3 but the changelog only 2: .*`trueup rebuild --yes`"
    with pytest.raises(StateProblem, match=refused):
        await installation.opened()
    assert await rebuilt(installation)
    assert (await installation.opened())[1] == 3
    assert actions_in(await rows_of(installation)) == actions_in(before)


@pytest.mark.soak
async def test_a_worker_that_only_sleeps_is_fenced(installation):
    """Each producer of a transactional id has the next epoch, and the broker hears the last one."""
    asleep = await epoch_of_next(installation)
    await installation.lose(RESOLVER_CHANGELOG)

    await rebuilt(installation)

    assert await epoch_of_next(installation) == asleep + 2


async def epoch_of_next(installation):
    name = f"{RESOLVER.transactional_ids}0"
    producer = TaskProducer(KafkaClients(installation.connection), name, installation.group)
    await producer.open()
    epoch = producer._producer._txn_manager.producer_epoch
    await producer.close()
    return epoch


async def write(installation, topic, outs):
    """A task's transaction, without anything else."""
    name = f"{RESOLVER.transactional_ids}0"
    producer = TaskProducer(KafkaClients(installation.connection), name, installation.group)
    await producer.open()
    await producer.commit({(installation.name(topic), 0): outs}, {})
    await producer.close()


async def forget(installation, conversation):
    """Somebody asks for it, and the task obeys."""
    asked = Asked(f"forget-{uuid.uuid4()}", [0], [])
    await send_forget(installation.connection, Whose(TENANT, conversation), asked)
    await installation.live(CONTROL.name)


async def test_what_was_forgotten_is_not_there_again_and_what_came_since_is(installation):
    await forget(installation, "c")
    await installation.act("a0")
    await installation.act("a2")
    await installation.live()
    before = await rows_of(installation)
    await installation.lose(RESOLVER_CHANGELOG)

    assert await rebuilt(installation)
    after = await rows_of(installation)

    assert (await installation.opened())[1] == 1
    assert actions_in(after) == actions_in(before)
    assert ids_in(after) == ids_in(before)
    assert (after[1].times, after[1].counts) == (before[1].times, before[1].counts)


async def test_where_nobody_says_what_was_forgotten_it_is_refused(installation):
    await forget(installation, None)
    await installation.lose(RESOLVER_CHANGELOG, FORGOTTEN)

    with pytest.raises(RebuildRefused, match=r"control asks to forget 1 times, forgotten .* 0"):
        await rebuilt(installation)

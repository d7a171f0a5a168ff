"""`trueup repartition` on a real broker: what is copied where, and when it is refused."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer

from agents_topics.letters import COPIED_FROM
from agents_topics.topics import (
    AGENT_ACTIONS,
    CALIBRATION_UPDATES,
    CONTROL,
    DEAD_LETTERS,
    LATE_EVENTS,
    POLICIES,
    RESOLVER_CHANGELOG,
)
from streams.clients import KafkaClients
from streams.partitioner import partitions_of
from streams.transactions import Out
from tests.command_line import clean_environment, run_trueup
from tests.integration.test_open import SETTINGS
from tests.integration.test_rebuild import lived, write
from tests.told import every_kind
from trueup.embedded.problems import EnvironmentProblem
from trueup.emit import Sender, send_clock
from trueup.half_copies import RepartitionRefused, refuse_half_copy
from trueup.repartition import counted_by, repartition
from trueup.repartition_plan import Site, plan_of
from trueup.topic_reader import TopicReader

ACTIONS = AGENT_ACTIONS.name
NEW = 5


@pytest.fixture
async def installation(kafka_bootstrap):
    async with lived(kafka_bootstrap) as made:
        yield made


def site_of(installation, **changes):
    old = installation.connection
    return Site(old, replace(old, prefix=f"wide-{old.prefix}"), NEW, SETTINGS.grace_ms, **changes)


async def names_of(installation, connection):
    found = await installation.admin.list_topics()
    return {n.removeprefix(connection.prefix) for n in found if n.startswith(connection.prefix)}


async def records_of(connection, topic):
    async with TopicReader(connection) as reader:
        return [record async for record in reader.records(topic, await reader.spans(topic))]


def ignored(_):
    pass


async def test_records_go_where_their_key_belongs_and_name_their_old_place(installation):
    site = site_of(installation)
    await installation.act("a2")
    plan = await plan_of(site)

    told = await counted_by(site, plan)
    before = await names_of(installation, site.new)
    counts = await repartition(site, plan, ignored)
    old, new = [await records_of(c, ACTIONS) for c in (site.old, site.new)]

    assert (told, before) == (counts, set())
    assert (counts.copied[ACTIONS], counts.waiting[ACTIONS]) == (3, 1)
    assert [r.value for r in new] == [r.value for r in old]
    assert {r.partition for r in new} == set(partitions_of([r.key for r in old], NEW))
    assert [dict(r.headers)[COPIED_FROM].decode() for r in new] == [
        f"{r.topic}/0/{r.offset}/{r.timestamp}" for r in old
    ]
    assert values(await records_of(site.new, POLICIES.name)) == values(
        await records_of(site.old, POLICIES.name)
    )
    assert RESOLVER_CHANGELOG.name in await names_of(installation, site.new)


def values(records):
    return [(record.key, record.value) for record in records]


async def test_what_a_ledger_names_is_left_out(installation):
    await write(installation, LATE_EVENTS, [Out(b"k", late_entry(offset=1))])
    site = site_of(installation)

    counts = await repartition(site, await plan_of(site), ignored)

    assert counts.left_out == {(ACTIONS, "late"): 1}
    assert [json.loads(r.value)["event_id"] for r in await records_of(site.new, ACTIONS)] == ["a0"]


def late_entry(offset):
    return json.dumps(
        {
            "topic": ACTIONS, "partition": 0, "offset": offset, "tenant_id": "t",
            "conversation_id": "c", "event_id": "a1", "occurred_at_ms": 0, "reason": "behind",
            "compared_ms": 0, "grace_ms": 0,
        }
    ).encode()  # fmt: skip


async def test_a_second_copy_to_the_same_prefix_is_refused_and_names_what_to_delete(installation):
    site = site_of(installation)
    await repartition(site, await plan_of(site), ignored)

    with pytest.raises(RepartitionRefused, match=rf"delete them: {site.new.topic(ACTIONS)}, "):
        await plan_of(site)
    with pytest.raises(RepartitionRefused, match="another count than 2"):
        await plan_of(replace(site, partitions=2))


async def test_what_a_person_holds_is_told_with_the_command_that_says_it_again(installation):
    told = replace(every_kind("t")["threshold_adjustments"], cause="set", new_threshold=0.65)
    await write(installation, CALIBRATION_UPDATES, [Out(b"k", msgspec.json.encode(told))])

    (again,) = (await plan_of(site_of(installation))).again

    assert again.startswith("trueup thresholds set t send_email 0.65 --outcome-type ")


class CutShortError(Exception):
    """As when the process is killed."""


def cut_short(_):
    raise CutShortError


async def half(installation):
    """The site of a copy that was cut short once actions were copied."""
    site = site_of(installation)
    with pytest.raises(CutShortError):
        await repartition(site, await plan_of(site), cut_short)
    return site


async def test_a_copy_that_was_cut_short_is_known_for_one_and_begun_anew_when_asked(installation):
    site = await half(installation)
    with pytest.raises(RepartitionRefused, match=r"a copy that was cut short.*with --anew"):
        await plan_of(site)
    with pytest.raises(RepartitionRefused, match=r"a copy that was cut short.*with --anew"):
        await refuse_half_copy(site.new)

    anew = replace(site, is_anew=True)
    plan = await plan_of(anew)
    await repartition(anew, plan, ignored)

    assert site.new.topic(ACTIONS) in plan.to_delete
    old, new = [await records_of(c, ACTIONS) for c in (site.old, site.new)]
    assert values(new) == values(old)
    assert RESOLVER_CHANGELOG.name in await names_of(installation, site.new)
    await refuse_half_copy(site.new)
    with pytest.raises(RepartitionRefused, match="no half of a copy"):
        await plan_of(anew)


async def test_what_somebody_has_written_among_the_copies_is_never_deleted(installation):
    site = await half(installation)
    async with Sender(site.new) as sender:
        await sender.send(ACTIONS, b"t/c", b"{}", 0)

    with pytest.raises(RepartitionRefused, match="no half of a copy"):
        await plan_of(replace(site, is_anew=True))


async def test_killed_in_the_midst_it_is_begun_anew_by_one_option(installation, tmp_path):
    site = site_of(installation)
    settings = {
        "KAFKA_BOOTSTRAP": site.old.bootstrap,
        "TRUEUP_PREFIX": site.old.prefix,
        "TRUEUP_PARTITIONS": "1",
    }
    words = ("repartition", "--to", site.new.prefix, "--partitions", str(NEW), "--yes")
    environ = os.environ | settings | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "trueup", *words], env=environ, stdout=subprocess.PIPE, cwd=tmp_path
    ) as running:
        told = await asyncio.to_thread(running.stdout.readline)
        running.kill()
    assert told.startswith(b"copied  agent-actions"), told
    assert RESOLVER_CHANGELOG.name not in await names_of(installation, site.new)

    done = await asyncio.to_thread(run_trueup, tmp_path, *words, "--anew", settings=settings)

    assert done.returncode == 0, done.stdout + done.stderr
    old, new = [await records_of(c, ACTIONS) for c in (site.old, site.new)]
    assert values(new) == values(old)


# The command dies at a stage: before or after the n-th call of what it does next.
DYING = """
import os, signal, sys
from trueup import repartition as it

name, passing, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]
owner = it.Sender if name == "send" else it
does, passed = getattr(owner, name), [0]

async def dying(*args, **named):
    passed[0] += 1
    if passed[0] == passing and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    done = await does(*args, **named)
    if passed[0] == passing:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

setattr(owner, name, dying)
from trueup.cli import main
sys.argv[1:] = sys.argv[4:]
main()
"""
POLICIES_SENT = 2
"""So many records hold the rules; they are copied first of all."""
STAGES = {
    "its topics are made": ("create_topics", 1, "after"),
    "the rules are copied": ("send", POLICIES_SENT + 1, "before"),
    "in the midst of actions": ("send", POLICIES_SENT + 2, "before"),
    "all is copied": ("send_clock", 1, "before"),
    "the time is told": ("send_clock", 1, "after"),
    "before the last topic": ("create_topics", 2, "before"),
}
IN_DEFAULT_RUN = ("the time is told",)


async def killed(site, folder, stage, *more):
    """The command is killed by SIGKILL at a stage."""
    settings = {
        "KAFKA_BOOTSTRAP": site.old.bootstrap,
        "TRUEUP_PREFIX": site.old.prefix,
        "TRUEUP_PARTITIONS": "1",
    }
    words = ("repartition", "--to", site.new.prefix, "--partitions", str(NEW), "--yes", *more)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", DYING, *map(str, stage), *words],
        env=clean_environment() | settings, cwd=folder, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


async def assert_whole(installation, site):
    """Every record is there once, and a worker may start."""
    for topic in (ACTIONS, POLICIES.name):
        old, new = [await records_of(c, topic) for c in (site.old, site.new)]
        assert values(new) == values(old)
    assert len(new) == POLICIES_SENT
    assert RESOLVER_CHANGELOG.name in await names_of(installation, site.new)


@pytest.mark.parametrize(
    "stage",
    [one if one in IN_DEFAULT_RUN else pytest.param(one, marks=pytest.mark.soak) for one in STAGES],
)
async def test_killed_at_any_stage_no_worker_starts_and_it_is_done_again_as_it_says(
    installation, tmp_path, stage
):
    site = site_of(installation)
    await send_clock(site.old, "2026-01-05T00:00:00Z", 1)
    await installation.live(CONTROL.name)
    await killed(site, tmp_path, STAGES[stage])
    assert RESOLVER_CHANGELOG.name not in await names_of(installation, site.new)

    try:
        plan = await plan_of(site)
    except RepartitionRefused as refusal:
        assert "run it again with --anew" in str(refusal)
        assert stage != "its topics are made"
        site = replace(site, is_anew=True)
        plan = await plan_of(site)
    await repartition(site, plan, ignored)

    await assert_whole(installation, site)


@pytest.mark.soak
async def test_killed_while_it_begins_anew_it_begins_anew_once_more(installation, tmp_path):
    site = await half(installation)
    await killed(site, tmp_path, ("delete_topics", 1, "after"), "--anew")
    await repartition(site, await plan_of(site), ignored)

    await assert_whole(installation, site)


async def test_killed_when_all_is_done_it_is_told_that_the_copy_is_whole_and_how_to_go_on(
    installation, tmp_path
):
    site = site_of(installation)
    await killed(site, tmp_path, ("create_topics", 2, "after"))

    await assert_whole(installation, site)
    for one in (site, replace(site, is_anew=True)):
        with pytest.raises(RepartitionRefused, match="The copy is whole, and no worker") as told:
            await plan_of(one)
        assert f"TRUEUP_PREFIX={site.new.prefix} TRUEUP_PARTITIONS={NEW}" in str(told.value)
    await refuse_half_copy(site.new)


async def test_where_producers_write_meanwhile_no_worker_can_start_on_the_copy(installation):
    site = site_of(installation)
    plan = await plan_of(site)
    await installation.act("a2")

    with pytest.raises(RepartitionRefused, match=r"Producers write to agent-actions\[0\]"):
        await repartition(site, plan, ignored)

    assert RESOLVER_CHANGELOG.name not in await names_of(installation, site.new)


async def test_while_a_producers_transaction_is_open_it_is_refused(installation):
    producer = KafkaClients(installation.connection).producer("somebody")
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(installation.name(AGENT_ACTIONS), b"{}", b"k")

    with pytest.raises(RepartitionRefused, match="a transaction of theirs is open"):
        await plan_of(site_of(installation))

    await producer.abort_transaction()
    await producer.stop()


async def test_while_a_worker_is_at_work_or_a_control_record_waits_it_is_refused(installation):
    site = site_of(installation)
    member = AIOKafkaConsumer(
        installation.name(AGENT_ACTIONS),
        **installation.connection.client_options(),
        group_id=installation.group,
    )
    await member.start()
    with pytest.raises(EnvironmentProblem, match="1 members at work"):
        await plan_of(site)
    await member.stop()
    await send_clock(site.old, "2026-01-05T00:00:00Z", 1)

    with pytest.raises(RepartitionRefused, match=r"control\[0\] has a record that no task"):
        await plan_of(site)


@pytest.mark.parametrize("topic", [AGENT_ACTIONS, DEAD_LETTERS])
async def test_what_has_lost_its_beginning_is_not_copied(installation, topic):
    if topic is DEAD_LETTERS:
        await write(installation, topic, [Out(b"k", b"v")])
    await installation.cut(topic, 1)

    with pytest.raises(RepartitionRefused, match=rf"{topic.name}, partition 0, begins at offset 1"):
        await plan_of(site_of(installation))


async def test_without_the_state_nobody_knows_what_was_admitted(installation):
    with pytest.raises(RepartitionRefused, match="a grace of 3600 s for agent-actions"):
        await plan_of(replace(site_of(installation), grace_ms=dict.fromkeys(SETTINGS.grace_ms, 1)))
    await installation.lose(RESOLVER_CHANGELOG)

    with pytest.raises(RepartitionRefused, match="No worker has left a state here"):
        await plan_of(site_of(installation))

"""`trueup replay` on real servers: what a worker has made of the demo's topics, made again."""

import asyncio
import json
import uuid
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import asdict, fields
from random import Random

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents_topics.identifiers import key_of
from agents_topics.policy_file import DEFAULT_POLICY_TOML, load_policy
from agents_topics.topics import HOUR_MS
from sinks.postgres.bulk import BulkWriter
from sinks.postgres.checksums import checksums
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import run_sql
from sinks.postgres.shadow_compare import compare_shadow
from streams.fast_decoder import joined_decoders
from tables.replay import Replay, target_of
from tests.command_line import run_trueup
from tests.faults.runs import GRACE_MS, JOINED, Gauge, Run
from trueup.emit import Sender
from trueup.replay import Job, conclude, prepare, run_plan, write_streams
from trueup.replay_plan import Asked, ReplayRefused, plan_of
from trueup.topic_reader import TopicReader

pytestmark = pytest.mark.slow


def trueup(run, *words, code=0, **settings):
    done = run_trueup(run.tmp_path, *words, settings=run.settings | settings)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def replayed(run, into, processes=1, ends=None, **job):
    """What the command does; and its checksums."""
    job = Job(connection=run.connection, url=into, policy=None, grace_ms=GRACE_MS, **job)
    asked = Asked(judging=job.judging, ends=ends or {}, topics=job.topics)
    plan = asyncio.run(prepare(job, asked, GRACE_MS))
    found = run_plan(job, plan, processes, lambda _: None)
    return found, asyncio.run(conclude(job, found))


def sums(url):
    found = asyncio.run(checksums(url))
    return {one.name: getattr(found, one.name) for one in fields(found)}


@contextmanager
def database_beside(url):
    """An empty, migrated database on the same server."""
    name = f"beside_{uuid.uuid4().hex}"

    async def execute(statement):
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(execute(f'CREATE DATABASE "{name}"'))
    address, slash, rest = url.rpartition("/")
    own = address + slash + name + rest[len(rest.partition("?")[0]) :]
    migrate(own)
    try:
        yield own
    finally:
        asyncio.run(execute(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="module")
def lived(kafka_bootstrap, database_url, tmp_path_factory):
    """A worker has settled half of the demo's events, gone on in a database that a replay filled,
    and settled the rest there.
    """
    run = Run(kafka_bootstrap, database_url, tmp_path_factory.mktemp("replay"), 11, 800)
    asyncio.run(run.prepare())
    with database_beside(database_url) as gone_on:
        run.start("before")
        try:
            asyncio.run(run.workers["before"].wait_until_ready())
            asyncio.run(run.feed(2))
            asyncio.run(applied(run))
        finally:
            run.stop()
        first = replayed(run, gone_on)
        offsets = asyncio.run(
            run_sql(gone_on, "SELECT topic, next_offset FROM tenant.sink_offsets")
        )
        run.url = run.settings["DATABASE_URL"] = gone_on
        run.start("after")
        try:
            asyncio.run(run.workers["after"].wait_until_ready())
            asyncio.run(run.feed(1))
            asyncio.run(run.settle(120))
            asyncio.run(run.check())
            with database_beside(gone_on) as told:
                _, expected = replayed(run, told)
            asyncio.run(forecasts_made(run, expected["forecasts"].rows))
        finally:
            run.stop()
        yield run, first, offsets.rows


async def forecasts_made(run, count):
    """Waits until live has so many scored ones: it makes them at leisure, once all is written."""
    async with asyncio.timeout(90):
        while (await checksums(run.url)).forecasts.rows < count:
            await asyncio.sleep(0.5)


async def applied(run):
    """All that was sent is applied, and what it gave is in Postgres."""
    async with Gauge(run.connection) as gauge:
        await gauge.all_applied()
    await asyncio.sleep(2)


def test_a_live_publisher_goes_on_exactly_where_a_replay_has_ended(lived):
    """`check` has asked the audit, after the rest was fed."""
    _, first, offsets = lived

    found, checked = first
    assert found.outcomes["open"] > 0
    assert checked["outcomes"].rows > 0
    assert all(offset > 0 for topic, offset in offsets if topic.endswith("-outcomes"))


def test_the_topics_replayed_into_a_fresh_database_give_the_checksums_of_live_and_so_again(lived):
    run, _, _ = lived

    with database_beside(run.url) as fresh:
        first = trueup(run, "replay", "--into", fresh, "--processes", "2", "--json")
        second, again = replayed(run, fresh)
        stored = json.loads(trueup(run, "checksum", "--database", fresh, "--json").stdout)

    live = sums(run.url)
    assert live["outcomes"].rows == sum(run.played.expected.by_status.values())
    assert again == live
    assert json.loads(first.stdout)["checksums"] == stored
    assert stored == {name: asdict(checksum) for name, checksum in live.items()}
    assert second.rows == 0
    assert "/s, " in first.stderr


def test_where_live_has_written_a_replay_as_recorded_is_refused(lived):
    run, _, _ = lived
    refused = trueup(run, "replay", code=3)

    assert "A live publisher has written to this database" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_by_other_rules_or_beyond_what_live_has_judged_a_replay_as_recorded_is_refused(lived):
    run, _, _ = lived
    policy = run.tmp_path / "other.toml"
    policy.write_text(DEFAULT_POLICY_TOML.replace("window_hours = 24", "window_hours = 6"))

    with database_beside(run.url) as fresh:
        refused = trueup(run, "replay", "--into", fresh, code=3, TRUEUP_POLICY=str(policy))
        with pytest.raises(ReplayRefused, match="live has come to"):
            replayed(run, fresh, ends={("agent-actions", 0): 10**9})
        with pytest.raises(ReplayRefused, match="which is not read"):
            replayed(run, fresh, ends={("agent-actions", 99): 1})

    assert refused.stderr.startswith("Another policy is for a --shadow: ")


def test_in_pieces_that_grow_the_rows_are_the_same_in_the_end(lived):
    run, _, _ = lived
    ends = {("agent-actions", 0): 60, ("agent-interactions", 1): 50}

    with database_beside(run.url) as fresh:
        piece, of_piece = replayed(run, fresh, ends=ends)
        whole, of_whole = replayed(run, fresh)

    assert piece.records < whole.records
    assert of_piece["outcomes"].rows < of_whole["outcomes"].rows
    assert of_whole == sums(run.url)


async def recorded(run):
    """The plan of a replay as recorded; and by source its records, each as it is read."""
    decoders, logs = joined_decoders(), defaultdict(list)
    async with TopicReader(run.connection) as reader:
        plan = await plan_of(reader, Asked(), GRACE_MS)
        spans = {source: span for share in plan.shares for source, span in share.spans.items()}
        for topic in JOINED:
            decode = decoders[topic].decode
            of_topic = {p: span for (name, p), span in spans.items() if name == topic}
            async for record in reader.records(topic, of_topic):
                one = decode(record.key, record.value, record.headers)
                logs[topic, record.partition].append((record, one))
    return plan, logs


def in_random_pieces(plan, logs, targets, seed):
    """What settles in so many targets, step by step, the sources of all shares read together."""
    random, left = Random(seed), dict(logs)
    ledger = {source: fates for share in plan.shares for source, fates in share.ledger.items()}
    sources = [source for share in plan.shares for source in share.spans]
    replay = Replay(load_policy(None), GRACE_MS, sources, ledger, targets=targets)
    while left:
        source = random.choice(sorted(left))
        count = random.randint(1, 60)
        piece, rest = left[source][:count], left.pop(source)[count:]
        if rest:
            left[source] = rest
        replay.take(source, [record for record, _ in piece], [one for _, one in piece])
        if random.random() < 0.5:
            yield list(replay.finish())
    yield list(replay.end(min(share.as_of_ms for share in plan.shares)))


async def written_by_target(url, steps, targets):
    """Writes each target's outcomes of each step; how many rows by target."""
    rows = [0] * targets
    async with BulkWriter(url) as writer:
        for outcomes in steps:
            of_target = defaultdict(list)
            for one in outcomes:
                key = key_of(one.tenant_id, one.conversation_id)
                of_target[target_of(key, targets)].append(one)
            for number, some in of_target.items():
                rows[number] += await writer.write(some, number)
    return rows


@pytest.mark.parametrize("targets", [1, 2, 7])
def test_in_any_number_of_target_partitions_and_in_random_pieces_the_rows_are_those_of_live(
    lived, targets
):
    run, _, _ = lived
    planted = run.played.expected
    plan, logs = asyncio.run(recorded(run))
    steps = list(in_random_pieces(plan, logs, targets, seed=targets))

    with database_beside(run.url) as fresh:
        rows = asyncio.run(written_by_target(fresh, steps, targets))
        job = Job(connection=run.connection, url=fresh, policy=None, grace_ms=GRACE_MS)
        asyncio.run(write_streams(job, min(share.as_of_ms for share in plan.shares), {}))
        again = sums(fresh)

    refused = planted.dead_letters
    assert min(planted.late, planted.duplicates, refused["conflict"], refused["json_invalid"]) > 0
    assert min(rows) > 0
    assert sum(map(bool, steps[:-1])) > 1, "only the end has settled anything"
    assert again == sums(run.url)


def shadowed(run, name, **job):
    """A shadow, and how it compares."""
    found, _ = replayed(run, run.url, shadow=name, **job)
    return found, asyncio.run(compare_shadow(run.url, name))


def test_a_shadow_with_another_window_differs_only_by_that_window(lived):
    run, _, _ = lived
    policy = run.tmp_path / "half.toml"
    policy.write_text(DEFAULT_POLICY_TOML.replace("window_hours = 24", "window_hours = 12"))
    before = sums(run.url)

    trueup(run, "replay", "--shadow", "half", "--policy", str(policy))
    told = trueup(run, "shadow", "compare", "half").stdout
    found = asyncio.run(compare_shadow(run.url, "half"))
    wider = {one.stream[3] for one in found.bins}

    assert {reason.reason for reason in found.reasons} == {
        "window: 24 h in live, 12 h in the shadow"
    }
    assert {one.action_type for one in found.reasons} >= {"send_email", "process_reply"}
    still = [one for one in found.reasons if one.live.said == one.shadow.said != "expired"]
    assert sum(one.other_results for one in found.reasons) > 0
    assert sum(one.other_results for one in still) == 0 < sum(one.count for one in still)
    assert f"{found.reasons[0].reason}\n" in told
    old, new = (load_policy(path).versions[0].digest[:8] for path in (None, policy))
    assert f"/email_engagement, policy {old} → {new}: " in told
    assert wider == {12 * HOUR_MS, 24 * HOUR_MS}
    assert sums(run.url) == before


def test_shadows_of_a_tenant_of_a_time_and_with_lateness_judged_anew(lived):
    run, _, _ = lived
    answer = asyncio.run(
        run_sql(
            run.url,
            "SELECT tenant_id::text, (extract(epoch FROM min(created_at)) * 1000)::bigint,"
            " count(*) FROM tenant.outcome_records WHERE is_settled GROUP BY 1 ORDER BY 3",
        )
    )
    tenant, first_ms, count = answer.rows[0]
    until_ms = first_ms + 48 * HOUR_MS

    _, of_tenant = shadowed(run, "tenant", tenants=frozenset([tenant]))
    _, of_time = shadowed(run, "time", since_ms=first_ms, until_ms=until_ms)
    _, begun = shadowed(run, "begun", since_ms=until_ms)
    _, anew = shadowed(run, "anew", judging="live")
    _, on_time = shadowed(run, "on-time", judging="on_time")

    assert (of_tenant.reasons, of_tenant.bins) == ([], [])
    assert of_tenant.live_count == of_tenant.shadow_count == count
    assert of_time.reasons == []
    assert 0 < of_time.live_count == of_time.shadow_count < count * 3
    assert (begun.reasons, begun.bins) == ([], [])
    assert 0 < begun.live_count == begun.shadow_count
    assert begun.live_count == asyncio.run(settled_from(run.url, until_ms))
    assert all(reason.reason.startswith("admission") for reason in anew.reasons)
    assert on_time.reasons
    # An action that is not late any more may lead its conversation, or take the last signal.
    assert {r.reason.partition(":")[0] for r in on_time.reasons} <= {"admission", "lead"}


async def settled_from(url, since_ms):
    """How many outcomes of actions from a time on live has settled."""
    answer = await run_sql(
        url,
        "SELECT count(*) FROM tenant.outcome_records WHERE is_settled"
        f" AND created_at >= to_timestamp({since_ms} / 1000.0)",
    )
    return answer.rows[0][0]


def test_promoted_where_live_is_quiet_it_is_held_to_the_rules_it_was_judged_by(lived):
    """The outputs end with markers, after which the publisher never stands."""
    run, _, _ = lived

    told = trueup(run, "shadow", "promote", "half").stdout
    audited = trueup(run, "audit").stdout

    assert "half is promoted, lineage 1" in told
    assert audited.endswith("exact\n")
    assert "held to nothing" not in audited


def test_a_tenants_history_comes_from_its_own_topics_however_its_keys_are_spread(lived):
    run, _, _ = lived
    tenant = str(uuid.uuid4())
    asyncio.run(send_history(run, tenant))
    names = {"agent-actions": "old-actions", "agent-interactions": "old-replies"}
    before = asyncio.run(run_sql(run.url, "SELECT count(*) FROM tenant.outcome_records"))

    trueup(
        run, "replay", "--shadow", "history", "--tenant", tenant, "--as-of", "2026-01-01T00:00:00Z",
        "--actions-topic", names["agent-actions"], "--interactions-topic",
        names["agent-interactions"],
    )  # fmt: skip
    told = trueup(run, "shadow", "promote", "history").stdout
    rows = asyncio.run(
        run_sql(
            run.url,
            "SELECT outcome_status, count(*), (SELECT sum(n) FROM tenant.calibration_stream_bins AS"
            f" b WHERE b.tenant_id = '{tenant}' AND record_set = 'all') FROM tenant.outcome_records"
            f" WHERE tenant_id = '{tenant}' GROUP BY 1 ORDER BY 1",
        )
    ).rows

    assert "20 outcomes in the place of 0" in told
    assert rows == [("expired", 10, 20), ("positive", 10, 20)]
    after = asyncio.run(run_sql(run.url, "SELECT count(*) FROM tenant.outcome_records"))
    assert after.rows[0][0] == before.rows[0][0] + 20
    assert trueup(run, "audit").stdout.endswith("exact\n")


async def send_history(run, tenant):
    """Newest first, in topics of 3 and 2 partitions, spread by nothing that we know."""
    admin = AIOKafkaAdminClient(**run.connection.client_options())
    await admin.start()
    await admin.create_topics(
        [
            NewTopic(run.connection.topic(name), partitions, 1)
            for name, partitions in (("old-actions", 3), ("old-replies", 2))
        ]
    )
    await admin.close()
    async with Sender(run.connection) as sender:
        for number in reversed(range(20)):
            key = f"{tenant}/h{number}".encode()
            about = {"tenant_id": tenant, "conversation_id": f"h{number}"}
            at = f"2025-03-{number + 1:02}T09:00:00Z"
            said = {"action_type": "send_email", "predicted_confidence": 0.7}
            event = about | said | {"event_id": f"a{number}", "occurred_at": at}
            await sender.send("old-actions", key, json.dumps(event).encode(), number % 3)
            if number % 2:
                replied = {"event_id": f"r{number}", "kind": "reply_received", "occurred_at": at}
                value = json.dumps(about | replied).encode()
                await sender.send("old-replies", key, value, number % 4 // 2)

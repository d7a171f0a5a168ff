"""The writer on a real Postgres: once, in order of version, and exact after every fault."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from agents_topics.events import BinSums, CalibrationUpdate, Outcome
from agents_topics.identifiers import conversation_state_id_of
from agents_topics.label_rates import LabelCounts, LabelRate
from agents_topics.topics import CALIBRATION_UPDATES, OUTCOMES
from sinks.contract import OffsetMoved, SinkBusy
from sinks.postgres import writer as writer_module
from sinks.postgres.migrate import migrate
from sinks.postgres.queries import counts_by_status, run_sql, shared_action_ids
from sinks.postgres.writer import PostgresWriter
from trueup.embedded.postgres import EmbeddedPostgres

TOPIC, UPDATES = OUTCOMES.name, CALIBRATION_UPDATES.name
START_MS = 1_767_571_200_001
HOUR_MS = 3_600_000


def outcome(**changes: Any) -> Outcome:
    pending_one = Outcome(
        id=str(uuid.uuid4()),
        tenant_id=str(uuid.uuid4()),
        conversation_id="deal 7/é",
        action_id="a-1",
        action_type="send_email",
        outcome_type="email_engagement",
        predicted_confidence=0.7,
        confidence_source="self_report",
        status="pending",
        score=None,
        signal_source=None,
        decided_by=None,
        created_at_ms=START_MS,
        window_expires_at_ms=START_MS + 24 * HOUR_MS,
        settled_at_ms=START_MS + 24 * HOUR_MS,
        resolved_at_ms=None,
        known_at_ms=None,
        revision=0,
        is_settled=False,
        calibrates=True,
        is_lead=None,
        expired_counts=True,
        policy_version="0123456789abcdef",
    )
    return replace(pending_one, **changes)


def settled(of: Outcome, **changes: Any) -> Outcome:
    positive: dict[str, Any] = {
        "status": "positive",
        "score": 1.0,
        "signal_source": "automatic",
        "decided_by": "e-1",
        "resolved_at_ms": START_MS + 5,
        "known_at_ms": START_MS + 9,
        "revision": of.revision + 1,
        "is_settled": True,
        "is_lead": True,
    }
    return replace(of, **(positive | changes))


def value(event: Outcome | CalibrationUpdate) -> bytes:
    return json.dumps(asdict(event)).encode()


def numbered(first: int, *events: Outcome | CalibrationUpdate) -> list[tuple[int, bytes]]:
    return [(first + index, value(event)) for index, event in enumerate(events)]


@pytest.fixture(scope="module")
def url(database_url: str) -> str:
    migrate(database_url)
    return database_url


@pytest.fixture
def partition() -> int:
    """A partition of the test's own."""
    return random.SystemRandom().randrange(1 << 30)


async def row_of(url: str, event: Outcome) -> dict[str, Any]:
    answer = await run_sql(url, f"SELECT * FROM tenant.outcome_records WHERE id = '{event.id}'")
    return dict(zip(answer.columns, answer.rows[0], strict=True))


async def test_offsets_belong_to_the_topics_names_on_the_broker(url: str, partition: int) -> None:
    async with PostgresWriter(url, "one-") as one, PostgresWriter(url, "two-") as two:
        await one.write(TOPIC, partition, 0, 5, numbered(4, outcome()))

        assert await one.next_offsets(partition, [TOPIC]) == {TOPIC: 5}
        assert await two.next_offsets(partition, [TOPIC]) == {TOPIC: 0}


async def test_a_fresh_sink_stands_at_the_beginning(url: str, partition: int) -> None:
    async with PostgresWriter(url) as writer:
        assert await writer.next_offsets(partition, [TOPIC, UPDATES]) == {TOPIC: 0, UPDATES: 0}


async def test_every_field_of_an_outcome_reaches_its_column(url: str, partition: int) -> None:
    event = settled(
        outcome(
            created_at_ms=-62_135_596_800_000 + 999,
            deal_stage="discovery",
            interaction_count=3,
            rep_id="r",
            agent_id="closer-bot",
            agent_version="2",
            model="m",
            cost_usd=0.25,
            latency_ms=12.5,
            metadata={"größe": [1, None, 2.5]},
        )
    )
    async with PostgresWriter(url) as writer:
        await writer.write(TOPIC, partition, 0, 6, numbered(5, event))
        offsets = await writer.next_offsets(partition, [TOPIC])

    row = await row_of(url, event)
    assert offsets == {TOPIC: 6}
    assert row.pop("metadata_json") == json.dumps(
        {
            "größe": [1, None, 2.5],
            "deal_stage_at_creation": "discovery",
            "interaction_count_at_creation": 3,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
    assert row == {
        "id": uuid.UUID(event.id),
        "tenant_id": uuid.UUID(event.tenant_id),
        "conversation_state_id": uuid.UUID(
            conversation_state_id_of(event.tenant_id, event.conversation_id)
        ),
        "conversation_id": "deal 7/é",
        "action_type": "send_email",
        "action_id": "a-1",
        "predicted_confidence": 0.7,
        "confidence_source": "self_report",
        "outcome_type": "email_engagement",
        "outcome_status": "positive",
        "outcome_score": 1.0,
        "signal_source": "automatic",
        "decided_by": "e-1",
        "created_at": datetime(1, 1, 1, 0, 0, 0, 999_000, tzinfo=UTC),
        "window_expires_at": datetime(2026, 1, 6, 0, 0, 0, 1000, tzinfo=UTC),
        "settled_at": datetime(2026, 1, 6, 0, 0, 0, 1000, tzinfo=UTC),
        "resolved_at": datetime(2026, 1, 5, 0, 0, 0, 6000, tzinfo=UTC),
        "known_at": datetime(2026, 1, 5, 0, 0, 0, 10_000, tzinfo=UTC),
        "revision": 1,
        "is_settled": True,
        "calibrates": True,
        "is_lead": True,
        "expired_counts": True,
        "policy_version": "0123456789abcdef",
        "rep_id": "r",
        "agent_id": "closer-bot",
        "agent_version": "2",
        "model": "m",
        "cost_usd": 0.25,
        "latency_ms": 12.5,
        "lineage": 0,
        "output_partition": partition,
        "output_offset": 5,
        "confidence_label": None,
    }


async def test_a_batch_that_begins_elsewhere_writes_nothing(url: str, partition: int) -> None:
    event, stranger = outcome(), outcome()
    async with PostgresWriter(url) as writer:
        await writer.write(TOPIC, partition, 0, 3, numbered(2, event))

        for first in (0, 2, 4):
            with pytest.raises(OffsetMoved) as moved:
                await writer.write(TOPIC, partition, first, 9, numbered(8, stranger))
            assert moved.value.expected == 3

        assert await writer.next_offsets(partition, [TOPIC]) == {TOPIC: 3}
        assert writer.written.records == 1
    answer = await run_sql(url, f"SELECT FROM tenant.outcome_records WHERE id = '{stranger.id}'")
    assert answer.rows == []


async def test_only_control_records_move_the_offset(url: str, partition: int) -> None:
    async with PostgresWriter(url) as writer:
        await writer.write(TOPIC, partition, 0, 2, [])

        assert await writer.next_offsets(partition, [TOPIC]) == {TOPIC: 2}


async def test_the_last_revision_of_a_batch_is_the_one_written(url: str, partition: int) -> None:
    first = outcome()
    revisions = [first, replace(first, revision=1, status="positive"), replace(first, revision=2)]
    async with PostgresWriter(url) as writer:
        await writer.write(TOPIC, partition, 0, 3, numbered(0, *revisions))

        assert writer.written.rows == 1
    assert (await row_of(url, first))["revision"] == 2


async def test_a_batch_of_two_tenants_is_written(url: str, partition: int) -> None:
    events = [outcome(), outcome()]
    async with PostgresWriter(url) as writer:
        await writer.write(TOPIC, partition, 0, 2, numbered(0, *events))

    tenants = {str((await row_of(url, event))["tenant_id"]) for event in events}
    assert tenants == {event.tenant_id for event in events}


async def test_an_older_version_never_overwrites(
    url: str, partition: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = outcome(revision=7)
    async with PostgresWriter(url) as writer:
        monkeypatch.setattr(writer_module, "LINEAGE", 1)
        await writer.write(TOPIC, partition, 0, 11, numbered(10, event))
        await writer.write(TOPIC, partition, 11, 12, numbered(9, replace(event, revision=8)))
        older_offset = (await row_of(url, event))["revision"]
        monkeypatch.setattr(writer_module, "LINEAGE", 0)
        await writer.write(TOPIC, partition, 12, 13, numbered(99, replace(event, revision=9)))
        older_lineage = (await row_of(url, event))["revision"]

    assert (older_offset, older_lineage) == (7, 7)


async def test_a_settled_row_gives_way_only_to_a_greater_lineage(
    url: str, partition: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = settled(outcome())
    flipped = replace(done, status="negative", score=0.0)
    async with PostgresWriter(url) as writer:
        await writer.write(TOPIC, partition, 0, 1, numbered(0, done))
        await writer.write(TOPIC, partition, 1, 2, numbered(1, replace(done, known_at_ms=1)))
        after_the_same = writer.written.refused
        await writer.write(TOPIC, partition, 2, 3, numbered(2, flipped))
        in_one_batch = settled(outcome())
        later = replace(in_one_batch, status="negative")
        await writer.write(TOPIC, partition, 3, 5, numbered(3, in_one_batch, later))
        refused = writer.written.refused
        kept = [(await row_of(url, e))["outcome_status"] for e in (done, in_one_batch)]
        monkeypatch.setattr(writer_module, "LINEAGE", 1)
        await writer.write(TOPIC, partition, 5, 6, numbered(0, flipped))

    assert (after_the_same, refused) == (0, 2)
    assert kept == ["positive", "positive"]
    assert (await row_of(url, done))["outcome_status"] == "negative"


async def test_two_owners_of_a_partition_write_every_record_once(url: str, partition: int) -> None:
    """A worker that lost its partition and does not know it yet: one writes, one is sent on."""
    events = [outcome(tenant_id=str(uuid.uuid4())) for _ in range(60)]
    log = numbered(0, *events)

    async def own(writer: PostgresWriter) -> None:
        place = 0
        while place < len(log):
            batch = log[place : place + 3]
            try:
                await writer.write(TOPIC, partition, place, place + len(batch), batch)
                place += len(batch)
            except OffsetMoved as moved:
                place = moved.expected

    async with PostgresWriter(url) as one, PostgresWriter(url) as other:
        await asyncio.gather(own(one), own(other))

        assert one.written.records + other.written.records == len(log)
        assert await one.next_offsets(partition, [TOPIC]) == {TOPIC: len(log)}


def update(tenant_id: str, **changes: Any) -> CalibrationUpdate:
    event = CalibrationUpdate(
        tenant_id=tenant_id,
        action_type="send_email",
        outcome_type="email_engagement",
        window_ms=24 * HOUR_MS,
        confidence_source="self_report",
        bin_index=7,
        all=BinSums(n=2, sp=1_500_000, spp=str(1_130_000_000_000), sy=1, spy=800_000),
        lead=BinSums(n=1, sp=700_000, spp=str(10**37), sy=0, spy=0, excluded_n=4),
        counts={"positive": 1, "expired": 1},
        last_settled_at_ms=START_MS,
    )
    return replace(event, **changes)


async def test_calibration_bins_are_the_exact_sums_over_streams(url: str, partition: int) -> None:
    tenant = str(uuid.uuid4())
    old = update(tenant, all=BinSums(n=1))
    other_stream = update(tenant, confidence_source="judge", all=BinSums(n=2, sy=2))
    async with PostgresWriter(url) as writer:
        await writer.write(UPDATES, partition, 0, 2, numbered(0, old, update(tenant)))
        await writer.write(UPDATES, partition, 2, 3, numbered(2, other_stream))
    streams = await run_sql(
        url,
        "SELECT confidence_source, record_set, curve, n, spp, excluded_n, positive_count,"
        f" output_offset FROM tenant.calibration_stream_bins WHERE tenant_id = '{tenant}'"
        " ORDER BY 1, 2",
    )
    shown = await run_sql(
        url,
        "SELECT action_type, bin_index, bin_lower, bin_upper, sample_count, outcome_sum,"
        " actual_rate, brier_contribution, last_updated FROM tenant.calibration_bins"
        f" WHERE tenant_id = '{tenant}'",
    )

    assert streams.rows == [
        ("judge", "all", "settled", 2, 0, 0, 1, 2),
        ("judge", "lead", "settled", 1, 10**37, 4, None, 2),
        ("self_report", "all", "settled", 2, 1_130_000_000_000, 0, 1, 1),
        ("self_report", "lead", "settled", 1, 10**37, 4, None, 1),
    ]
    brier = 1.13 - 2 * 0.8 + 1 + 2
    last = datetime(2026, 1, 5, 0, 0, 0, 1000, tzinfo=UTC)
    assert shown.rows == [("send_email", 7, 0.7, 0.8, 4, 3.0, 0.75, pytest.approx(brier), last)]


async def test_labels_have_their_rates_beside_the_bins_and_in_none(
    url: str, partition: int
) -> None:
    tenant = str(uuid.uuid4())
    high = LabelRate(
        tenant_id=tenant, action_type="send_email", outcome_type="email_engagement", window_ms=1,
        confidence_source="judge", confidence_label='"high', last_settled_at_ms=START_MS,
        all=LabelCounts(n=3, positive=2, negative=1, ambiguous=4),
        lead=LabelCounts(expired=1),
    )  # fmt: skip
    old, word = replace(high, all=LabelCounts(n=1)), outcome(tenant_id=tenant)
    word = replace(word, predicted_confidence=None, confidence_label="high")
    async with PostgresWriter(url) as writer:
        await writer.write(UPDATES, partition, 0, 3, numbered(0, old, update(tenant), high))
        await writer.write(UPDATES, partition, 3, 4, numbered(3, high))
        await writer.write(TOPIC, partition, 0, 1, numbered(0, word))
    rates = await run_sql(
        url,
        "SELECT confidence_label, record_set, n, positive_count, negative_count, ambiguous_count,"
        " expired_count, actual_rate, output_offset FROM tenant.calibration_label_rates"
        f" WHERE tenant_id = '{tenant}' ORDER BY 2",
    )
    bins = await run_sql(
        url, f"SELECT sum(sample_count) FROM tenant.calibration_bins WHERE tenant_id = '{tenant}'"
    )
    stated = await run_sql(
        url,
        "SELECT predicted_confidence, confidence_label FROM tenant.outcome_records"
        f" WHERE tenant_id = '{tenant}'",
    )

    assert rates.rows == [
        ('"high', "all", 3, 2, 1, 4, 0, pytest.approx(2 / 3), 3),
        ('"high', "lead", 0, 0, 0, 0, 1, None, 3),
    ]
    assert bins.rows == [(2,)]
    assert stated.rows == [(None, "high")]


async def test_shared_action_ids_and_counts_are_of_a_tenant(url: str, partition: int) -> None:
    tenant = str(uuid.uuid4())
    far = 4_000_000_000_000
    events = [
        outcome(tenant_id=tenant),
        outcome(tenant_id=tenant, window_expires_at_ms=far, outcome_type="other"),
        settled(outcome(tenant_id=tenant, conversation_id="another")),
    ]
    async with PostgresWriter(url) as writer:
        await writer.write(TOPIC, partition, 0, 3, numbered(0, *events))

    shared = [row for row in (await shared_action_ids(url)).rows if str(row[0]) == tenant]
    assert shared == [(uuid.UUID(tenant), "a-1", 2)]
    counts = await counts_by_status(url, tenant)
    assert counts.rows == [("pending", False, 2), ("positive", True, 1)]


async def test_a_statement_that_never_ends_makes_the_caller_wait(url: str, partition: int) -> None:
    async with PostgresWriter(url, command_timeout_s=0.3) as impatient, PostgresWriter(url) as heir:
        await heir.write(TOPIC, partition, 0, 1, [])
        async with heir._connection() as held:
            await held.execute("BEGIN")
            await writer_module._locked_offset(held, TOPIC, partition)
            with pytest.raises(SinkBusy):
                await impatient.write(TOPIC, partition, 1, 2, [])
            await held.execute("COMMIT")
        await impatient.write(TOPIC, partition, 1, 2, [])


async def test_who_loses_a_deadlock_comes_again(url: str, partition: int) -> None:
    """The other session holds a row and wants the partition's offset, which the writer holds."""
    event = outcome()
    wanted = "SELECT FROM tenant.sink_offsets WHERE partition = $1 FOR UPDATE"
    other = await asyncpg.connect(url)
    async with PostgresWriter(url) as writer:
        await writer.write(TOPIC, partition, 0, 1, numbered(0, event))
        await other.execute("SET deadlock_timeout = '1min'; BEGIN")  # so that the writer loses
        held = "SELECT FROM tenant.outcome_records WHERE id = $1 FOR UPDATE"
        await other.fetch(held, uuid.UUID(event.id))
        writing = asyncio.create_task(
            writer.write(TOPIC, partition, 1, 2, numbered(1, settled(event)))
        )
        while not await other.fetchval(
            "SELECT count(*) FROM pg_stat_activity, pg_blocking_pids(pid) AS blocking"
            " WHERE pg_backend_pid() = ANY (blocking)"
        ):
            await asyncio.sleep(0.05)
        waiting = asyncio.create_task(other.fetch(wanted, partition))

        with pytest.raises(SinkBusy, match="collided with another writer: deadlock detected"):
            await writing
        await waiting
        await other.execute("ROLLBACK")
        await writer.write(TOPIC, partition, 1, 2, numbered(1, settled(event)))
    await other.close()

    assert (await row_of(url, event))["outcome_status"] == "positive"


async def test_a_server_that_has_become_a_standby_makes_the_caller_wait(
    own_database_url: str,
) -> None:
    """After a failover the old primary, or a pooler that still leads to it, takes no writes."""
    await asyncio.to_thread(migrate, own_database_url)
    name = own_database_url.rpartition("/")[2].partition("?")[0]
    read_only = f'ALTER DATABASE "{name}" SET default_transaction_read_only = '
    admin = await asyncpg.connect(own_database_url)
    event = outcome()
    async with PostgresWriter(own_database_url) as writer:
        await admin.execute(read_only + "on")
        with pytest.raises(SinkBusy, match="read-only transaction"):
            await writer.write(TOPIC, 0, 0, 1, numbered(0, event))
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute(read_only + "off")
        await writer.write(TOPIC, 0, 0, 1, numbered(0, event))
    await admin.close()

    assert (await row_of(own_database_url, event))["id"] == uuid.UUID(event.id)


async def test_a_database_without_tables_makes_the_caller_wait(servers: Any) -> None:
    async with PostgresWriter(servers.database_url.rpartition("/")[0] + "/template1") as writer:
        with pytest.raises(SinkBusy, match="trueup migrate"):
            await writer.next_offsets(0, [TOPIC])


async def test_a_stopped_zombie_does_not_hold_its_partition_for_ever(
    url: str, partition: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is frozen in mid transaction is ended by the server, and its work undone."""
    monkeypatch.setattr(writer_module, "_IDLE_S_MAX", 1)
    event = outcome()
    async with PostgresWriter(url) as zombie, PostgresWriter(url) as heir:
        async with zombie._connection() as held:
            await held.execute("BEGIN")
            await writer_module._locked_offset(held, TOPIC, partition)
            await held.execute("COMMIT; BEGIN")
            await writer_module._locked_offset(held, TOPIC, partition)
            for _ in range(20):
                try:
                    await heir.write(TOPIC, partition, 0, 1, numbered(0, event))
                    break
                except SinkBusy as busy:
                    await asyncio.sleep(busy.retry_after_s)
            held.terminate()

        assert await heir.next_offsets(partition, [TOPIC]) == {TOPIC: 1}


@pytest.fixture
def postgres(own_postgres: Callable[[], EmbeddedPostgres]) -> Iterator[EmbeddedPostgres]:
    server = own_postgres()
    migrate(server.url)
    yield server


async def test_postgres_may_go_away_in_mid_stream_and_nothing_is_lost_or_doubled(
    postgres: EmbeddedPostgres,
) -> None:
    """Killed, stopped and started while a partition is written: waits, then exact."""
    tenant = str(uuid.uuid4())
    log = numbered(0, *(outcome(tenant_id=tenant) for _ in range(3000)))
    waits: list[str] = []
    is_done = asyncio.Event()

    async def publish(writer: PostgresWriter) -> None:
        place = 0
        while place < len(log):
            batch = log[place : place + 10]
            try:
                await writer.write(TOPIC, 0, place, place + len(batch), batch)
                place += len(batch)
            except SinkBusy as busy:
                waits.append(str(busy))
                await asyncio.sleep(0.05)
                place = await asked(writer, place)
        is_done.set()

    async def asked(writer: PostgresWriter, place: int) -> int:
        while True:
            try:
                return (await writer.next_offsets(0, [TOPIC]))[TOPIC]
            except SinkBusy as busy:
                waits.append(str(busy))
                await asyncio.sleep(0.05)

    async def disturb() -> None:
        for end in (postgres.kill, postgres.stop):
            await asyncio.sleep(0.3)
            assert not is_done.is_set(), "the log is too short for this machine"
            await asyncio.to_thread(end)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(postgres.start)

    async with PostgresWriter(postgres.url) as writer:
        await asyncio.gather(publish(writer), disturb())

    answer = await run_sql(
        postgres.url, "SELECT count(*), max(output_offset) FROM tenant.outcome_records"
    )
    assert answer.rows == [(len(log), len(log) - 1)]
    assert all("Postgres" in wait for wait in waits)
    assert len(waits) >= 2


async def test_ended_sessions_and_full_servers_make_the_caller_wait(
    postgres: EmbeddedPostgres,
) -> None:
    admin = await asyncpg.connect(postgres.url)
    async with PostgresWriter(postgres.url) as writer:
        await writer.write(TOPIC, 0, 0, 1, numbered(0, outcome()))
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        try:
            await writer.write(TOPIC, 0, 1, 2, numbered(1, outcome()))
        except SinkBusy as busy:
            assert busy.retry_after_s > 0
        offset = (await writer.next_offsets(0, [TOPIC]))[TOPIC]
        assert offset in (1, 2)

    others = [await asyncpg.connect(postgres.url) for _ in range(2)]
    await admin.execute("ALTER SYSTEM SET max_connections = 4")
    await admin.execute("ALTER SYSTEM SET superuser_reserved_connections = 0")
    for connection in (*others, admin):
        await connection.close()
    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(postgres.start)
    crowd: list[Any] = []
    with pytest.raises(asyncpg.TooManyConnectionsError):
        while True:
            crowd.append(await asyncpg.connect(postgres.url))
    async with PostgresWriter(postgres.url) as writer:
        with pytest.raises(SinkBusy, match="Postgres is away"):
            await writer.next_offsets(0, [TOPIC])
        for connection in crowd:
            await connection.close()
        assert await writer.next_offsets(0, [TOPIC]) == {TOPIC: offset}

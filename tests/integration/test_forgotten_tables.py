"""What a forgetting leaves in Postgres, asked of every table that the schema has."""

import asyncio
import json
import uuid

import asyncpg
import msgspec
import pytest

from agents_topics.events import BinSums, CalibrationUpdate, Forgotten
from agents_topics.identifiers import conversation_state_id_of
from agents_topics.topics import CALIBRATION_UPDATES, OUTCOMES
from sinks.postgres.migrate import migrate
from sinks.postgres.schema import TenantBase
from sinks.postgres.writer import PostgresWriter
from tests.tenant_rows import fill
from tests.told import every_kind, stream

WHO_MAY_READ = "reader_tenants"
TABLES = [
    table.name
    for table in TenantBase.metadata.sorted_tables
    if "tenant_id" in table.columns and table.name != WHO_MAY_READ
]
OF_CONVERSATIONS = [
    table.name
    for table in TenantBase.metadata.sorted_tables
    if "conversation_state_id" in table.columns
]
CONVERSATION = "c"


@pytest.fixture
async def filled(own_database_url):
    """Two tenants with a row in every table, which a task's partition 0 has written at offset 0."""
    await asyncio.to_thread(migrate, own_database_url)
    tenants = [str(uuid.uuid4()), str(uuid.uuid4())]
    connection = await asyncpg.connect(own_database_url)
    await fill(connection, *tenants)
    for table in OF_CONVERSATIONS:
        for tenant in tenants:
            await connection.execute(
                f"UPDATE tenant.{table} SET conversation_state_id = $1 WHERE tenant_id = $2",
                conversation_state_id_of(tenant, CONVERSATION),
                tenant,
            )
    about = {"streams": [stream(tenant) for tenant in tenants], "tenants": None}
    await connection.execute(
        "INSERT INTO tenant.shadows VALUES ('s', 'ready', 'epoch', NULL, $1)", json.dumps(about)
    )
    yield own_database_url, connection, tenants
    await connection.close()


async def written(url, topic, *records):
    """The records, as a task's from offset 1 on."""
    async with PostgresWriter(url) as writer:
        await writer.write(topic, 0, 0, 1, [])
        values = list(enumerate(map(msgspec.json.encode, records), 1))
        await writer.write(topic, 0, 1, 1 + len(values), values)


def forgotten(tenant, conversation):
    return Forgotten(
        forget_id="f", tenant_id=tenant, conversation_id=conversation, partition=0, offsets={},
        settled_until_ms=0, open_outcomes=0,
    )  # fmt: skip


def taken_back(tenant):
    """What a calibrator says of a forgotten tenant's bin."""
    none = BinSums()
    return CalibrationUpdate(
        **stream(tenant), bin_index=7, counts={}, all=none, lead=none, last_settled_at_ms=0
    )


async def tables_of(connection, tenant):
    """Where there is a row of the tenant, other than of who may read it."""
    return [
        table
        for table in TABLES
        if await connection.fetchval(f"SELECT count(*) FROM tenant.{table} WHERE tenant_id = $1",
                                     tenant)
    ]  # fmt: skip


async def shadowed_tenants(connection):
    about = json.loads(await connection.fetchval("SELECT about FROM tenant.shadows"))
    return [told["tenant_id"] for told in about["streams"]]


async def test_of_a_forgotten_tenant_no_table_has_a_row_and_of_the_other_each_has(filled):
    url, connection, (gone, other) = filled
    assert await tables_of(connection, gone) == TABLES

    await written(url, OUTCOMES.name, forgotten(gone, None))
    await written(url, CALIBRATION_UPDATES.name, taken_back(gone))

    assert await tables_of(connection, gone) == []
    assert await shadowed_tenants(connection) == [other]
    assert await tables_of(connection, other) == TABLES


async def test_of_a_forgotten_conversation_sums_alone_are_left(filled):
    url, connection, (gone, other) = filled

    await written(url, OUTCOMES.name, forgotten(gone, CONVERSATION))

    left = [table for table in TABLES if table not in OF_CONVERSATIONS]
    assert await tables_of(connection, gone) == left
    assert await tables_of(connection, other) == TABLES


async def test_what_is_counted_anew_before_the_outcomes_are_forgotten_is_not_corrected(filled):
    url, connection, (gone, _) = filled
    await connection.execute(
        "INSERT INTO tenant.calibration_corrections (tenant_id, action_type, outcome_type,"
        " window_ms, confidence_source, bin_index, record_set, curve, n, sp, spp, sy, spy,"
        " excluded_n, excluded_sp, excluded_spp)"
        " VALUES ($1, $2, $3, $4, $5, 7, 'all', 'settled', 40, 0, 0, 0, 0, 0, 0, 0)",
        *stream(gone).values(),
    )
    anew = every_kind(gone)["calibration_stream_bins"]

    await written(url, CALIBRATION_UPDATES.name, taken_back(gone), anew)
    await written(url, OUTCOMES.name, forgotten(gone, None))

    counted = "SELECT n FROM tenant.calibration_stream_bins WHERE tenant_id = $1"
    assert await connection.fetchval(f"{counted} AND record_set = 'all'", gone) == anew.all.n

"""The schema, up and down, and who may see what, on a real Postgres."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from sinks.postgres.connect import PostgresProblem
from sinks.postgres.migrate import (
    downgrade,
    migrate,
    newest_revision,
    print_sql,
    revision_of,
)
from sinks.postgres.provenance import OF_ACTION
from sinks.postgres.readings import OF_CONVERSATION, pending_sql
from sinks.postgres.schema import TenantBase
from tests.tenant_rows import ROWS, fill

TENANTS = (str(uuid.uuid4()), str(uuid.uuid4()))
READER = f"reader_{uuid.uuid4().hex[:8]}"
TABLES = sorted(table.name for table in TenantBase.metadata.sorted_tables)
WITHOUT_TENANTS = ("shadows", "sink_offsets")


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[str]:
    """Migrated, with a row of each of two tenants in every table, and a person who may read one."""
    migrate(database_url)
    asyncio.run(_fill(database_url))
    yield database_url
    asyncio.run(execute(database_url, f"DROP OWNED BY {READER}", f"DROP ROLE {READER}"))


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    await fill(connection, *TENANTS)
    await connection.execute(f"CREATE ROLE {READER} LOGIN PASSWORD 'p' IN ROLE trueup_reader")
    await connection.execute(
        "INSERT INTO tenant.reader_tenants VALUES ($1, $2), ('someone_else', $3)",
        READER,
        *TENANTS,
    )
    await connection.execute("INSERT INTO tenant.sink_offsets VALUES ('t', 0, 7, 0)")
    await connection.execute(
        "INSERT INTO tenant.shadows VALUES ('s', 'filling', 'epoch', NULL, '{}')"
    )
    await connection.close()


async def count(url: str, role: str, table: str, tenant: str | None) -> int | str:
    """How many rows a role sees; `denied` where it may not look."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(
                "SELECT set_config('app.current_tenant_id', $1, true)", tenant or ""
            )
            await connection.execute(f"SET LOCAL ROLE {role}")
            seen: int = await connection.fetchval(f"SELECT count(*) FROM tenant.{table}")
            return seen
    except asyncpg.InsufficientPrivilegeError:
        return "denied"
    finally:
        await connection.close()


# role -> rows seen without a tenant, as the first tenant, as the second tenant
SEEN = {
    "trueup_owner": (0, 1, 1),
    "trueup_writer": (2, 2, 2),
    "trueup_api": (0, 1, 1),
    "trueup_operator": (2, 2, 2),
    "trueup_reader": (0, 0, 0),
    READER: (0, 1, 0),
}
UNLIKE_THE_OTHERS = {
    ("trueup_writer", "reader_tenants"): ("denied",) * 3,
    ("trueup_api", "reader_tenants"): ("denied",) * 3,
    **{
        (role, table): (1, 1, 1)
        for role in ("trueup_owner", "trueup_writer", "trueup_operator")
        for table in WITHOUT_TENANTS
    },
    **{
        (role, table): ("denied",) * 3
        for role in ("trueup_api", "trueup_reader", READER)
        for table in WITHOUT_TENANTS
    },
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("role", SEEN, ids=lambda role: "a_person" if role == READER else role)
async def test_each_role_sees_of_each_table_what_it_should(
    database: str, role: str, table: str
) -> None:
    seen = tuple([await count(database, role, table, tenant) for tenant in (None, *TENANTS)])

    assert seen == UNLIKE_THE_OTHERS.get((role, table), SEEN[role])


@pytest.mark.parametrize("table", ROWS)
@pytest.mark.parametrize(
    "role", ["trueup_api", "trueup_operator", READER], ids=["api", "operator", "a_person"]
)
async def test_only_the_writer_may_write(database: str, role: str, table: str) -> None:
    connection = await asyncpg.connect(database)
    for statement in (
        f"INSERT INTO tenant.{table} DEFAULT VALUES",
        f"UPDATE tenant.{table} SET tenant_id = tenant_id",
        f"DELETE FROM tenant.{table}",
        f"TRUNCATE tenant.{table}",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.execute(f"SET LOCAL ROLE {role}")
                await connection.execute(statement)
    await connection.close()


async def test_a_hostile_reader_gets_no_rows_by_any_setting(database: str) -> None:
    host = database.partition("@")[2]
    connection = await asyncpg.connect(f"postgresql://{READER}:p@{host}")
    hostile = f"SELECT set_config('app.current_tenant_id', '{TENANTS[1]}', false)"

    await connection.execute(hostile)
    stolen = [await connection.fetchval(f"SELECT count(*) FROM tenant.{t}") for t in ROWS]
    await connection.execute("SET ROLE trueup_reader")
    as_the_group = [await connection.fetchval(f"SELECT count(*) FROM tenant.{t}") for t in ROWS]
    await connection.close()

    assert stolen == as_the_group == [0] * len(ROWS)


async def test_the_owner_may_write_its_set_tenant_only(database: str) -> None:
    columns, values = ROWS["calibration_bins"]
    statement = f"INSERT INTO tenant.calibration_bins ({columns}) VALUES ({values})"
    connection = await asyncpg.connect(database)

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with connection.transaction():
            await connection.execute(
                "SELECT set_config('app.current_tenant_id', $1, true)", TENANTS[0]
            )
            await connection.execute("SET LOCAL ROLE trueup_owner")
            await connection.execute(statement, uuid.uuid4(), TENANTS[1])
    await connection.close()


async def test_every_table_with_a_tenant_has_forced_row_security(database: str) -> None:
    connection = await asyncpg.connect(database)
    rows = await connection.fetch(
        "SELECT relname, relrowsecurity, relforcerowsecurity, EXISTS (SELECT FROM pg_attribute"
        " WHERE attrelid = pg_class.oid AND attname = 'tenant_id') AS has_tenant FROM pg_class"
        " WHERE relnamespace = 'tenant'::regnamespace AND relkind IN ('r', 'p')"
    )
    bypassing = await connection.fetch(
        "SELECT FROM pg_roles WHERE rolname LIKE 'trueup_%' AND (rolbypassrls OR rolsuper)"
    )
    await connection.close()

    assert {row["relname"] for row in rows} == set(TABLES)
    assert all(
        (r["relrowsecurity"], r["relforcerowsecurity"]) == (r["has_tenant"],) * 2 for r in rows
    )
    assert bypassing == []


async def test_nothing_comes_from_the_servers_clock_or_dice(database: str) -> None:
    connection = await asyncpg.connect(database)
    defaults = await connection.fetch(
        "SELECT pg_get_expr(adbin, adrelid) AS text FROM pg_attrdef"
        " JOIN pg_class ON pg_class.oid = adrelid WHERE relnamespace = 'tenant'::regnamespace"
    )
    await connection.close()

    texts = {row["text"] for row in defaults}
    assert len(texts) > 3
    assert not [text for text in texts if re.search(r"now|random|current|clock|nextval", text)]


async def test_models_and_migrations_describe_the_same_tables(database: str) -> None:
    connection = await asyncpg.connect(database)
    migrated = await _described(connection)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("DROP SCHEMA tenant CASCADE; CREATE SCHEMA tenant")
    for table in TenantBase.metadata.sorted_tables:
        await connection.execute(str(CreateTable(table).compile(dialect=postgresql.dialect())))
        for index in table.indexes:
            await connection.execute(str(CreateIndex(index).compile(dialect=postgresql.dialect())))
    modelled = await _described(connection)
    await transaction.rollback()
    await connection.close()

    assert modelled == migrated
    assert len(migrated) > 90


async def _described(connection: asyncpg.Connection) -> set[tuple[object, ...]]:
    columns = await connection.fetch(
        "SELECT table_name, column_name,"
        " rank() OVER (PARTITION BY table_name ORDER BY ordinal_position), data_type, is_nullable,"
        " column_default, character_maximum_length, numeric_precision, numeric_scale"
        " FROM information_schema.columns WHERE table_schema = 'tenant'"
    )
    rest = await connection.fetch(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'tenant' UNION ALL"
        " SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint"
        # Of a column that is not null, which is told above, Postgres 18 makes a constraint too.
        " WHERE connamespace = 'tenant'::regnamespace AND contype <> 'n'"
    )
    return {tuple(row) for row in (*columns, *rest)}


OF_A_TENANT = "ix_outcome_records_(pending|tenant_id)"


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (pending_sql(TENANTS[0], None, False, 10), OF_A_TENANT),
        (pending_sql(TENANTS[0], "o", False, 10), OF_A_TENANT),
        (pending_sql(TENANTS[0], "o", True, 10), OF_A_TENANT),
        (pending_sql(None, "o", True, 10), "ix_outcome_records_pending"),
        (pending_sql(None, None, True, 10), "ix_outcome_records_pending"),
        (pending_sql(None, None, False, 10), "ix_outcome_records_pending"),
        (pending_sql(None, "o", False, 10), "ix_outcome_records_pending"),
        ((OF_CONVERSATION, TENANTS[0], str(uuid.uuid4()), 9), "ix_outcome_records_tenant_id_conv"),
        ((OF_ACTION, "a", None, None, None, 500), "ix_outcome_records_action_id"),
    ],
)
async def test_questions_are_answered_from_an_index(
    database: str, asked: tuple[Any, ...], index: str
) -> None:
    connection = await asyncpg.connect(database)
    columns, values = ROWS["outcome_records"]
    transaction = connection.transaction()
    await transaction.start()
    tenant = f"CASE WHEN i % 150 = 0 THEN '{TENANTS[0]}'::uuid ELSE gen_random_uuid() END"
    many = values.replace("$1", "gen_random_uuid()").replace("$2", tenant)
    await connection.execute(
        f"INSERT INTO tenant.outcome_records ({columns}, outcome_status, window_expires_at)"
        f" SELECT {many}, CASE WHEN i % 50 = 0 THEN 'pending' ELSE 'expired' END,"
        " now() + (i - 19000) * interval '1 s' FROM generate_series(1, 20000) AS i"
    )
    await connection.execute("ANALYZE tenant.outcome_records; SET LOCAL ROLE trueup_operator")
    sql, *bound = asked
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}", *bound))
    await transaction.rollback()
    await connection.close()

    assert re.search(index, plan)
    assert "Seq Scan" not in plan


KEY = "tenant_id = $1 AND action_type = 'a9'"
OF_STREAM = f"{KEY} AND outcome_type = 'o' AND window_ms = 1 AND confidence_source = 'judge'"


@pytest.mark.parametrize(
    ("table", "asked", "index"),
    [
        ("calibration_alarms", "closed_at IS NULL ORDER BY opened_at DESC LIMIT 20", "alarms_open"),
        ("calibration_alarms", f"{KEY} AND closed_at IS NULL", "calibration_alarms_(pkey|open)"),
        ("threshold_adjustments", f"{KEY} ORDER BY number", "threshold_adjustments_pkey"),
        ("calibration_streams", KEY, "calibration_streams_pkey"),
        ("calibration_days", f"{OF_STREAM} AND known_day <= '2026-01-01'", "calibration_days_pkey"),
        ("calibration_segments", OF_STREAM, "calibration_segments_pkey"),
        ("calibration_delays", OF_STREAM, "calibration_delays_pkey"),
        ("calibration_trends", OF_STREAM, "calibration_trends_pkey"),
    ],
)
async def test_questions_of_streams_are_answered_from_an_index(
    database: str, table: str, asked: str, index: str
) -> None:
    connection = await asyncpg.connect(database)
    columns, values = ROWS[table]
    transaction = connection.transaction()
    await transaction.start()
    many = values.replace("$2", "gen_random_uuid()").replace("$1::uuid::text", "'a' || i % 100")
    closed = (", closed_at", ", CASE WHEN i % 200 > 0 THEN now() END")
    own, ends = closed if table == "calibration_alarms" else ("", "")
    await connection.execute(
        f"INSERT INTO tenant.{table} ({columns}{own})"
        f" SELECT {many}{ends} FROM generate_series(1, 10000) AS i"
    )
    await connection.execute(f"ANALYZE tenant.{table}; SET LOCAL ROLE trueup_operator")
    bound = [TENANTS[0]] if "$1" in asked else []
    sql = f"EXPLAIN SELECT * FROM tenant.{table} WHERE {asked}"
    plan = "\n".join(row[0] for row in await connection.fetch(sql, *bound))
    await transaction.rollback()
    await connection.close()

    assert re.search(index, plan)
    assert "Seq Scan" not in plan


def test_the_schema_goes_up_and_down_and_up_again_leaving_nothing(database_url: str) -> None:
    async def relations() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        found = await connection.fetch(
            "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname !~ '^(pg_|information_schema)' ORDER BY 1, 2"
        )
        await connection.close()
        return found

    with fresh(database_url) as url:
        migrate(url)
        first = asyncio.run(relations())
        downgrade(url)
        after_down = asyncio.run(relations())
        downgrade(url)
        migrate(url)
        migrate(url)
        again = asyncio.run(relations())
        revision = asyncio.run(revision_of(url))

    assert after_down == []
    assert first == again
    assert len(first) > len(TABLES)
    assert revision == newest_revision()


def test_going_back_before_labels_takes_what_has_no_number_and_keeps_the_rest(
    database_url: str,
) -> None:
    columns, values = ROWS["outcome_records"]
    word = values.replace(".5", "NULL")
    statement = f"INSERT INTO tenant.outcome_records ({columns}) VALUES"

    async def fill_and_count(fills: bool) -> tuple[int, bool]:
        connection = await asyncpg.connect(url)
        for value in (values, word) if fills else ():
            await connection.execute(f"{statement} ({value})", uuid.uuid4(), TENANTS[0])
        found = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM tenant.outcome_records), relforcerowsecurity"
            " FROM pg_class WHERE oid = 'tenant.outcome_records'::regclass"
        )
        await connection.close()
        return tuple(found)

    with fresh(database_url) as url:
        migrate(url)
        assert asyncio.run(fill_and_count(True)) == (2, True)
        downgrade(url, "0001")
        kept = asyncio.run(fill_and_count(False))
        migrate(url)

        assert kept == asyncio.run(fill_and_count(False)) == (1, True)


def test_workers_that_migrate_at_once_do_not_disturb_each_other(database_url: str) -> None:
    with fresh(database_url) as url, ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate, [url] * 4))

        assert asyncio.run(revision_of(url)) == newest_revision()


def test_an_ordinary_user_who_owns_the_database_may_migrate(database_url: str) -> None:
    user = f"dba_{uuid.uuid4().hex[:8]}"
    with fresh(database_url) as url:
        name = url.rpartition("/")[2]
        asyncio.run(
            execute(
                url,
                f"CREATE ROLE {user} LOGIN PASSWORD 'p' CREATEROLE",
                f"GRANT trueup_owner TO {user} WITH ADMIN OPTION",
                f'ALTER DATABASE "{name}" OWNER TO {user}',
            )
        )
        try:
            migrate(f"postgresql://{user}:p@{url.partition('@')[2]}")

            assert asyncio.run(revision_of(url)) == newest_revision()
        finally:
            asyncio.run(
                execute(
                    url,
                    f'ALTER DATABASE "{name}" OWNER TO CURRENT_USER',
                    f"REASSIGN OWNED BY {user} TO CURRENT_USER",
                    f"DROP OWNED BY {user}",
                    f"DROP ROLE {user}",
                )
            )


def test_a_database_of_a_later_release_is_left_alone(database_url: str) -> None:
    with fresh(database_url) as url:
        migrate(url)
        asyncio.run(execute(url, "UPDATE trueup_schema_version SET version_num = '9999'"))

        with pytest.raises(PostgresProblem, match="9999, newer than this release"):
            migrate(url)


def test_a_server_that_is_not_there_is_told_in_a_sentence() -> None:
    with pytest.raises(PostgresProblem, match=r"Postgres: .*Connect"):
        migrate("postgresql://nobody:p@127.0.0.1:1/none")


def test_what_is_printed_for_a_dba_is_all_that_is_needed(database_url: str) -> None:
    with fresh(database_url) as url:
        asyncio.run(execute(url, print_sql()))
        migrate(url)

        assert asyncio.run(revision_of(url)) == newest_revision()


class fresh:
    """A database of its own within the module's server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._name = f"test_{uuid.uuid4().hex}"

    def __enter__(self) -> str:
        asyncio.run(execute(self._url, f'CREATE DATABASE "{self._name}"'))
        return f"{self._url.rpartition('/')[0]}/{self._name}"

    def __exit__(self, *_: object) -> None:
        asyncio.run(execute(self._url, f'DROP DATABASE "{self._name}" WITH (FORCE)'))

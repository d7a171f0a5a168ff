"""Brings the schema to a revision and back; the SQL that is run is the SQL that is printed.

The connecting user makes the roles that are absent and sets `trueup_owner`, who owns what is made:
a superuser, or a user with CREATEROLE and CREATE on the database. The worker's user needs
`GRANT trueup_writer TO …`, a person's `GRANT trueup_reader TO …` and a row in `reader_tenants`.
"""

import asyncio
from io import StringIO
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from sinks.postgres.connect import PostgresProblem, connect, problems_told

_FOLDER = Path(__file__).parent / "migrations"
# One migration at a time in a database. It ends with the transaction, whatever becomes of us.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('trueup migrations'))"
_VERSION_TABLE = "public.trueup_schema_version"


def migrate(url: str, revision: str = "head") -> None:
    """The database is at `revision` or, if it was beyond, where it was. All or nothing.

    Not to be called inside a running event loop; there `await asyncio.to_thread(migrate, url)`.

    Raises:
        PostgresProblem: Postgres is not there, or its user may not make the roles and the schema.
    """
    asyncio.run(_move(url, revision, is_up=True))


def downgrade(url: str, revision: str = "base") -> None:
    """The database is back at `revision`; `base` leaves nothing but the roles. Rows are lost."""
    asyncio.run(_move(url, revision, is_up=False))


def print_sql() -> str:
    """Everything from an empty database to the newest revision, for a DBA to run by `psql`."""
    script = _rendered("base", "head", is_up=True)
    return f"BEGIN;\n\n{_LOCK};\n\n{script}COMMIT;\n"


async def revision_of(url: str) -> str | None:
    """The revision at which a database stands; None before the first.

    Raises:
        PostgresProblem: Postgres is not there.
    """
    with problems_told():
        connection = await connect(url)
        try:
            return await current_revision(connection)
        finally:
            await connection.close()


async def _move(url: str, target: str, *, is_up: bool) -> None:
    with problems_told():
        connection = await connect(url)
        try:
            async with connection.transaction():
                await connection.execute(_LOCK)
                current = await current_revision(connection)
                script = _rendered(current or "base", target, is_up=is_up)
                if script:
                    await connection.execute(script)
        finally:
            await connection.close()


async def current_revision(connection: Any) -> str | None:
    """The revision that a connection's database names; None before the first."""
    if await connection.fetchval("SELECT to_regclass($1)", _VERSION_TABLE) is None:
        return None
    revision: str | None = await connection.fetchval(f"SELECT version_num FROM {_VERSION_TABLE}")
    return revision


def _rendered(current: str, target: str, *, is_up: bool) -> str:
    """The SQL from one revision to another; empty where there is nothing to do."""
    buffer = StringIO()
    config = _config(buffer)
    scripts = ScriptDirectory.from_config(config)
    reached = scripts.as_revision_number(target)
    target = reached if isinstance(reached, str) else "base"
    order = ["base", *(script.revision for script in reversed(list(scripts.walk_revisions())))]
    if current not in order:
        raise PostgresProblem(f"the database is at revision {current}, newer than this release")
    distance = order.index(target) - order.index(current)
    if (distance <= 0) if is_up else (distance >= 0):
        return ""
    move = command.upgrade if is_up else command.downgrade
    move(config, f"{current}:{target}", sql=True)
    if target == "base":
        buffer.write(f"DROP TABLE {_VERSION_TABLE};\n")
    return buffer.getvalue()


def newest_revision() -> str | None:
    """The revision of this release."""
    return ScriptDirectory.from_config(_config(StringIO())).get_current_head()


def _config(buffer: StringIO) -> Config:
    config = Config(output_buffer=buffer)
    # Alembic reads options as ConfigParser does: a per cent sign in a folder's name is doubled.
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config

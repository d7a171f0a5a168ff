"""Whether a database is as the sink and its readers need it: read in one transaction."""

import time
from dataclasses import dataclass
from typing import Any

from sinks.postgres.connect import connect, problems_told
from sinks.postgres.migrate import current_revision
from sinks.postgres.queries import ROLES
from sinks.postgres.schema import SCHEMA, TenantBase

COMMAND_S_MAX = 15.0
MAJOR_MIN = 15

_ROLES = "SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = ANY($1)"
_PROTECTION = """\
SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,
  EXISTS (SELECT FROM pg_policies AS p WHERE p.schemaname = n.nspname
    AND p.tablename = c.relname AND p.policyname = 'tenant_isolation')
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')"""
_MAY_WRITE = "SELECT pg_has_role(current_user, 'trueup_writer', 'MEMBER')"
_VERSION = "SELECT current_setting('server_version')"


@dataclass(slots=True)
class Health:
    """What was found. Of the database's clock: its time, between two moments of ours."""

    version: str
    revision: str | None
    missing_roles: list[str]
    roles_past_security: list[str]
    unprotected_tables: list[str]
    may_write: bool
    clock_s: float
    before_s: float
    after_s: float

    @property
    def is_too_old(self) -> bool:
        """Before this version views do not obey the reader's row level security."""
        return int(self.version.partition(".")[0].partition(" ")[0]) < MAJOR_MIN


async def health_of(url: str) -> Health:
    """Looks; changes nothing.

    Raises:
        PostgresProblem: Postgres is not there or refuses.
    """
    with problems_told():
        connection = await connect(url, command_timeout=COMMAND_S_MAX)
        try:
            return await _looked(connection)
        finally:
            await connection.close()


async def _looked(connection: Any) -> Health:
    before_s = time.time()
    clock = await connection.fetchval("SELECT clock_timestamp()")
    after_s = time.time()
    roles = {row[0]: row[1] for row in await connection.fetch(_ROLES, list(ROLES))}
    rows = await connection.fetch(_PROTECTION, SCHEMA)
    protected = {table for table, is_forced, is_isolated in rows if is_forced and is_isolated}
    of_tenants = {t.name for t in TenantBase.metadata.sorted_tables if "tenant_id" in t.columns}
    has_writer = "trueup_writer" in roles
    return Health(
        version=await connection.fetchval(_VERSION),
        revision=await current_revision(connection),
        missing_roles=[role for role in ROLES if role not in roles],
        roles_past_security=sorted(role for role, is_past in roles.items() if is_past),
        unprotected_tables=sorted(of_tenants - protected),
        may_write=has_writer and await connection.fetchval(_MAY_WRITE),
        clock_s=clock.timestamp(),
        before_s=before_s,
        after_s=after_s,
    )

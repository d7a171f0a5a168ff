"""Postgres over TLS: `sslmode=verify-full` takes the authority's server and no other."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from sinks.postgres.migrate import revision_of
from tests.certificates import Authority
from trueup.embedded.postgres import EmbeddedPostgres
from trueup.exits import ENVIRONMENT, ending_of


async def switch_tls_on(postgres: EmbeddedPostgres, pem: Path) -> None:
    connection = await asyncpg.connect(postgres.url)
    try:
        for name, value in (("ssl_cert_file", pem), ("ssl_key_file", pem), ("ssl", "on")):
            try:
                await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            except asyncpg.InvalidParameterValueError as problem:
                pytest.skip(f"the embedded Postgres: {problem}")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()
    await asyncio.sleep(1)


async def test_verify_full_takes_the_authoritys_server_and_no_other(
    own_postgres: Callable[[], EmbeddedPostgres], tmp_path: Path
) -> None:
    postgres = own_postgres()
    authority = Authority(tmp_path)
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    pem = postgres.folder / "data" / "server.pem"  # where its own account may read
    authority.issue("postgres", pem)
    owner = pem.parent.stat()
    os.chown(pem, owner.st_uid, owner.st_gid)
    await switch_tls_on(postgres, pem)
    address = f"{postgres.url.partition('?')[0]}?sslmode=verify-full&sslrootcert="

    revision = await revision_of(address + str(authority.file))
    with pytest.raises(Exception) as problem:
        await revision_of(address + str(other.file))

    assert revision is None
    ending = ending_of(problem.value)
    assert ending is not None
    assert ending[1] == ENVIRONMENT
    assert "certificate verify failed" in ending[0]

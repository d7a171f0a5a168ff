"""The compose file's logins and the dashboard's queries, on a real Postgres."""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import yaml

from sinks.postgres.migrate import migrate

DOCKER = Path(__file__).parents[2] / "docker"


def login(url, name):
    """The database's address as another user."""
    parts = urlsplit(url)
    return {
        "user": name,
        "password": name,
        "host": parts.hostname or parts.query.partition("host=")[2].partition("&")[0],
        "port": parts.port,
        "database": parts.path[1:],
    }


def queries():
    panels = json.loads((DOCKER / "grafana" / "dashboards" / "trueup.json").read_text())["panels"]
    return [t["rawSql"] for panel in panels for t in panel["targets"] if "rawSql" in t]


@pytest.fixture
async def logins(own_database_url):
    await asyncio.to_thread(migrate, own_database_url)
    owner = await asyncpg.connect(own_database_url)
    await owner.execute((DOCKER / "logins.sql").read_text())
    yield own_database_url
    await owner.execute("DROP ROLE worker; DROP ROLE grafana")
    await owner.close()


async def test_the_dashboard_reads_every_tenant_and_writes_nothing(logins):
    grafana = await asyncpg.connect(**login(logins, "grafana"))
    try:
        assert queries()
        for query in queries():
            await grafana.fetch(query)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await grafana.execute("DELETE FROM tenant.outcome_records")
    finally:
        await grafana.close()


async def test_the_worker_login_is_not_a_superuser_and_may_write(logins):
    worker = await asyncpg.connect(**login(logins, "worker"))
    try:
        assert not await worker.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = 'worker'")
        await worker.execute("SET ROLE trueup_writer")
        await worker.execute(
            "INSERT INTO tenant.sink_offsets (topic, partition, next_offset, lineage)"
            " VALUES ('t', 0, 0, 1)"
        )
    finally:
        await worker.close()


def test_grafana_and_the_worker_use_these_logins():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    folder = DOCKER / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "trueup.yaml").read_text())["datasources"]

    assert "//worker:worker@" in services["worker"]["environment"]["DATABASE_URL"]
    assert next(s for s in sources if s["name"] == "Postgres")["user"] == "grafana"
    for volume in services["grafana"]["volumes"]:
        assert (DOCKER / volume.split(":")[0]).is_dir(), volume

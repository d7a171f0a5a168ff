"""The compose file's logins and the dashboard's queries, on a real Postgres."""

import asyncio
import json
import uuid
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest
import yaml

from agents_topics.events import BinSums
from agents_topics.topics import CALIBRATION_UPDATES, OUTCOMES
from sinks.postgres.migrate import migrate
from sinks.postgres.writer import PostgresWriter
from tests.integration.test_postgres_writer import HOUR_MS, outcome
from tests.told import every_kind

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
    """Of the dashboard: title of the panel and SQL."""
    panels = json.loads((DOCKER / "grafana" / "dashboards" / "trueup.json").read_text())["panels"]
    return [(p["title"], t["rawSql"]) for p in panels for t in p["targets"] if "rawSql" in t]


async def shown(url, title, topic, events):
    """What the panel whose title begins so shows of these events."""
    (query,) = [sql for named, sql in queries() if named.startswith(title)]
    async with PostgresWriter(url) as writer:
        records = list(enumerate(map(msgspec.json.encode, events)))
        await writer.write(topic.name, 0, 0, len(records), records)
    grafana = await asyncpg.connect(**login(url, "grafana"))
    try:
        return await grafana.fetch(query)
    finally:
        await grafana.close()


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
        for _, query in queries():
            await grafana.fetch(query)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await grafana.execute("DELETE FROM tenant.outcome_records")
    finally:
        await grafana.close()


async def test_the_dashboard_tells_what_a_stream_says_and_how_often_it_is_right(logins):
    tenant_id = str(uuid.uuid4())
    told = every_kind(tenant_id)
    told["calibration_stream_bins"] = replace(
        told["calibration_stream_bins"], lead=BinSums(n=4, sp=3_000_000, sy=1)
    )
    told["calibration_trends"] = replace(
        told["calibration_trends"], supported_direction="declining"
    )

    (row,) = await shown(logins, "What each stream", CALIBRATION_UPDATES, told.values())

    assert dict(row) == {
        "tenant_id": uuid.UUID(tenant_id),
        "action_type": "send_email",
        "outcome_type": "email_engagement",
        "settled": 4,
        "says": Decimal("0.750"),
        "is_right": Decimal("0.250"),
        "verdict": "no evidence",
        "alarm_since": None,
        "threshold": Decimal("0.70"),
        "getting_better_or_worse": "calibration_gap declining",
    }


async def test_the_dashboard_counts_as_past_its_window_what_is(logins):
    in_2100_ms = 4_102_444_800_000
    window = {"window_expires_at_ms": in_2100_ms, "settled_at_ms": in_2100_ms}
    over, open_still = outcome(), outcome(created_at_ms=in_2100_ms - HOUR_MS, **window)

    rows = await shown(logins, "Actions past their", OUTCOMES, [over, open_still])

    assert [(str(row["tenant_id"]), row["open"]) for row in rows] == [(over.tenant_id, 1)]


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

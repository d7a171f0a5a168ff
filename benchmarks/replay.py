"""What a replay of a million events costs, as recorded, into an empty database.

    .venv/bin/python -m benchmarks.replay [scale]

On the peers' workload with the embedded servers: a whole worker settles it, then `trueup replay`
makes the same rows in a fresh database, with one process and with one a core; checksums are
compared. Beside it the share that the core alone has: a shadow of one tenant of twenty, which is
read and decoded whole but hardly written. CPU seconds are the command's whole process tree, start
included.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

from agents_topics.connection import connection_of
from benchmarks.loading import close_windows, installation, load
from benchmarks.peers_workload import CLOSED_MS, generate
from benchmarks.recording import circumstances, record
from benchmarks.resolver import (
    BINS,
    PARTITIONS,
    POLICY,
    SETTLED,
    asked,
    running,
    wait_for,
)
from sinks.postgres.checksums import checksums
from sinks.postgres.connect import connect
from sinks.postgres.migrate import migrate
from streams.topic_admin import create_topics
from trueup.embedded.servers import servers


def replay(settings: dict[str, str], *words: str) -> dict[str, Any]:
    """One run of the command, and what it cost."""
    before, began_s = getrusage(RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "trueup", "replay", "--json", *words],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds, after = time.monotonic() - began_s, getrusage(RUSAGE_CHILDREN)
    found = json.loads(done.stdout)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(seconds, 1),
        "events_per_s": round(found["records"] / seconds),
        "cpu_s_per_million": round(cpu_s / found["records"] * 1e6, 1),
        "rows": found["rows"],
    }


def fresh_database(url: str, name: str) -> str:
    """Another, migrated, on the same server."""
    asyncio.run(_create(url, name))
    address, slash, rest = url.rpartition("/")
    _, mark, options = rest.partition("?")
    made = address + slash + name + mark + options
    migrate(made)
    return made


async def _create(url: str, name: str) -> None:
    connection = await connect(url)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()


def main() -> None:
    """Runs once and writes a result."""
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    workload = generate(scale)
    with servers() as embedded, tempfile.TemporaryDirectory() as folder:
        url = embedded.database_url
        settings = installation(embedded, folder, TRUEUP_POLICY=str(POLICY))
        connection = connection_of(settings)
        migrate(url)
        asyncio.run(create_topics(connection, PARTITIONS))
        load(connection, workload)
        close_windows(connection, CLOSED_MS, PARTITIONS)
        with running(settings, "outcome-resolver,calibrator,publisher"):
            for sql in (SETTLED, BINS):
                wait_for(len(workload.truth), partial(asked, url, sql))
        one, many = fresh_database(url, "one"), fresh_database(url, "many")
        tenant = json.loads(workload.actions[0][1])["tenant_id"]
        measured = {
            "one_process": replay(settings, "--into", one, "--processes", "1"),
            "a_process_a_core": replay(settings, "--into", many),
            "a_tenant_of_twenty": replay(
                settings, "--shadow", "tenant", "--tenant", tenant, "--processes", "1"
            ),
        }
        live, *others = (asyncio.run(checksums(each)) for each in (url, one, many))
    result = {
        **circumstances(f"replay {scale}"),
        "events": len(workload.actions) + len(workload.interactions),
        "outcomes": live.outcomes.rows,
        "are_checksums_equal": all(other == live for other in others),
        **measured,
    }
    record("replay", result)


if __name__ == "__main__":
    main()

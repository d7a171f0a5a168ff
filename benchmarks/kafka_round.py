"""One installation from empty topics to the audit: what came of a round's streams."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agents_topics.connection import Connection, connection_of
from benchmarks.kafka_records import ACTIONS, INTERACTIONS, Arrival, classes_of, records_of
from benchmarks.kafka_results import Known, different, in_memory, read_back, store
from benchmarks.kafka_streams import Stream
from benchmarks.loading import close_windows, installation, produce
from benchmarks.replay import fresh_database
from benchmarks.resolver import BINS, SECONDS_MAX, SETTLED, asked, wait_for
from benchmarks.simulated import Random
from benchmarks.simulated_streams import GRACE_MS, POLICY_TOML, Place
from streams.topic_admin import create_topics
from trueup.embedded.servers import Servers
from trueup.worker_process import WorkerProcess

PARTITIONS = 4
WORKERS = 2
READINGS_MAX, PAUSE_S = 10, 1.0


@dataclass(frozen=True, slots=True)
class Round:
    """What Postgres knows of each stream at the end, which of them the core in memory tells
    otherwise, and what the audit says; `sent` has what was sent, by the class it must be of.
    """

    streams: Sequence[Stream]
    sent: Counter[str]
    known: dict[Place, Known]
    different: list[Place]
    audit: dict[str, Any]

    @property
    def classes(self) -> Counter[str]:
        """Records of the joined topics by class, as the audit counts them."""
        records = self.audit["records"]
        return Counter(records[ACTIONS]) + Counter(records[INTERACTIONS])


def play(
    random: Random,
    streams: Sequence[Stream],
    embedded: Servers,
    folder: Path,
    **more: str,
) -> Round:
    """Sends what the streams send through an installation of their own.

    Args:
        random: For delays, disorder, copies and late ones.
        streams: Who acts.
        embedded: Where Kafka and Postgres are.
        folder: The workers' logs and data; its name tells the installation apart.
        more: More settings of the workers.
    """
    expected = in_memory(random, streams)
    asyncio.run(store(fresh_database(embedded.database_url, f"{folder.name}-core"), expected))
    records = records_of(random, streams, PARTITIONS)
    settings = settings_of(embedded, folder, **more)
    found = through_workers(settings, streams, records, folder, expected)
    others = different(expected, found)
    return Round(streams, classes_of(records), found, others, audited(settings))


def settings_of(embedded: Servers, folder: Path, **more: str) -> dict[str, str]:
    """Those of an installation of its own, with a database of its own."""
    policy = folder.with_suffix(".toml")
    policy.write_text(POLICY_TOML)
    return {
        **installation(embedded, folder),
        "DATABASE_URL": fresh_database(embedded.database_url, folder.name),
        "TRUEUP_PREFIX": f"{folder.name}-",
        "TRUEUP_PARTITIONS": str(PARTITIONS),
        "TRUEUP_POLICY": str(policy),
        **more,
    }


def through_workers(
    settings: dict[str, str],
    streams: Sequence[Stream],
    records: Sequence[Arrival],
    folder: Path,
    expected: Mapping[Place, Known],
) -> dict[Place, Known]:
    """What is read once every outcome of the streams has settled, entered and is written."""
    connection = connection_of(settings)
    asyncio.run(create_topics(connection, PARTITIONS))
    workers = [started(settings, folder / str(number)) for number in range(WORKERS)]
    try:
        for worker in workers:
            asyncio.run(worker.wait_until_ready(SECONDS_MAX))
        produce(connection, ((one.topic, one.key, one.value) for one in records))
        last_ms = max(one.settled_at_ms for stream in streams for one in stream.played)
        close_windows(connection, last_ms + 2 * GRACE_MS, PARTITIONS)
        for sql, count in counts_of(streams).items():
            wait_for(count, partial(asked, settings["DATABASE_URL"], sql))
        return written(connection, settings["DATABASE_URL"], expected)
    finally:
        with ThreadPoolExecutor() as pool:
            list(pool.map(WorkerProcess.stop, workers))


def counts_of(streams: Sequence[Stream]) -> dict[str, int]:
    """What each question to Postgres answers at the end; what has a label is in no bin."""
    played = [one for stream in streams for one in stream.played]
    return {SETTLED: len(played), BINS: sum(one.label is None for one in played)}


def written(
    connection: Connection, url: str, expected: Mapping[Place, Known]
) -> dict[Place, Known]:
    """What was told and written; a true difference is still there when all is read again."""
    for _ in range(READINGS_MAX):
        found = asyncio.run(read_back(connection, url))
        if not different(expected, found):
            break
        time.sleep(PAUSE_S)
    return found


def started(settings: dict[str, str], folder: Path) -> WorkerProcess:
    """A worker with a folder of its own."""
    folder.mkdir(parents=True)
    return WorkerProcess(settings | {"TRUEUP_DATA_FOLDER": str(folder)}, folder / "worker.log")


def audited(settings: dict[str, str]) -> dict[str, Any]:
    """What `trueup audit` says."""
    done = subprocess.run(
        [sys.executable, "-m", "trueup", "audit", "--json"],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        check=False,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said

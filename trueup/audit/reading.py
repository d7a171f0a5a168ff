"""Whole logs: every committed record of the topics that the audit reads, as lists."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from agents_topics.connection import Connection

ACTIONS, INTERACTIONS = "agent-actions", "agent-interactions"
JOINED = (ACTIONS, INTERACTIONS)
CONTROL = "control"
LATE_EVENTS, DEAD_LETTERS, OUTCOMES = "late-events", "dead-letters", "outcomes"
FORGOTTEN = "forgotten"
RESOLVER_CHANGELOG, CALIBRATOR_CHANGELOG = "outcome-resolver-changelog", "calibrator-changelog"
# The changelogs come last: what a worker goes on to apply meanwhile shows as a difference, and is
# read again, instead of hiding one.
_READ = (*JOINED, CONTROL, LATE_EVENTS, DEAD_LETTERS, OUTCOMES, FORGOTTEN,
         RESOLVER_CHANGELOG, CALIBRATOR_CHANGELOG)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Log:
    """The committed records of one topic-partition, and its last stable offset."""

    records: Sequence[ConsumerRecord]
    end: int

    @property
    def is_plain(self) -> bool:
        """Whether no offset is left out: so nobody wrote it in transactions."""
        return not self.records or self.end - self.records[0].offset == len(self.records)


EMPTY = Log((), 0)
Logs = Mapping[int, Log]
"""A topic's logs by partition."""


async def read_logs(connection: Connection) -> dict[str, dict[int, Log]]:
    """Every committed record of what the audit reads, by topic and partition."""
    names = {topic: connection.topic(topic) for topic in _READ}
    counts = await _partition_counts(connection, list(names.values()))
    reader = AIOKafkaConsumer(
        **connection.client_options(),
        isolation_level="read_committed",
        enable_auto_commit=False,
        # Nobody waits at a log's end, nor a tenth of a second for each topic that is new to it.
        fetch_max_wait_ms=5,
        retry_backoff_ms=10,
        max_partition_fetch_bytes=8 << 20,
    )
    await reader.start()
    try:
        return {
            topic: {
                partition: await _read(reader, TopicPartition(name, partition))
                for partition in range(counts[name])
            }
            for topic, name in names.items()
        }
    finally:
        await reader.stop()


async def _partition_counts(connection: Connection, names: list[str]) -> dict[str, int]:
    admin = AIOKafkaAdminClient(**connection.client_options())
    await admin.start()
    try:
        described = await admin.describe_topics(names)
        return {topic["topic"]: len(topic["partitions"]) for topic in described}
    finally:
        await admin.close()


async def _read(reader: AIOKafkaConsumer, tp: TopicPartition) -> Log:
    end = (await reader.end_offsets([tp]))[tp]
    if not end:
        return EMPTY
    reader.assign([tp])
    await reader.seek_to_beginning(tp)
    records: list[ConsumerRecord] = []
    while await reader.position(tp) < end:
        fetched = await reader.getmany(tp, timeout_ms=50, max_records=50_000)
        records += (record for record in fetched.get(tp, ()) if record.offset < end)
    return Log(records, end)


def all_records(logs: Logs) -> Iterable[ConsumerRecord]:
    """The records of every partition."""
    return (record for log in logs.values() for record in log.records)


def last_rows(changelog: Logs, kind: bytes) -> list[Any]:
    """The last row under each key of a kind (its first bytes) that was not deleted."""
    rows: dict[tuple[int, bytes], bytes | None] = {}
    for partition, log in changelog.items():
        for record in log.records:
            if record.key.startswith(kind):
                rows[partition, record.key] = record.value
    return [msgspec.msgpack.decode(value) for value in rows.values() if value is not None]

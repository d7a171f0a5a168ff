"""What `trueup doctor --kafka` tries in topics of its own, which it removes."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata

from agents_topics.connection import Connection
from agents_topics.rights import DOCTOR, Operation, Right
from streams.rights import Denied, lacking_by, naming
from trueup.broker_view import DEADLINE_S, administering, reading
from trueup.exits import ending_of
from trueup.findings import Finding, clock, judged

TRY_S_MAX = 30.0
SEGMENT_MS = 1_000
COMPACTION_S_MAX = 45.0
COMPACTION_PAUSE_S = 1.0


async def tries(connection: Connection) -> AsyncIterator[Finding]:
    """Each try, whether or not the one before it went well."""
    for finding in await _within(TRY_S_MAX, "transactions", _try_transactions(connection)):
        yield finding
    seconds_max = COMPACTION_S_MAX + TRY_S_MAX
    for finding in await _within(seconds_max, "compaction", _try_compaction(connection)):
        yield finding


async def _within(
    seconds_max: float, name: str, trying: Coroutine[Any, Any, list[Finding]]
) -> list[Finding]:
    """What a try finds; that it cannot be made, or not in time, is what it finds too."""
    try:
        async with asyncio.timeout(seconds_max):
            return await trying
    except TimeoutError:
        return [Finding(name, "FAIL", f"not done within {seconds_max:.0f} s")]
    except (KafkaError, OSError) as problem:
        said, _ = ending_of(problem) or (str(problem), 0)
        return [Finding(name, "FAIL", said.rstrip("."))]


async def _try_transactions(connection: Connection) -> list[Finding]:
    """One transaction is committed and read back, one aborted and not seen."""
    config = {"message.timestamp.type": "LogAppendTime"}
    async with _own_topic(connection, config) as (admin, name):
        topic = connection.topic(name)
        async with _writing(connection, transactional_id=topic, retry_backoff_ms=10) as producer:
            await producer.begin_transaction()
            before_s = time.time()
            sent = await producer.send_and_wait(topic, b"committed")
            after_s = time.time()
            await producer.send_offsets_to_transaction(
                {TopicPartition(topic, 0): OffsetAndMetadata(1, "")}, topic
            )
            await producer.commit_transaction()
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"aborted")
            await producer.abort_transaction()
        async with reading(connection) as reader:
            _, ends = await reader.edges([(name, 0)])
            seen = [r.value for r in await reader.records((name, 0), 0, ends[name, 0])]
        offsets = await admin.list_consumer_group_offsets(topic)
        kept = [offset.offset for offset in offsets.values()]
    works = seen == [b"committed"] and kept == [1]
    return [
        judged(
            "transactions",
            None if works else f"read back {seen} and offsets {kept}",
            "committed with offsets and read back, aborted and not seen",
            "The cluster needs transactions: transaction.state.log.* and the ACLs of ids.",
        ),
        clock("broker's clock", sent.timestamp / 1000, before_s, after_s),
    ]


async def _try_compaction(connection: Connection) -> list[Finding]:
    """A topic as the changelogs are, in a hurry: old values of a key must go."""
    config = {
        "cleanup.policy": "compact",
        "segment.ms": str(SEGMENT_MS),
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": str(SEGMENT_MS),
        "min.insync.replicas": "1",
    }
    began_s = time.monotonic()
    left = sent = 0
    async with (
        _own_topic(connection, config) as (_, name),
        _writing(connection, enable_idempotence=True) as producer,
        reading(connection) as reader,
    ):
        while time.monotonic() < began_s + COMPACTION_S_MAX:
            # A segment is compacted once a later record has begun the next one.
            await producer.send_and_wait(connection.topic(name), str(sent).encode(), key=b"key")
            sent += 1
            starts, ends = await reader.edges([(name, 0)])
            left = len(await reader.records((name, 0), starts[name, 0], ends[name, 0]))
            if left < sent:
                break
            await asyncio.sleep(COMPACTION_PAUSE_S)
    seconds = time.monotonic() - began_s
    finding = judged(
        "compaction",
        f"{sent} values of one key are all there after {seconds:.0f} s" if left >= sent else None,
        f"old values of a key go: {left} of {sent} were left after {seconds:.0f} s",
        "Is log.cleaner.enable true, and the log cleaner alive? Without it changelogs only grow; "
        "a busy cleaner may also take longer than this check waits.",
    )
    return [finding]


@asynccontextmanager
async def _own_topic(
    connection: Connection, config: Mapping[str, str]
) -> AsyncIterator[tuple[AIOKafkaAdminClient, str]]:
    """An admin client, and a topic of one partition for as long as the block lasts.

    Raises:
        Denied: Its user may not make it, or not use it once it is there; says which right lacks.
    """
    name = f"{DOCTOR}{uuid.uuid4()}"
    topic = connection.topic(name)
    async with administering(connection) as admin:
        made = await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=dict(config))])
        _check("Create", made.topic_errors)
        try:
            if lacks := await lacking_by(admin, connection, _needed_on(topic)):
                raise Denied(lacks)
            yield admin, name
        finally:
            removed = await admin.delete_topics([topic])
            _check("Delete", removed.topic_error_codes)


def _needed_on(topic: str) -> list[Right]:
    """What a try does in its topic, and with a group of the same name."""
    operations: tuple[Operation, ...] = ("Read", "Write", "Delete")
    return [*(Right("topic", topic, o) for o in operations), Right("group", topic, "Read")]


def _check(operation: str, answers: Any) -> None:
    """Nothing where every answer is well.

    Raises:
        KafkaError: One is not; a right that lacks is named.
    """
    with naming(operation):
        for topic, code, *_ in answers:
            if code:
                raise for_code(code)(topic)


@asynccontextmanager
async def _writing(connection: Connection, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **connection.client_options(), request_timeout_ms=int(DEADLINE_S * 1000), **options
    )
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()

"""The Kafka clients of tasks: what is made for one task, and what a worker's tasks share."""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, codec
from aiokafka.admin import AIOKafkaAdminClient

from agents_topics.connection import Connection

TRANSACTION_TIMEOUT_MS = 10_000
BATCH_BYTES = 900 * 1024
CONNECT_PAUSE_S = 0.25
RETRY_MS = 10
"""aiokafka's own tenth of a second would pass for each topic that a client has not asked of yet."""

# Level 1 makes our batches smaller than aiokafka's level 3, in two thirds of its time; a producer
# has no setting for it.
codec.zstd_encode.__defaults__ = (1,)


class Clients(Protocol):
    """Makes clients; none is connected before it is started."""

    def producer(self, transactional_id: str) -> AIOKafkaProducer:
        """Writes in transactions; once started, the last one with this id is fenced."""
        ...

    def reader(self, isolation_level: str = "read_committed") -> AIOKafkaConsumer:
        """Reads records of partitions that it is told; committed ones, if not told otherwise."""
        ...

    def admin(self) -> AIOKafkaAdminClient:
        """Asks for what a group has committed."""
        ...


@dataclass(frozen=True, slots=True)
class KafkaClients:
    """Clients of a broker."""

    connection: Connection

    def producer(self, transactional_id: str) -> AIOKafkaProducer:
        """Writes in transactions; once started, the last one with this id is fenced."""
        producer = AIOKafkaProducer(
            **self.connection.client_options(),
            transactional_id=self.connection.topic(transactional_id),
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=4 << 20,
            # aiokafka's lz4 is level 9: three times this one's CPU for more bytes.
            compression_type="zstd",
            retry_backoff_ms=RETRY_MS,
            request_timeout_ms=10_000,
        )
        _connect_gently(producer.client)
        return producer

    def reader(self, isolation_level: str = "read_committed") -> AIOKafkaConsumer:
        """Reads records of partitions that it is told; committed ones, if not told otherwise."""
        reader = AIOKafkaConsumer(
            **self.connection.client_options(),
            isolation_level=isolation_level,
            enable_auto_commit=False,
            # A changelog that is cut while it is read is read again, never skipped to its end.
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20,
            # Nobody waits at a log's end: what is asked next waits behind that on the same line.
            fetch_max_wait_ms=5,
            retry_backoff_ms=RETRY_MS,
        )
        _connect_gently(reader._client)
        return reader

    def admin(self) -> AIOKafkaAdminClient:
        """Asks for what a group has committed."""
        return AIOKafkaAdminClient(**self.connection.client_options())


def _connect_gently(client: Any) -> None:
    """The short back-off is for a broker's answers; one that is away is not asked at that pace."""
    connect = client._get_conn

    async def get_conn(node_id: Any, **options: Any) -> Any:
        connection = await connect(node_id, **options)
        if connection is None:
            await asyncio.sleep(CONNECT_PAUSE_S)
        return connection

    client._get_conn = get_conn

"""Which of the rights that a command needs its user does not have on this broker.

The broker is asked, so that a command names every right that is lacking before it begins, and not
the first one half way. The rights of transactional ids cannot be asked for; there an error tells.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    KafkaError,
)
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from agents_topics.connection import Connection
from agents_topics.denied import denied_in_words
from agents_topics.rights import Right, lacking_in_words

_TOPIC_DENIED, _GROUP_DENIED = 29, 30
# The numbers of AclOperation: an answer's bit of that number says that the user may.
_BITS = {"Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Describe": 8, "DescribeConfigs": 10}

# Of a topic that its user may not even see the broker tells nothing about these.
_NOT_TOLD = 1 << _BITS["Create"] | 1 << _BITS["DescribeConfigs"]
PAUSE_S = 0.2


class Denied(KafkaError):  # type: ignore[misc]
    """The broker denies something: a sentence says what."""

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def naming(operation: str) -> Iterator[None]:
    """What is denied inside the block was this operation, on the topic that the error names.

    Raises:
        Denied: something was.
    """
    try:
        yield
    except KafkaError as problem:
        told = denied_in_words(problem, operation)
        if told is None:
            raise
        raise Denied(told) from None


class RightsResponse(Response):  # type: ignore[misc]
    """Metadata of version 8: the first whose answer tells a user's own rights."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(
                ("node_id", Int32),
                ("host", String("utf-8")),
                ("port", Int32),
                ("rack", String("utf-8")),
            ),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class RightsRequestStruct(RequestStruct):  # type: ignore[misc]
    """Asks for topics by name, creating none."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = RightsResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class RightsRequest(Request[RightsRequestStruct]):  # type: ignore[misc]
    """What its user may do with topics."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[RightsRequestStruct]) -> RightsRequestStruct:
        """The request of the one version."""
        return request_struct_class(list(self._topics), False, False, True)


class GroupRightsRequestStruct(RequestStruct):  # type: ignore[misc]
    """The driver's own reads the answer as that of an older version."""

    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = DescribeGroupsRequest_v3.SCHEMA


class GroupRightsRequest(Request[GroupRightsRequestStruct]):  # type: ignore[misc]
    """What its user may do with a group."""

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[GroupRightsRequestStruct]) -> Any:
        """The request of the one version."""
        return request_struct_class([self._group], True)


async def lacking(
    connection: Connection, needed: Iterable[Right], patience_s: float = 0.0
) -> str | None:
    """The rights that the connection's user does not have, in one sentence; None if it has all.

    What the broker does not tell, that of a topic that is absent for one, is taken to be there.

    Args:
        connection: Where, and as whom.
        needed: By name; those on a beginning of names cannot be asked for.
        patience_s: How long a cluster that has had no group yet is waited for.

    Raises:
        KafkaError, OSError: the broker is away.
    """
    admin = AIOKafkaAdminClient(**connection.client_options())
    try:
        await admin.start()
        return await lacking_by(admin, connection, needed, patience_s)
    finally:
        await admin.close()


async def lacking_by(
    admin: Any, connection: Connection, needed: Iterable[Right], patience_s: float = 0.0
) -> str | None:
    """As `lacking`, by a client that has started."""
    asked = [right for right in needed if not right.is_prefix]
    may: dict[tuple[str, str], int | None] = {}
    topics = sorted({right.name for right in asked if right.resource == "topic"})
    for name, bits in (await _of_topics(admin, topics)).items():
        may["topic", name] = bits
    for name in sorted({right.name for right in asked if right.resource == "group"}):
        may["group", name] = await _of_group(admin, name, patience_s)
    lacks = [
        right
        for right in asked
        if (operations := may.get((right.resource, right.name))) is not None
        and not operations >> _BITS[right.operation] & 1
    ]
    return lacking_in_words(connection.sasl_username, lacks) if lacks else None


async def _of_topics(admin: Any, names: Sequence[str]) -> dict[str, int]:
    """By topic a bit for each operation; a topic that is absent, or of which a broker does not
    tell, is left out.
    """
    if not names:
        return {}
    answer = (await admin._send_request(RightsRequest(names))).to_object()
    found = {}
    for topic in answer["topics"]:
        if topic["error_code"] == _TOPIC_DENIED:
            found[topic["topic"]] = _NOT_TOLD
        elif topic["error_code"] == 0 and topic["authorized_operations"] >= 0:
            found[topic["topic"]] = topic["authorized_operations"]
    return found


async def _of_group(admin: Any, name: str, patience_s: float) -> int | None:
    """A bit for each operation; None where the cluster does not tell."""
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            node = await admin.find_coordinator(name)
            break
        except GroupAuthorizationFailedError:
            return 0
        except GroupCoordinatorNotAvailableError:
            if time.monotonic() > deadline_s:
                return None
            await asyncio.sleep(PAUSE_S)
    (group,) = (await admin._send_request(GroupRightsRequest(name), node)).to_object()["groups"]
    if group["error_code"] == _GROUP_DENIED:
        return 0
    operations: int = group["authorized_operations"]
    return operations if group["error_code"] == 0 and operations >= 0 else None

"""What `trueup doctor` looks at on the broker; `trueup.doctor_tries` is where it writes."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from agents_topics.connection import Connection
from agents_topics.policy import Policy
from agents_topics.rights import rights_of
from agents_topics.roster import AGENTS
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS, DAY_MS, TOPICS, Topic
from streams.partitioner import partitions_of
from streams.rights import Denied, lacking_by
from streams.settings import Settings
from trueup.broker_view import Reader, administering, reading
from trueup.doctor_tries import tries
from trueup.findings import SKEW_S_MAX, Finding, judged, not_made
from trueup.open_transactions import hanging, open_transactions

INPUTS = (AGENT_ACTIONS, AGENT_INTERACTIONS)
SPARE_MS = 7 * DAY_MS
KEYS_MAX = 500

LOOK_S_MAX = 30.0

_NO: dict[str, list[Any]] = {"partitions": []}
_ALTER = "kafka-configs --alter --entity-type topics --entity-name"


async def kafka(
    connection: Connection, settings: Settings, policy: Policy, may_write: bool
) -> AsyncIterator[Finding]:
    """The checks of the broker, of each topic, and of what producers have written; then the tries.

    Raises:
        KafkaError, OSError: No broker answers, or not in time.
    """
    findings = _looked_at(connection, settings, policy, may_write)
    while True:
        async with asyncio.timeout(LOOK_S_MAX):
            finding = await anext(findings, None)
        if finding is None:
            break
        yield finding
        lacks_rights = finding.name == "rights" and finding.word == "FAIL"
    if may_write and not lacks_rights:
        async for finding in tries(connection):
            yield finding


async def _looked_at(
    connection: Connection, settings: Settings, policy: Policy, may_write: bool
) -> AsyncIterator[Finding]:
    """Nothing more once a right lacks: the broker hides what may not be seen."""
    needed = rights_of("doctor-kafka" if may_write else "doctor", connection.prefix)
    async with administering(connection) as admin:
        brokers = len((await admin.describe_cluster())["brokers"])
        count = "1 broker" if brokers == 1 else f"{brokers} brokers"
        yield judged("broker", None, f"{connection.bootstrap} answers, {count}")
        lacks = await lacking_by(admin, connection, needed)
        yield judged("rights", lacks and lacks.rstrip("."), "all that can be asked for")
        if lacks:
            return
        described = {topic["topic"]: topic for topic in await admin.describe_topics()}
        names = {connection.topic(topic.name): topic for topic in TOPICS}
        configs = await _configs(admin, [name for name in names if name in described])
    for finding in _topics(names, described, configs, settings, _floor_ms(policy, settings)):
        yield finding
    if all(connection.topic(topic.name) in described for topic in INPUTS):
        async with reading(connection) as reader:
            for topic in INPUTS:
                partitions = described[connection.topic(topic.name)]["partitions"]
                yield await _partitioner(reader, topic, len(partitions))
            if not may_write:
                yield await _newest(reader, described, connection)
        read = {topic.name for row in AGENTS for topic in row.reads}
        places = [
            (topic.name, partition)
            for name, topic in names.items()
            if topic.name in read and name in described
            for partition in range(len(described[name]["partitions"]))
        ]
        for finding in hanging(await open_transactions(connection, places), connection.bootstrap):
            yield finding
    if not may_write:
        yield not_made(
            "transactions", "not tried: `trueup doctor --kafka` does, in a topic it removes"
        )


def _topics(
    names: Mapping[str, Topic],
    described: Mapping[str, Any],
    configs: Mapping[str, Mapping[str, str]],
    settings: Settings,
    floor_ms: int,
) -> Iterator[Finding]:
    """Each topic of the contract."""
    for name, topic in names.items():
        if name not in described:
            fix = "`trueup topics create` makes it."
            yield Finding(f"topic {name}", "FAIL", "is missing", fix)
            continue
        partitions = described[name]["partitions"]
        problem, fix = _topic_problem(
            name, topic, partitions, configs[name], settings.partitions, floor_ms
        )
        yield judged(f"topic {name}", problem, _topic_in_words(partitions, topic), fix)


async def _configs(admin: Any, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    return {
        resource[3]: {entry[0]: entry[1] for entry in resource[4]}
        for answer in await admin.describe_configs(resources)
        for resource in answer.resources
    }


def _floor_ms(policy: Policy, settings: Settings) -> int:
    """Nothing that a task may still need is deleted before it has had a week to come back."""
    longest_ms = max(policy.settle_after_ms_of.values(), default=0)
    return longest_ms + settings.grace_ms_max + SPARE_MS


def _topic_problem(
    name: str,
    topic: Topic,
    partitions: list[Any],
    config: Mapping[str, str],
    count: int,
    floor_ms: int,
) -> tuple[str | None, str]:
    """What differs from the contract first, and what to do."""
    if len(partitions) != count:
        said = f"has {len(partitions)} partitions, TRUEUP_PARTITIONS says {count}"
        return said, "Every topic needs the same number, the one that the state was made for."
    wanted = topic.broker_config()
    replicas = min(len(partition["replicas"]) for partition in partitions)
    offline = sum(partition["leader"] < 0 for partition in partitions)
    if offline:
        return f"{offline} partitions have no leader", "Bring the brokers back."
    for key, value in _differences(topic, wanted, config, replicas, floor_ms):
        said = f"{key} is {config.get(key)}, not {value}"
        if key == "retention.ms" and topic.cleanup == "delete":
            said = f"{key} is {config.get(key)}: less than the longest window, grace and a week"
        return said, f"`{_ALTER} {name} --add-config {key}={value}` mends it."
    return None, ""


def _differences(
    topic: Topic,
    wanted: Mapping[str, str],
    config: Mapping[str, str],
    replicas: int,
    floor_ms: int,
) -> Iterator[tuple[str, str]]:
    """Keys that break the contract, with the value they must have."""
    for key in ("cleanup.policy", "message.timestamp.type"):
        if config.get(key) != wanted[key]:
            yield key, wanted[key]
    if int(config.get("max.message.bytes", 0)) < topic.message_bytes_max:
        yield "max.message.bytes", wanted["max.message.bytes"]
    retention_ms = int(config.get("retention.ms", -1))
    if topic.cleanup == "delete" and 0 <= retention_ms < floor_ms:
        yield "retention.ms", wanted["retention.ms"]
    if int(config.get("retention.bytes", -1)) >= 0 and topic.cleanup == "delete":
        yield "retention.bytes", "-1"
    kept_ms = wanted.get("delete.retention.ms")
    if kept_ms and int(config.get("delete.retention.ms", kept_ms)) < int(kept_ms):
        yield "delete.retention.ms", kept_ms
    in_sync = int(config.get("min.insync.replicas", 1))
    if replicas >= topic.replication_recommended and in_sync < topic.in_sync_recommended:
        yield "min.insync.replicas", str(topic.in_sync_recommended)
    if in_sync > replicas:
        yield "min.insync.replicas", str(max(replicas - 1, 1))


def _topic_in_words(partitions: list[Any], topic: Topic) -> str:
    replicas = min(len(partition["replicas"]) for partition in partitions)
    kept = "compacted" if topic.cleanup == "compact" else "kept"
    count = "1 replica" if replicas == 1 else f"{replicas} replicas"
    return f"{len(partitions)} partitions, {count}, {kept}, LogAppendTime"


async def partitioners(connection: Connection, partitions: int) -> list[Finding]:
    """How the producers of each input place their keys.

    Raises:
        Denied: its user may not read them.
        KafkaError, OSError: No broker answers, or not in time.
    """
    async with asyncio.timeout(LOOK_S_MAX):
        async with administering(connection) as admin:
            if lacks := await lacking_by(
                admin, connection, rights_of("topics-check", connection.prefix)
            ):
                raise Denied(lacks)
        async with reading(connection) as reader:
            return [await _partitioner(reader, topic, partitions) for topic in INPUTS]


async def _partitioner(reader: Reader, topic: Topic, count: int) -> Finding:
    """Whether the newest keys lie where murmur2 puts them: else an action misses its reply."""
    places = [(topic.name, partition) for partition in range(count)]
    starts, ends = await reader.edges(places)
    looked, astray = 0, []
    for place in places:
        first = max(starts[place], ends[place] - KEYS_MAX)
        records = await reader.records(place, first, ends[place])
        keys = [record.key for record in records if record.key]
        looked += len(keys)
        found = partitions_of(keys, count)
        astray += [key for key, at in zip(keys, found, strict=True) if at != place[1]]
    name = f"partitioner of {topic.name}"
    if not looked:
        return not_made(name, "there is no record yet")
    problem = f"{len(astray):,} of the newest {looked:,} keys are in a partition of another's"
    return judged(
        name,
        f"{problem}, {astray[0].decode(errors='replace')!r} for one" if astray else None,
        f"murmur2, {looked:,} keys looked at",
        "Set it in the producer: partitioner=murmur2_random for librdkafka and its clients.",
    )


async def _newest(reader: Reader, described: Mapping[str, Any], connection: Connection) -> Finding:
    """Without writing a broker's time is known by what it has stamped: nothing from the future."""
    places = [
        (topic.name, partition)
        for topic in TOPICS
        for partition in range(len(described.get(connection.topic(topic.name), _NO)["partitions"]))
    ]
    starts, ends = await reader.edges(places)
    stamped_ms = [
        record.timestamp
        for place in places
        for record in await reader.records(place, max(starts[place], ends[place] - 2), ends[place])
    ]
    if not stamped_ms:
        return not_made("broker's clock", "there is no record yet")
    age_s = time.time() - max(stamped_ms) / 1000
    return judged(
        "broker's clock",
        f"its newest record is {-age_s:.1f} s ahead of this machine"
        if age_s < -SKEW_S_MAX
        else None,
        f"not ahead of this machine's; its newest record is {max(age_s, 0):.1f} s old",
        "Let both machines keep time, by NTP.",
    )

"""What is known of each stream: read back from Kafka and Postgres, and told by the core in memory
alone.

The core's records are also written to a database of their own, by the publisher's writer, so that
rows are compared with rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec

from agents_topics.calibration import (
    CalibrationAlarm,
    CalibrationMap,
    StreamCalibration,
    ThresholdAdjustment,
)
from agents_topics.connection import Connection
from agents_topics.events import CalibrationUpdate
from agents_topics.topics import CALIBRATION_MAPS, CALIBRATION_UPDATES, THRESHOLD_ADJUSTMENTS
from benchmarks.kafka_streams import Stream
from benchmarks.simulated import Random
from benchmarks.simulated_streams import Place, outcomes_of, told_of
from sinks.postgres.calibration_readings import (
    calibration_alarms,
    calibration_streams,
    threshold_adjustments,
)
from sinks.postgres.calibration_records import family_of
from sinks.postgres.queries import run_bound
from sinks.postgres.row_types import VERSION_COLUMNS
from sinks.postgres.statements import CALIBRATION
from sinks.postgres.writer import PostgresWriter
from trueup.topic_reader import TopicReader

AT_ONCE = 50
MANY = 1_000_000
SUMS = ("n", "sp", "spp", "sy", "spy", "excluded_n", "excluded_sp", "excluded_spp")
STATUSES = ("positive", "negative", "ambiguous", "expired")
BINS = f"""\
SELECT tenant_id::text, action_type, bin_index, record_set, {", ".join(SUMS)},
  {", ".join(f"{status}_count" for status in STATUSES)}, residuals
FROM tenant.calibration_stream_bins WHERE curve = 'settled'"""
ROWS = """\
SELECT tenant_id::text, action_type, (to_jsonb(held) - $1::text[])::text FROM tenant.{} AS held"""
FOLLOWED = {
    ThresholdAdjustment: THRESHOLD_ADJUSTMENTS.name,
    CalibrationMap: CALIBRATION_MAPS.name,
}
"""What agents follow, by stream the last of it."""
_sums_of = attrgetter(*SUMS)
encode = msgspec.json.Encoder().encode

RecordKey = tuple[str, str]
"""A topic and a key of it."""


@dataclass(slots=True)
class Known:
    """Where a stream stands, with its evidence to the last bit; all alarms and adjustments by
    number; and by bin and set of records every sum, count and residual.

    `told` is the last record of every key in the topics of what the calibrator says, of whatever
    kind; `rows` by table all that Postgres has of it.
    """

    standing: StreamCalibration | None = None
    alarms: dict[int, CalibrationAlarm] = field(default_factory=dict)
    adjustments: dict[int, ThresholdAdjustment] = field(default_factory=dict)
    bins: dict[tuple[int, str], tuple[int, ...]] = field(default_factory=dict)
    told: dict[RecordKey, Any] = field(default_factory=dict)
    rows: dict[str, set[str]] = field(default_factory=dict)


def take(known: Mapping[Place, Known], told: Any) -> None:
    """Notes a record with its stream."""
    of = known[place_of(told)]
    if isinstance(told, StreamCalibration):
        of.standing = told
    elif isinstance(told, CalibrationAlarm):
        of.alarms[told.number] = told
    elif isinstance(told, ThresholdAdjustment):
        of.adjustments[told.number] = told
    elif isinstance(told, CalibrationUpdate):
        counts = (told.counts.get(status, 0) for status in STATUSES)
        every = (*_sums_of(told.all), *counts, *told.residuals)
        of.bins[told.bin_index, "all"] = tuple(map(int, every))
        of.bins[told.bin_index, "lead"] = tuple(map(int, _sums_of(told.lead)))


def place_of(told: Any) -> Place:
    """The stream of a record."""
    return Place(told.tenant_id, told.action_type)


def in_memory(random: Random, streams: Sequence[Stream]) -> dict[Place, Known]:
    """What the calibrator's core makes of the same actions, without Kafka, resolver or Postgres."""
    known: dict[Place, Known] = defaultdict(Known)
    for begin in range(0, len(streams), AT_ONCE):
        some = streams[begin : begin + AT_ONCE]
        outcomes = chain.from_iterable(outcomes_of(one.place, one.played) for one in some)
        for key, told in told_of(random, outcomes).items():
            take(known, told)
            known[place_of(told)].told[CALIBRATION_UPDATES.name, key] = told
    for own in known.values():
        own.told |= followed(own.told)
    return dict(known)


def followed(told: Mapping[RecordKey, Any]) -> dict[RecordKey, Any]:
    """What agents follow of a stream: its last threshold adjustment and its last map."""
    last: dict[RecordKey, Any] = {}
    for (_, key), one in sorted(told.items(), key=lambda item: getattr(item[1], "number", 0)):
        if type(one) in FOLLOWED:
            last[FOLLOWED[type(one)], key.rsplit("/", 2)[0]] = one
    return last


async def store(url: str, known: Mapping[Place, Known]) -> None:
    """Writes to an empty database what the core has told, and notes its rows."""
    told = chain.from_iterable(own.told.items() for own in known.values())
    values = [encode(one) for (topic, _), one in told if topic == CALIBRATION_UPDATES.name]
    async with PostgresWriter(url) as writer:
        await writer.write(CALIBRATION_UPDATES.name, 0, 0, len(values), list(enumerate(values)))
    await take_rows(url, known)


async def take_rows(url: str, known: Mapping[Place, Known]) -> None:
    """Notes with each stream its rows in every table that `calibration-updates` is written to."""
    for staged in CALIBRATION:
        answer = await run_bound(url, ROWS.format(staged.table), VERSION_COLUMNS)
        for tenant_id, action_type, row in answer.rows:
            rows = known[Place(tenant_id, action_type)].rows
            rows.setdefault(staged.table, set()).add(row)


async def take_told(connection: Connection, known: Mapping[Place, Known]) -> None:
    """Notes with each stream what a reader of the compacted topics has of it."""
    topics = (CALIBRATION_UPDATES.name, *FOLLOWED.values())
    last: dict[RecordKey, bytes | None] = {}
    async with TopicReader(connection) as reader:
        for topic in topics:
            async for record in reader.records(topic, await reader.spans(topic)):
                last[topic, record.key.decode()] = record.value
    for key, value in last.items():
        if value is not None:
            told = family_of(value).decode(value)
            known[place_of(told)].told[key] = told


async def read_back(connection: Connection, url: str) -> dict[Place, Known]:
    """What the calibrator has told, and what the publisher has written."""
    known: dict[Place, Known] = defaultdict(Known)
    records: Iterable[Any] = chain(
        await calibration_streams(url),
        await calibration_alarms(url, with_closed=True, limit=MANY),
        await threshold_adjustments(url, per_stream=MANY),
    )
    for told in records:
        take(known, told)
    for tenant_id, action_type, index, record_set, *sums, residuals in (
        await run_bound(url, BINS)
    ).rows:
        figures = (value for value in (*sums, *residuals) if value is not None)
        known[Place(tenant_id, action_type)].bins[index, record_set] = tuple(map(int, figures))
    await take_rows(url, known)
    await take_told(connection, known)
    return dict(known)


def different(expected: Mapping[Place, Known], found: Mapping[Place, Known]) -> list[Place]:
    """The streams that are not bit for bit the same, those that only one side has included."""
    places = expected.keys() | found.keys()
    return sorted(place for place in places if expected.get(place) != found.get(place))

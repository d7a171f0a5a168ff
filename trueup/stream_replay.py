"""What is known of streams made anew: the settled rows in Postgres through the calibrator's fold.

What a person decided is no function of outcomes. It is read back from the records of decisions and
takes its turn where it was taken: before the first outcome that settles later.
"""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from agents_topics.calibration import CalibrationAlarm, StreamCalibration, ThresholdAdjustment
from agents_topics.label_rates import LabelRate
from agents_topics.policy import Policy
from agents_topics.topics import CALIBRATION_UPDATES
from sinks.postgres.calibration_records import Told, emptied_of, family_of
from sinks.postgres.settled_rows import SettledRow
from sinks.postgres.statements import ADJUSTMENTS, ALARMS
from tables.calibration_bins import UNIT, millionths_of, y_of
from tables.calibration_map import IDENTITY
from tables.evidence_increments import prepare
from tables.label_rates import count, empty_rate
from tables.stream import Stream
from tables.stream_calibration import Override, Rules, StreamFold
from tables.stream_records import records_of
from tables.stream_sums import Settled
from trueup.topic_reader import TopicReader

Overrides = Mapping[Stream, list[Override]]


@dataclass(slots=True)
class StreamReplay:
    """One stream, from its first outcome to its last."""

    stream: Stream
    rules: Rules
    waiting: deque[Override]
    fold: StreamFold = field(init=False)
    labels: dict[str, LabelRate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fold = StreamFold(self.stream)

    def take(self, row: SettledRow) -> None:
        """Takes an outcome, and before it what was decided before it had settled."""
        while self.waiting and self.waiting[0].at_ms < row.settled_at_ms:
            self._decide(self.waiting.popleft())
        if row.predicted_confidence is None:
            count_label(self.labels, self.stream, row)
            return
        under = row.policy_version, row.created_at_ms
        settled = settled_of(row, self.rules.version_of(*under).segments)
        self.fold.update(settled, self.rules.of(self.stream, *under))

    def _decide(self, override: Override) -> None:
        rule = self.fold.rule or self.rules.of(self.stream, "", override.at_ms)
        self.fold.on_override(override, rule)

    def end(self) -> Iterator[Told]:
        """All that is to be told, once everything has been taken."""
        while self.waiting:
            self._decide(self.waiting.popleft())
        yield from self.labels.values()
        for _, record in records_of(self.fold):
            yield record


async def replayed_streams(
    pieces: AsyncIterator[list[SettledRow]], policy: Policy, overrides: Overrides
) -> AsyncIterator[StreamReplay]:
    """Each stream when its last row was taken; those that have only decisions come last."""
    left = {stream: deque(decided) for stream, decided in overrides.items()}
    rules = Rules(policy)
    open_one: StreamReplay | None = None
    async for piece in pieces:
        prepare(_leads(piece), IDENTITY)
        for row in piece:
            stream = Stream(*row[:5])
            if open_one is None or open_one.stream != stream:
                if open_one is not None:
                    yield open_one
                open_one = StreamReplay(stream, rules, left.pop(stream, deque()))
            open_one.take(row)
    if open_one is not None:
        yield open_one
    for stream, decided in left.items():
        yield StreamReplay(stream, rules, decided)


def _leads(piece: Iterable[SettledRow]) -> Iterator[int]:
    """The confidences that a test will ask for."""
    for row in piece:
        if row.is_lead and row.predicted_confidence is not None:
            yield millionths_of(row.predicted_confidence)


def standing_of(told: Iterable[Told]) -> Iterator[dict[str, Any]]:
    """Where a stream stands, and how many alarms and adjustments there were; nothing of labels."""
    records = list(told)
    alarms = sum(isinstance(one, CalibrationAlarm) for one in records)
    adjustments = sum(isinstance(one, ThresholdAdjustment) for one in records)
    for one in records:
        if isinstance(one, StreamCalibration):
            yield asdict(one) | {"alarms": alarms, "adjustments": adjustments}


async def sums_of(
    pieces: AsyncIterator[list[SettledRow]], segments_of: Mapping[str, Sequence[str]]
) -> list[Told]:
    """What of streams is sums, over some outcomes: bins, days, segments, delays, label rates.

    Args:
        pieces: Outcomes in the order of their streams and settle times.
        segments_of: The dimensions by the digest of a policy's version.
    """
    folds: dict[Stream, StreamFold] = {}
    labels: dict[Stream, dict[str, LabelRate]] = {}
    async for piece in pieces:
        for row in piece:
            stream = Stream(*row[:5])
            if row.predicted_confidence is None:
                count_label(labels.setdefault(stream, {}), stream, row)
                continue
            fold = folds.get(stream)
            if fold is None:
                fold = folds[stream] = StreamFold(stream)
            settled = settled_of(row, segments_of.get(row.policy_version, ()))
            fold.sums.update(settled, stream.window_ms)
    sums = [record for fold in folds.values() for _, record in records_of(fold)]
    return [*sums, *(rate for of_label in labels.values() for rate in of_label.values())]


def count_label(labels: dict[str, LabelRate], stream: Stream, row: SettledRow) -> None:
    """Counts an outcome whose action stated a word."""
    label = row.confidence_label
    assert label is not None, "an outcome has a confidence or a label"
    rate = labels.get(label)
    if rate is None:
        rate = labels[label] = empty_rate(stream, label)
    count(rate, row.status, _y_of(row), row.is_lead, row.settled_at_ms)


def settled_of(row: SettledRow, segments: Sequence[str]) -> Settled:
    """The fold's input."""
    assert row.predicted_confidence is not None
    return Settled(
        row.settled_at_ms,
        row.created_at_ms,
        millionths_of(row.predicted_confidence),
        _y_of(row),
        row.status,
        row.is_lead,
        row.policy_version,
        None if row.decided_by is None else row.resolved_at_ms - row.created_at_ms,
        row.agent_version,
        tuple((name, getattr(row, name) or "") for name in segments),
    )


def _y_of(row: SettledRow) -> int | None:
    return y_of(row.status, row.expired_counts)


async def recorded_decisions(reader: TopicReader) -> list[Told]:
    """Every alarm and adjustment that was told, as it was told last; of a tenant that was
    forgotten those since then.

    Raises:
        EnvironmentProblem: `calibration-updates` is not there.
    """
    topic = CALIBRATION_UPDATES.name
    last: dict[bytes | None, Told] = {}
    async for record in reader.records(topic, await reader.spans(topic)):
        if record.value is not None:
            gone = emptied_of(record.value)
            if gone is not None:
                last = {key: told for key, told in last.items() if told.tenant_id != gone}
            family = family_of(record.value)
            if family.staged in (ALARMS, ADJUSTMENTS):
                last[record.key] = family.decode(record.value)
    return list(last.values())


def decided_by_people(records: Iterable[object]) -> dict[Stream, list[Override]]:
    """What a person decided, out of the records of decisions, in order, by stream."""
    found: dict[Stream, list[tuple[int, int, Override]]] = {}
    for record in records:
        if isinstance(record, ThresholdAdjustment) and record.cause != "evidence":
            override = Override(
                record.at_ms,
                record.cause,
                round(record.new_threshold * UNIT) if record.cause == "set" else None,
                record.reason.partition(" by ")[2],
            )
        elif isinstance(record, CalibrationAlarm) and record.closed_by == "person":
            assert record.closed_at_ms is not None
            override = Override(record.closed_at_ms, "close_alarm")
        else:
            continue
        stream = Stream(*(getattr(record, name) for name in Stream._fields))
        found.setdefault(stream, []).append((override.at_ms, record.number, override))
    return {stream: [one for *_, one in sorted(some)] for stream, some in found.items()}

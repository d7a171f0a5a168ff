"""The calibrator: settled outcomes in; bins, tests, thresholds, maps and trends out.

Receive: settled outcomes, the resolver tasks' promises, and what people decided, which the resolver
passes on from `control`. Decide: one call into `tables.calibrator`. Save and send: one transaction
{calibration updates, threshold adjustments, calibration maps, trend changes, changelog, offsets}.

Updates are coalesced: outcomes enter at most about once a second, together, so that a stream in
motion is told once for all of them. Until then they wait in the changelog like those whose turn has
not come; so nothing that is told is ever behind the state, and a crash loses nothing.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from agents_topics import topics
from agents_topics.calibration import CalibrationMap, StreamTrend, ThresholdAdjustment
from agents_topics.events import (
    CloseAlarm,
    ControlOverride,
    Forgotten,
    Outcome,
    Promise,
    ThresholdOverride,
)
from agents_topics.identifiers import key_of
from agents_topics.policy import Policy
from agents_topics.roster import CALIBRATOR
from streams.changelog import FORMAT, Progress, StateProblem
from streams.partitioner import partitions_of
from streams.transactions import Out
from streams.work import PARTITIONS_ADDED, StatefulWork, Tools, first_queued, row_outs
from tables.calibrator import Calibrator, CalibratorStep
from tables.outcome_record import OutcomeStruct
from tables.stream import stream_of
from tables.stream_records import stream_key
from tables.stream_trends import METRICS

ENTER_S = 1.0
"""What is promised within this time enters together, at the latest with the task's next tick."""
ENTERED_PER_STEP_MAX = 5_000
"""A promise may release any number of outcomes; a transaction must stay below its time-out."""

encode = msgspec.json.Encoder().encode
_decode_outcome = msgspec.json.Decoder(OutcomeStruct).decode
_decode_forgotten = msgspec.json.Decoder(Forgotten).decode
_decode_promise = msgspec.json.Decoder(Promise).decode
_OVERRIDES: dict[str, Callable[[bytes], ControlOverride]] = {
    "threshold": msgspec.json.Decoder(ThresholdOverride).decode,
    "close_alarm": msgspec.json.Decoder(CloseAlarm).decode,
}
_kind_of = msgspec.json.Decoder(dict[str, Any]).decode


class CalibratorWork(StatefulWork):
    """A calibrator task's work."""

    def __init__(self, partition: int, tools: Tools, policy: Policy) -> None:
        super().__init__(CALIBRATOR, partition, tools)
        self._policy = policy
        self.calibrator = self._empty()
        self._enters_at_s = 0.0

    def _empty(self) -> Calibrator:
        return Calibrator(self.tools.partition_count, self._policy)

    def begin(self, progress: Progress | None) -> None:
        """Begins with the promises that the progress names."""
        self.calibrator = self._empty()
        if progress is not None:
            if set(progress.promises) != set(self.calibrator.promises):
                raise StateProblem(
                    f"{self.name}: its state knows {len(progress.promises)} resolver tasks, there "
                    f"are {self.tools.partition_count}: {PARTITIONS_ADDED}"
                )
            self.calibrator.promises = dict(progress.promises)

    def restore_row(self, key: bytes, row: Any) -> None:
        """The core knows its rows."""
        self.calibrator.restore(key, row)

    async def choose(self, queued: Mapping[str, Sequence[ConsumerRecord]]) -> str | None:
        """There is one topic."""
        return first_queued(queued)

    def take(self, topic: str, records: Sequence[ConsumerRecord]) -> None:
        """Records into the core's open step."""
        feed(self.calibrator, records)
        self.offsets[topic] = records[-1].offset + 1

    async def commit(self) -> None:
        """Ends the core's step: what has settled enters, unless some has just now, or waits."""
        if asyncio.get_running_loop().time() < self._enters_at_s:
            self.calibrator.enter(0)
            await self._write(self.calibrator.finish())
        else:
            await self._enter_all()

    async def tick(self, is_drained: bool) -> None:
        """Lets enter what waits though its turn has come."""
        if self.calibrator.is_entering:
            await self._enter_all()

    async def _enter_all(self) -> None:
        is_entering = True
        while is_entering:
            for _ in self.calibrator.entering(ENTERED_PER_STEP_MAX):
                await asyncio.sleep(0)  # others have their turn
            await self._write(self.calibrator.finish())
            is_entering = self.calibrator.is_entering

    async def _write(self, step: CalibratorStep) -> None:
        if step.updates:
            self._enters_at_s = asyncio.get_running_loop().time() + ENTER_S
        names, own = self.tools.names, self.partition
        progress = noted(self.calibrator, self.offsets, self.tools.partition_count, self.begins)
        told = {(names[topic], own): outs for topic, outs in outs_of(step).items()}
        await self.transact(told | {(self.changelog_name, own): row_outs(step.changes, progress)})


def outs_of(step: CalibratorStep) -> dict[str, list[Out]]:
    """The records of a step by topic; adjustments and maps also where agents follow them, and
    there alone each trend that was news, until their stream is gone.
    """
    outs: dict[str, list[Out]] = {topic.name: [] for topic in CALIBRATOR.writes}
    for key, update in step.updates:
        value = encode(update)
        outs[topics.CALIBRATION_UPDATES.name].append(Out(key.encode(), value))
        followed = _FOLLOWED.get(type(update))
        if followed is not None:
            of_stream = key.rsplit("/", 2)[0]
            outs[followed].append(Out(of_stream.encode(), value))
    gone = [Out(stream.encode(), None) for stream in step.gone]
    outs[topics.TREND_CHANGES.name] = [
        *(Out(f"{stream}/{metric}".encode(), None) for stream in step.gone for metric in METRICS),
        *(Out(_trend_key(trend), encode(trend)) for trend in step.trend_changes),
    ]
    return outs | {topic: gone + outs[topic] for topic in _FOLLOWED.values()}


def _trend_key(trend: StreamTrend) -> bytes:
    return f"{stream_key(stream_of(trend))}/{trend.metric}".encode()


_FOLLOWED: dict[type[Any], str] = {
    ThresholdAdjustment: topics.THRESHOLD_ADJUSTMENTS.name,
    CalibrationMap: topics.CALIBRATION_MAPS.name,
}


def feed(calibrator: Calibrator, records: Sequence[ConsumerRecord]) -> None:
    """Records of `settled-outcomes` into a calibrator's open step."""
    for record in records:
        if record.key is None:
            calibrator.on_promise(_decode_promise(record.value))
        elif record.key == topics.OVERRIDE_KEY:
            _take_override(calibrator, record.value)
        elif b"/" not in record.key:
            said = _decode_forgotten(record.value)
            calibrator.on_forgotten(said.tenant_id, said.forget_id, said.partition)
        else:
            _take_settled(calibrator, _decode_outcome(record.value))


def _take_override(calibrator: Calibrator, value: bytes) -> None:
    """What a person decided; what a later release passes on beside is left out."""
    decode = _OVERRIDES.get(_kind_of(value)["kind"])
    if decode is not None:
        calibrator.on_override(decode(value))


def _take_settled(calibrator: Calibrator, outcome: Outcome) -> None:
    """An outcome, unless the task that has said it will yet forget its tenant."""
    forgetting = calibrator.forgetting
    if outcome.tenant_id in forgetting:
        key = key_of(outcome.tenant_id, outcome.conversation_id).encode()
        (source,) = partitions_of([key], len(calibrator.promises))
        if forgetting.is_old(outcome.tenant_id, source):
            return
    calibrator.on_settled(outcome)


def noted(
    calibrator: Calibrator, offsets: Mapping[str, int], partitions: int, begins: int
) -> Progress:
    """Where a calibrator task stands."""
    return Progress(
        offsets=dict(offsets),
        promises=dict(calibrator.promises),
        partitions=partitions,
        begins=begins,
        format=FORMAT,
    )

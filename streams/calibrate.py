"""The calibrator: settled outcomes in, bins out.

Receive: settled outcomes and the resolver tasks' promises. Decide: one call into
`tables.calibrator`. Save and send: one transaction {calibration updates, changelog, offsets}.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from agents_topics import topics
from agents_topics.events import Promise
from agents_topics.roster import CALIBRATOR
from streams.changelog import Progress, StateProblem
from streams.transactions import Out
from streams.work import PARTITIONS_ADDED, StatefulWork, Tools, first_queued, row_outs
from tables.calibrator import Calibrator
from tables.outcome_record import OutcomeStruct

encode = msgspec.json.Encoder().encode
_decode_outcome = msgspec.json.Decoder(OutcomeStruct).decode
_decode_promise = msgspec.json.Decoder(Promise).decode


class CalibratorWork(StatefulWork):
    """A calibrator task's work."""

    def __init__(self, partition: int, tools: Tools) -> None:
        super().__init__(CALIBRATOR, partition, tools)
        self.calibrator = Calibrator(tools.partition_count)

    def begin(self, progress: Progress | None) -> None:
        """Begins with the promises that the progress names."""
        self.calibrator = Calibrator(self.tools.partition_count)
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
        for record in records:
            if record.key is None:
                self.calibrator.on_promise(_decode_promise(record.value))
            else:
                self.calibrator.on_settled(_decode_outcome(record.value))
        self.offsets[topic] = records[-1].offset + 1

    async def commit(self) -> None:
        """Ends the core's step: one transaction, and more where much may enter."""
        await self._write()
        await self._enter_rest()

    async def tick(self, is_drained: bool) -> None:
        """Lets enter what an interrupted step has left; all else enters when promises come."""
        await self._enter_rest()

    async def _enter_rest(self) -> None:
        while self.calibrator.is_entering:
            await self._write()

    async def _write(self) -> None:
        step = self.calibrator.finish()
        names, own = self.tools.names, self.partition
        updates = [Out(key.encode(), encode(update)) for key, update in step.updates]
        progress = Progress(
            offsets=dict(self.offsets),
            promises=dict(self.calibrator.promises),
            partitions=self.tools.partition_count,
        )
        await self.transact(
            {
                (names[topics.CALIBRATION_UPDATES.name], own): updates,
                (self.changelog_name, own): row_outs(step.changes, progress),
            }
        )

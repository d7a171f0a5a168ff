"""The publisher: outcomes and calibration updates into the sink, once.

Receive: batches of both topics. Save: one sink transaction a topic, with the next offset in it, so
that the sink itself says where to go on. A sink that is away makes the task wait, never lose.
"""

import time
from collections.abc import Mapping, Sequence

from aiokafka import ConsumerRecord

from agents_topics.roster import PUBLISHER
from sinks.contract import OffsetMoved, Sink, SinkBusy
from streams.task import Busy
from streams.work import Tools, check_logs, first_queued

ASK_S = 5.0


class PublisherWork:
    """A publisher task's work."""

    was_kept = False

    def __init__(self, partition: int, tools: Tools, sink: Sink) -> None:
        self.partition = partition
        self.tools = tools
        self._sink = sink
        self._offsets: dict[str, int] = {}
        self._ask_at_s = 0.0

    async def open(self) -> dict[str, int]:
        """Asks the sink where to go on."""
        self._offsets = await self._ask()
        name = f"{PUBLISHER.name}-{self.partition}"
        starts = await check_logs(name, self._offsets, self.partition, self.tools, has_state=False)
        return {topic: max(offset, starts[topic]) for topic, offset in self._offsets.items()}

    async def _ask(self) -> dict[str, int]:
        names = [topic.name for topic in PUBLISHER.reads]
        try:
            return dict(await self._sink.next_offsets(self.partition, names))
        except SinkBusy as busy:
            raise Busy(str(busy), busy.retry_after_s) from busy

    async def choose(self, queued: Mapping[str, Sequence[ConsumerRecord]]) -> str | None:
        """Any: rows carry versions."""
        return first_queued(queued)

    async def apply(self, batches: Sequence[tuple[str, Sequence[ConsumerRecord]]]) -> None:
        """Writes all records of a topic in one sink transaction."""
        by_topic: dict[str, list[tuple[int, bytes]]] = {}
        for topic, records in batches:
            held = by_topic.setdefault(topic, [])
            held += [(record.offset, record.value) for record in records]
        for topic, rows in by_topic.items():
            first, following = self._offsets[topic], rows[-1][0] + 1
            try:
                await self._sink.write(topic, self.partition, first, following, rows)
            except SinkBusy as busy:
                raise Busy(str(busy), busy.retry_after_s) from busy
            except OffsetMoved as moved:
                # Another worker was here, or an answer was lost: the sink says where to go on.
                raise Busy(str(moved), 0) from moved
            self._offsets[topic] = following

    async def tick(self, is_drained: bool) -> None:
        """With nothing to write, asks now and then whether the sink is there, for readiness."""
        if is_drained and time.monotonic() >= self._ask_at_s:
            self._ask_at_s = time.monotonic() + ASK_S
            if await self._ask() != self._offsets:
                raise Busy("the sink stands elsewhere than this worker left it", 0)

    async def close(self, is_clean: bool) -> None:
        """Nothing is held."""

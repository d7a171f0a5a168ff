"""The publisher: outcomes and calibration updates into the sink, once.

Receive: batches of both topics. Save: one sink transaction a topic, with the next offset in it, so
that the sink itself says where to go on. A sink that is away makes the task wait, never lose.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from aiokafka import ConsumerRecord

from agents_topics.roster import PUBLISHER
from sinks.contract import OffsetMoved, Sink, SinkBusy
from streams.foretell import Foretelling
from streams.task import Busy
from streams.work import Tools, check_logs, check_partition, first_queued

ASK_S = 5.0
WRITE_RECORDS_MAX = 20_000

Foretell = Callable[[Mapping[str, int], asyncio.Lock], Foretelling]
"""Makes what makes forecasts, of a publisher's offsets and of what it holds while it writes."""


class PublisherWork:
    """A publisher task's work."""

    was_kept = False

    def __init__(
        self, partition: int, tools: Tools, sink: Sink, foretell: Foretell | None = None
    ) -> None:
        self.partition = partition
        self.tools = tools
        self._sink = sink
        self._foretell = foretell
        self._forecasts: Foretelling | None = None
        self._writing = asyncio.Lock()
        self._offsets: dict[str, int] = {}
        self._taken: dict[str, list[tuple[int, bytes]]] = {}
        self._ask_at_s = 0.0

    async def open(self) -> dict[str, int]:
        """Asks the sink where to go on. Forecasts begin anew: another worker may have been here."""
        self._taken.clear()
        name = f"{PUBLISHER.name}-{self.partition}"
        check_partition(name, self.partition, self.tools)
        self._offsets = await self._ask()
        starts = await check_logs(name, self._offsets, self.partition, self.tools, has_state=False)
        if self._foretell:
            self._forecasts = self._foretell(self._offsets, self._writing)
            self._forecasts.start()
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

    def take(self, topic: str, records: Sequence[ConsumerRecord]) -> None:
        """Keeps what is to be written."""
        held = self._taken.setdefault(topic, [])
        held += [(record.offset, record.value) for record in records]

    async def commit(self) -> None:
        """Writes what was taken of each topic, in few transactions, none of them too long."""
        taken, self._taken = self._taken, {}
        for topic, records in taken.items():
            for begin in range(0, len(records), WRITE_RECORDS_MAX):
                await self._write(topic, records[begin : begin + WRITE_RECORDS_MAX])

    async def _write(self, topic: str, records: Sequence[tuple[int, bytes]]) -> None:
        async with self._writing:
            first, following = self._offsets[topic], records[-1][0] + 1
            try:
                await self._sink.write(topic, self.partition, first, following, records)
            except SinkBusy as busy:
                raise Busy(str(busy), busy.retry_after_s) from busy
            except OffsetMoved as moved:
                # Another worker was here, or an answer was lost: the sink says where to go on.
                raise Busy(str(moved), 0) from moved
            self._offsets[topic] = following

    async def tick(self, is_drained: bool) -> None:
        """With nothing to write, asks now and then whether the sink is there, for readiness. Lets
        forecasts be made then, and says what has ended them.
        """
        now_s = asyncio.get_running_loop().time()
        if is_drained and now_s >= self._ask_at_s:
            self._ask_at_s = now_s + ASK_S
            if await self._ask() != self._offsets:
                raise Busy("the sink stands elsewhere than this worker left it", 0)
        if self._forecasts:
            self._forecasts.go_on(is_drained)

    async def close(self, is_clean: bool) -> None:
        """No forecast is made any more; nothing else is held."""
        forecasts, self._forecasts = self._forecasts, None
        if forecasts:
            await forecasts.close()

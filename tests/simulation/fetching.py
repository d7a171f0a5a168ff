"""What tasks take for the batch consumer: it fetches, seeks, pauses, and cuts batches anywhere."""

import asyncio
from dataclasses import dataclass

from aiokafka.errors import IllegalStateError
from faust.types import TP

from agents_topics.roster import AGENTS
from streams.batches import Batch, Position

ROWS = {topic.name: row for row in AGENTS for topic in row.reads}


@dataclass
class Place:
    """Where the fetching of one topic-partition stands."""

    position: int = 0
    fetched: int = 0
    epoch: int = 0
    stable_end: int | None = None
    high_watermark: int | None = None
    is_paused: bool = False
    is_due: bool = False
    handed_s: float = 0.0


class MemoryConsumer:
    """One worker's fetching, handed on to its tasks."""

    def __init__(self, loop, process, kafka, network, random):
        self.tasks = None
        self.next_is = None
        """What becomes of the next batch: `lost` or `twice`."""
        self._loop, self._process = loop, process
        self._kafka, self._network, self._random = kafka, network, random
        self._places = {}

    def assign(self, tps):
        """The group gives these partitions; fetching begins somewhere, until a task seeks."""
        self._places = {tp: Place() for tp in sorted(tps)}
        for tp in self._places:
            self._wake(tp)

    def on_stable(self, log):
        """There may be more to read in a log."""
        self._wake(TP(log.topic, log.partition))

    async def seek_task(self, topic, partition, offset, epoch):
        await asyncio.sleep(self._network.delay_s())
        tp = TP(topic, partition)
        if tp not in self._places:
            raise IllegalStateError(f"{tp} is not assigned")
        place = self._places[tp]
        place.position = place.fetched = offset
        place.epoch = epoch
        self._wake(tp)

    async def position_of(self, topic, partition):
        await asyncio.sleep(self._network.delay_s() / 10)
        place = self._places.get(TP(topic, partition))
        if place is None:
            return Position(None, 0)
        return Position(place.position, place.fetched, place.stable_end, place.high_watermark)

    def pause_partitions(self, tps):
        for tp in tps & self._places.keys():
            self._places[tp].is_paused = True

    def resume_partitions(self, tps):
        for tp in tps & self._places.keys():
            self._places[tp].is_paused = False
            self._wake(tp)

    def _wake(self, tp):
        place = self._places.get(tp)
        if place is not None and not place.is_due and not place.is_paused:
            place.is_due = True
            self._process.context.run(
                self._loop.call_later, self._network.delay_s(), self._fetch, tp, place
            )

    def _fetch(self, tp, place):
        place.is_due = False
        if place.is_paused or self._places.get(tp) is not place:
            return
        log = self._kafka.log(*tp)
        records, place.position = log.read(place.position, 1 + int(self._random.random() ** 2 * 30))
        place.stable_end, place.high_watermark = log.stable_end, log.end
        if records:
            begin, place.fetched = place.fetched, records[-1].offset + 1
            self._hand_over(tp, place, Batch(records, begin, place.epoch))
        if place.position < place.stable_end:
            self._wake(tp)

    def _hand_over(self, tp, place, batch):
        """Batches of a topic-partition keep their order, others come as they like."""
        fate, self.next_is = self.next_is, None
        place.handed_s = max(place.handed_s, self._loop.now_s + self._network.delay_s())
        accept = self.tasks.accept
        for _ in range({"lost": 0, "twice": 2}.get(fate, 1)):
            self._loop.call_later(
                place.handed_s - self._loop.now_s,
                accept, ROWS[tp.topic], tp.topic, tp.partition, batch,
            )  # fmt: skip

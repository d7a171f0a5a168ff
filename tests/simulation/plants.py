"""Bugs to plant: each replaces one object of the engine, the way a careless change would."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from aiokafka.errors import KafkaConnectionError
from msgspec import structs

from agents_topics.roster import RESOLVER
from sinks.memory import MemorySink
from streams.resolve_outcomes import ResolverWork
from streams.tasks import Tasks
from streams.work import StatefulWork
from tests.simulation.clients import MemoryClients
from tests.simulation.world import Plant

_numbers = count()


class PlantedTasks(Tasks):
    """The tasks of a worker whose resolver is another one."""

    def __init__(self, resolver, *args):
        super().__init__(*args)
        self._resolver = resolver

    def _work_of(self, row, partition):
        if row is RESOLVER:
            return self._resolver(partition, self.tools, self._resolver_settings)
        return super()._work_of(row, partition)


@dataclass(frozen=True)
class UnfencedClients(MemoryClients):
    """Each producer has a transactional id of its own, so that nobody is fenced."""

    def producer(self, transactional_id):
        return super().producer(f"{transactional_id}/{next(_numbers)}")


class OffsetsForgotten(ResolverWork):
    """What was applied is noted a step too late."""

    def _progress(self):
        progress = super()._progress()
        noted, self.noted = getattr(self, "noted", None), progress.offsets
        return replace(progress, offsets=noted or dict.fromkeys(progress.offsets, 0))


class OffsetsOutside(ResolverWork):
    """The group's offsets are no part of the transaction."""

    async def transact(self, outputs):
        offsets, self.offsets = self.offsets, {}
        try:
            return await super().transact(outputs)
        finally:
            self.offsets = offsets


class StateAdopted(ResolverWork):
    """The step's state stands though its transaction may not."""

    async def open(self):
        kept = getattr(self, "adopted", None)
        offsets = await super().open()
        if kept is None or self.was_kept:
            return offsets
        self.resolver, self.offsets, self.adopted = *kept, None
        return dict(self.offsets)

    async def close(self, is_clean):
        if not is_clean and self.offsets:
            self.adopted = self.resolver, dict(self.offsets)
        await StatefulWork.close(self, is_clean)


class LostTakenForAborted(ResolverWork):
    """A step whose commit was not answered is written once more, as if it could not stand."""

    async def transact(self, outputs):
        try:
            return await super().transact(outputs)
        except KafkaConnectionError:
            await self._producer.open()
            return await super().transact(outputs)


class WaitingDropped(ResolverWork):
    """Interactions that wait for what they answer are not restored."""

    def restore_row(self, key, row):
        if not key.startswith(b"i/"):
            super().restore_row(key, row)


class CountedAtResolution(ResolverWork):
    """What is resolved counts at once, and not when it has settled."""

    async def _write(self, step):
        resolved = self.__dict__.setdefault("resolved", set())
        for index, outcome in enumerate(step.outcomes):
            is_first = outcome.status != "pending" and outcome.id not in resolved
            step.outcomes[index] = structs.replace(outcome, is_settled=is_first)
            if is_first:
                resolved.add(outcome.id)
        return await super()._write(step)


class LateForgotten(ResolverWork):
    """The late ledger is not written."""

    async def _write(self, step):
        step.late.clear()
        return await super()._write(step)


class ForgetfulSink(MemorySink):
    """A sink that takes a batch wherever it begins."""

    async def write(self, topic, partition, first_offset, next_offset, records):
        self.offsets[topic, partition] = first_offset
        await super().write(topic, partition, first_offset, next_offset, records)


def _planted(resolver):
    return Plant(tasks=partial(PlantedTasks, resolver))


PLANTS = {
    "skip the fence": Plant(clients=lambda world: UnfencedClients(world.kafka, world.network)),
    "forget the offsets in the transaction": _planted(OffsetsForgotten),
    "leave the group's offsets out of the transaction": _planted(OffsetsOutside),
    "adopt the state before the commit": _planted(StateAdopted),
    "take a commit without an answer for aborted": _planted(LostTakenForAborted),
    "drop the waiting interactions": _planted(WaitingDropped),
    "count at the resolution": _planted(CountedAtResolution),
    "forget the late ledger": _planted(LateForgotten),
    "write wherever a batch begins": Plant(sink=ForgetfulSink),
}

"""The way between processes and what they ask: it takes time, and answers may be lost.

Every question has three moments: it is sent, it takes effect, it is answered. They are counted over
the whole run, by kind (`write` in transactions, `store`, `read`), and a fault is planned for one of
them: that is how a crash comes before, inside or after anything that a process does.
"""

import asyncio
from collections import Counter

from aiokafka.errors import KafkaConnectionError

from tests.simulation.loop import PROCESS

TIMEOUT_S = 30.0


class Network:
    """Asks on behalf of the process that runs."""

    def __init__(self, loop, random, is_calm):
        self.moments = Counter()
        self.is_down = False
        self.on_moment = None
        """Called with a moment's kind, number, process and stage; tells how the question ends."""
        self._loop, self._random, self._is_calm = loop, random, is_calm

    def delay_s(self):
        """Mostly little, now and then much."""
        if self._is_calm:
            return 0.002
        draw = self._random.random()
        if draw < 0.93:
            return 0.0005 + draw * 0.004
        return self._random.random() * (0.2 if draw < 0.99 else 1.5)

    async def ask(self, kind, effect, *args):
        """What `effect` returns or raises.

        Raises:
            KafkaConnectionError: the answer was lost; whether it took effect is unknown.
        """
        if self.is_down:
            raise KafkaConnectionError("the run is over")
        process, answer = PROCESS.get(), self._loop.create_future()
        end = self._end(kind, process, answer, "sent")
        if end in (None, "late"):
            delay_s = self.delay_s() + (end == "late") * 5 * self._random.random()
            self._loop.at_broker(delay_s, self._take_effect, kind, process, answer, effect, args)
        return await answer

    def _take_effect(self, kind, process, answer, effect, args):
        result, problem = None, None
        try:
            result = effect(*args)
        except Exception as refused:
            problem = refused
        if self._end(kind, process, answer, "done") is None:
            self._loop.at_broker(
                self.delay_s(), self._answer, kind, process, answer, result, problem
            )

    def _answer(self, kind, process, answer, result, problem):
        if self._end(kind, process, answer, "answered") is not None or answer.done():
            return
        if problem is None:
            answer.set_result(result)
        else:
            answer.set_exception(problem)

    def _end(self, kind, process, answer, stage):
        """How the question ends at this stage, if it does: what waits for its answer is told.

        `lost`: at once. `silence`: after a long while. `late`: at once, but it takes effect yet.
        """
        self.moments[kind] += 1
        end = self.on_moment and self.on_moment(kind, self.moments[kind], process, stage)
        if end:
            delay_s = TIMEOUT_S if end == "silence" else 0
            self._loop.at_broker(delay_s, self._lose, answer, stage)
        return end

    def _lose(self, answer, stage):
        if not answer.done():
            answer.set_exception(KafkaConnectionError(f"lost when it was {stage}"))


async def until(network, kind, effect, *args):
    """Asks again for as long as the answer is to come again."""
    while (answer := await network.ask(kind, effect, *args)) is None:
        await asyncio.sleep(0.01)
    return answer

"""What goes wrong, planned: each fault strikes at a moment of the network, whoever asks then."""

from dataclasses import dataclass

MOMENTS = {"write": 700, "store": 70, "read": 500}
"""About as many of each kind as a run has."""

KINDS = (
    ("kill", 5), ("stop", 5), ("lost", 6), ("silence", 3), ("late", 10), ("rebalance", 3),
    ("join", 2), ("leave", 2), ("batch_lost", 2), ("batch_twice", 2), ("store_away", 2),
    ("compact", 1), ("offsets_gone", 1), ("broker_clock", 1),
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Fault:
    """At a moment of the network; `size` in [0, 1) says how much, where that can differ."""

    question: str
    moment: int
    kind: str
    size: float

    def __str__(self):
        return f"{self.kind} ({self.size:.2f}) at {self.question} {self.moment}"


def make_faults(random):
    """Some faults; none in a few runs."""
    kinds, weights = zip(*KINDS, strict=True)
    count = random.choice((0, 2, 4, 8, 16))
    drawn = random.choices(kinds, weights, k=count)
    questions = random.choices(tuple(MOMENTS), (5, 4, 3), k=count)
    return sorted(
        Fault(question, random.randrange(1, MOMENTS[question]), kind, random.random())
        for question, kind in zip(questions, drawn, strict=True)
    )


class Striking:
    """Strikes each fault at its moment."""

    def __init__(self, world, faults):
        self._world = world
        self._due = {(fault.question, fault.moment): fault for fault in faults}

    def __call__(self, question, moment, process, stage):
        """How the question of this moment ends, if it must."""
        fault = self._due.pop((question, moment), None)
        if fault is None:
            return None
        self._world.tell(f"fault: {fault}, {process.name}'s, when it was {stage}")
        if fault.kind in ("lost", "silence", "late"):
            return fault.kind
        getattr(self, f"_{fault.kind}")(fault, process)
        return None

    def _kill(self, fault, process):
        process.is_killed = True
        self._world.replace(process.name, 0.1 + fault.size * 8)

    def _stop(self, fault, process):
        process.is_stopped = True
        self._world.loop.at_broker(0.5 + fault.size * 25, self._world.go_on, process)

    def _rebalance(self, _, __):
        self._world.group.rebalance()

    def _join(self, _, __):
        self._world.start_worker()

    def _leave(self, fault, process):
        worker = self._world.workers.get(process.name)
        if worker and not worker.is_leaving:
            worker.is_leaving = True
            self._world.replace(process.name, 0.1 + fault.size * 5)

    def _batch_lost(self, _, process):
        self._next_batch_is("lost", process)

    def _batch_twice(self, _, process):
        self._next_batch_is("twice", process)

    def _next_batch_is(self, fate, process):
        worker = self._world.workers.get(process.name)
        if worker:
            worker.consumer.next_is = fate

    def _store_away(self, fault, _):
        self._world.store.away_until_s = self._world.loop.now_s + fault.size * 10

    def _compact(self, _, __):
        for (topic, _), log in self._world.kafka.logs.items():
            if topic.endswith("-changelog"):
                log.compact()

    def _offsets_gone(self, _, __):
        self._world.kafka.group_offsets.clear()
        self._world.forgot_offsets = True

    def _broker_clock(self, fault, _):
        self._world.broker_ahead_ms += int(fault.size * 60_000)

"""One run: workers, broker, group and store of one seed, the workload sent, everything drained."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from random import Random

import structlog

from agents_topics.events import to_timestamp
from agents_topics.roster import CALIBRATOR, RESOLVER
from sinks.memory import MemorySink
from streams.changelog import PROGRESS_KEY, decode, progress_of
from streams.tasks import Tasks
from tables.waiting_outcomes import Waiting
from tests.simulation.clients import MemoryClients
from tests.simulation.faults import Striking, make_faults
from tests.simulation.group import Group
from tests.simulation.kafka import Kafka, Transaction
from tests.simulation.loop import VirtualLoop, end
from tests.simulation.network import Network
from tests.simulation.stories import make_workload
from tests.simulation.workers import Store, Worker
from tests.simulation.workload import BROKER_START, CONTROL, HOUR, PARTITIONS, POLICY

GRACE = {"agent-actions": HOUR, "agent-interactions": HOUR}
IDLE_AFTER_MS = 10_000
DRAIN_S_MAX = 120
QUIET_S = 3
FAILED = ("task_failed", "task_refused")


@dataclass(frozen=True)
class Plan:
    """All that a run depends on."""

    seed: int
    workload: object
    faults: tuple
    is_calm: bool = False
    """Whether the network always takes as long."""


def make_plan(seed):
    """What a seed stands for."""
    random = Random(seed)
    return Plan(seed, make_workload(random), tuple(make_faults(random)))


@dataclass(frozen=True)
class Plant:
    """What of the engine a run takes; a planted bug replaces one of these."""

    tasks: object = Tasks
    clients: object = lambda world: MemoryClients(world.kafka, world.network)
    sink: object = MemorySink


SOUND = Plant()


@dataclass
class World:
    """What there is while a seed runs, and what is left of it to judge."""

    plan: Plan
    plant: Plant = SOUND
    policy = POLICY
    grace_ms = GRACE
    idle_after_ms = IDLE_AFTER_MS
    partition_count = PARTITIONS
    problems: list = field(default_factory=list)
    told: list = field(default_factory=list)
    places: dict = field(default_factory=dict)
    broker_ahead_ms: int = 0
    forgot_offsets: bool = False
    is_over: bool = False

    def __post_init__(self):
        self.random = Random(f"run {self.plan.seed}")
        self.step_records_max = self.random.choice((3, 20, 1_000))
        self._skews_ms = {}
        self.loop = VirtualLoop()
        self.network = Network(self.loop, self.random, self.plan.is_calm)
        self.network.on_moment = Striking(self, self.plan.faults)
        self.kafka = Kafka(self.broker_ms, self._later, self._on_stable, self.tell)
        self.group = Group(self.loop, self.random, PARTITIONS)
        self.sink = self.plant.sink()
        self.store = Store(self.loop, self.network, self.sink)
        self.workers, self.gone, self._names = {}, [], 0

    def run(self):
        """Everything is sent and applied, or the time for it is over; returns itself."""
        with self._listening():
            self.loop.run(self._play())
            self.network.is_down = True
            end(self.loop, [worker.process for worker in [*self.workers.values(), *self.gone]])
        return self

    # ---- what there is -------------------------------------------------------------------------

    def tell(self, line):
        """One line of the run's story."""
        if not self.is_over:
            self.told.append(f"{self.loop.now_s - 1_000:9.3f} s  {line}")

    def broker_ms(self, topic, partition):
        """The clock of a log's leader; leaders differ by less than a second."""
        skew_ms = self._skews_ms.setdefault((topic, partition), self.random.randrange(400))
        now_ms = int((self.loop.now_s - 1_000) * 1000)
        return BROKER_START + now_ms + self.broker_ahead_ms + skew_ms

    def start_worker(self):
        """One more worker."""
        self._names += 1
        name = f"w{self._names}"
        self.workers[name] = Worker(name, self, self.random.uniform(-900, 3_600))

    def replace(self, name, after_s):
        """A worker is gone, or will be; another one comes after a while."""
        if name not in self.workers:
            return
        self.gone.append(self.workers.pop(name))
        self.loop.at_broker(after_s, self.start_worker)

    def go_on(self, process):
        """A stopped worker goes on."""
        if process.is_stopped and not process.is_killed:
            self.tell(f"{process.name} goes on")
            self.loop.go_on(process)

    def _later(self, callback, *args, seconds=None):
        self.loop.at_broker(self.network.delay_s() if seconds is None else seconds, callback, *args)

    def _on_stable(self, log):
        for worker in [*self.workers.values(), *self.gone]:
            worker.consumer.on_stable(log)

    # ---- the play ------------------------------------------------------------------------------

    async def _play(self):
        for _ in range(self.random.choice((1, 2, 3))):
            self.start_worker()
        workload = self.plan.workload
        for phase in range(len(workload.phases)):
            if phase in workload.jumps:
                await self._drained()
                self._send_clocks(workload.ends_before_ms(phase))
                await self._drained()
            logs = workload.sent_in(phase)
            await asyncio.gather(*(self._send(at, records) for at, records in logs.items()))
        self._send_clocks(workload.ends_before_ms(len(workload.phases)))
        await self._drained()
        await asyncio.sleep(QUIET_S)
        self.network.on_moment = None
        for worker in list(self.workers.values()):
            self.go_on(worker.process)
        await self._drained()
        await asyncio.sleep(QUIET_S)
        while not self.kafka.is_quiet:
            await asyncio.sleep(0.001)
        self.is_over = True

    async def _send(self, at, records):
        for record in records:
            await asyncio.sleep(self.network.delay_s() * 5)
            transaction = Transaction("a producer's") if record.transaction else None
            out = (record.key, record.value, ())
            offset, _ = self.kafka.append(*at, [out], transaction)
            self.places[*at, offset] = record
            self.tell(f"sent {at[0]}[{at[1]}]@{offset} {record}")
            if transaction:
                transaction.is_committed = record.transaction == "committed"
                # Some stay open while clock records come, and for longer than makes a silence.
                open_s = self.random.choice((0.01, 1, 3 * IDLE_AFTER_MS / 1000))
                self._later(self.kafka.mark, self.kafka.log(*at), transaction, seconds=open_s)

    def _send_clocks(self, until_ms):
        until = to_timestamp(until_ms)
        value = f'{{"kind": "clock", "event_id": "t{until_ms}", "until": "{until}"}}'.encode()
        for partition in range(PARTITIONS):
            self.kafka.append(CONTROL, partition, [(None, value, ())])

    # ---- draining ------------------------------------------------------------------------------

    async def _drained(self):
        """Everything that is in the logs now has gone all the way into the store."""
        deadline_s = self.loop.now_s + DRAIN_S_MAX
        while not self._is_drained():
            if self.loop.now_s > deadline_s:
                self.problems.append("not drained: " + "; ".join(self._states()))
                return
            await asyncio.sleep(0.25)

    def _is_drained(self):
        for row in (RESOLVER, CALIBRATOR):
            for partition in range(PARTITIONS):
                progress = self.progress(row, partition)
                for topic in row.reads:
                    log = self.kafka.log(topic.name, partition)
                    if log.open or self._unapplied(log, progress, topic.name):
                        return False
        promised = min(self._until(RESOLVER, p) for p in range(PARTITIONS))
        heard = [min(self.progress(CALIBRATOR, p).promises.values()) for p in range(PARTITIONS)]
        if promised > min(heard) or any(map(self._is_entering, range(PARTITIONS), heard)):
            return False
        return all(
            not log.read(self.sink.offsets.get(at, 0))[0]
            for at, log in self.kafka.logs.items()
            if at[0] in ("outcomes", "calibration-updates")
        )

    def _unapplied(self, log, progress, topic):
        return progress is None or log.read(progress.offsets.get(topic, 0), 1)[0]

    def _is_entering(self, partition, promised_ms):
        """Whether a calibrator task holds an outcome whose turn has come."""
        rows = {}
        for record in self._committed(CALIBRATOR, partition):
            if record.key.startswith(b"h/"):
                rows.setdefault(record.key, record.value)
        waiting = [Waiting(*decode(value)) for value in rows.values() if value]
        return any(outcome.settled_at_ms <= promised_ms for outcome in waiting)

    def _until(self, row, partition):
        """What a resolver task has settled up to."""
        times = self.progress(row, partition).times
        return min(max(log, pushed) - GRACE[topic] for topic, (log, pushed, *_) in times.items())

    def progress(self, row, partition):
        """The last progress that a task has committed; None where there is none."""
        for record in self._committed(row, partition):
            if record.key == PROGRESS_KEY:
                return progress_of(record.value, row.name)
        return None

    def _committed(self, row, partition):
        """What a task has committed to its changelog, the last one first."""
        log = self.kafka.log(row.changelog.name, partition)
        for entry in reversed(log.entries[: log.stable_end]):
            record = entry and entry.transaction.is_committed and entry.record
            if record and record != "marker":
                yield record

    def _states(self):
        """Of every worker's tasks, what they are at."""
        for name, worker in self.workers.items():
            for task in worker.tasks:
                yield f"{name} {task.name} {task.state} {task.problem or ''} {task.next_offsets()}"

    # ---- what the engine logs ------------------------------------------------------------------

    @contextlib.contextmanager
    def _listening(self):
        """What the engine logs is part of the story; that a task has failed is a problem."""
        before = structlog.get_config()
        structlog.configure(processors=[self._hear], cache_logger_on_first_use=False)
        try:
            yield
        finally:
            structlog.configure(**before)

    def _hear(self, _, __, event):
        what = event.pop("event")
        line = f"{what} {' '.join(f'{k}={v}' for k, v in event.items())}"
        if what in FAILED and not self.is_over:
            self.problems.append(line)
        self.tell(line)
        raise structlog.DropEvent

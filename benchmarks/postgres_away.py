"""What a worker does while Postgres is away under load, and how fast it catches up afterwards.

    .venv/bin/python -m benchmarks.postgres_away [events per second]

The demo's records are sent at a steady pace, to the end, to one worker. Postgres is killed with -9
and started a minute later; then it stands still for a minute (SIGSTOP), so that writes wait for an
answer. What the publisher has to apply are the records of `outcomes` and `calibration-updates`;
what it has applied, Postgres' own offsets say. It has caught up when it is no further behind than
one second's records. At the end all is settled as planted and the audit is exact.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from agents_topics.roster import CALIBRATOR, PUBLISHER, RESOLVER
from benchmarks.recording import circumstances, record
from sinks.postgres.queries import run_sql
from streams.task import PAUSE_ABOVE
from tests.faults.runs import Gauge, Run
from trueup.embedded.postgres import EmbeddedPostgres
from trueup.embedded.servers import servers
from trueup.emit import Sender

PER_SECOND = 1_000
AT_ONCE = 50
WARM_S, BEFORE_S, AWAY_S, CATCH_UP_S_MAX = 20, 20, 60, 120
LOOK_S = 0.5
RECORDS_PER_ACTION = 2.2
SECONDS = WARM_S + 2 * (BEFORE_S + AWAY_S + 40)
SETTLE_S_MAX = 300
APPLIED = "SELECT coalesce(sum(next_offset), 0)::bigint FROM tenant.sink_offsets"


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at a moment; counts are of records, over all partitions.

    `written` is by topic of the publisher's. `queued` is what the publisher holds, `behind` how far
    the others are, by Faust agent.
    """

    at_s: float
    sent: int
    written: dict[str, int]
    applied: int
    queued: int
    behind: dict[str, int]
    rss_mb: float


class Watch:
    """Looks at a run again and again."""

    def __init__(self, it: Run, gauge: Gauge) -> None:
        self.it = it
        self._gauge = gauge
        self._process = psutil.Process(it.workers["a"].process.pid)
        self._applied = 0

    async def look(self, *, is_there: bool = True) -> Sample:
        """What there is to see now; Postgres is asked only where it is there."""
        if is_there:
            self._applied = (await run_sql(self.it.url, APPLIED)).rows[0][0]
        tasks = (await self.it.status("a"))["tasks"]
        written = {topic.name: await self._written(topic.name) for topic in PUBLISHER.reads}
        return Sample(
            at_s=time.monotonic(),
            sent=self.it.sent,
            written=written,
            applied=self._applied,
            queued=_sum_of("queued", PUBLISHER.name, tasks),
            behind={row.name: _sum_of("lag", row.name, tasks) for row in (RESOLVER, CALIBRATOR)},
            rss_mb=self._process.memory_info().rss / 2**20,
        )

    async def _written(self, topic: str) -> int:
        return sum(
            (await self._gauge.committed.end_offsets(self._gauge.partitions(topic))).values()
        )

    async def look_for(self, seconds: float, *, is_there: bool = True) -> list[Sample]:
        """What was seen in so many seconds."""
        samples, until_s = [await self.look(is_there=is_there)], time.monotonic() + seconds
        while time.monotonic() < until_s:
            await asyncio.sleep(LOOK_S)
            samples.append(await self.look(is_there=is_there))
        return samples

    async def look_until_caught_up(self, records: float) -> list[Sample]:
        """What was seen until no more than so many records are left to apply.

        Raises:
            TimeoutError: There were more for too long.
        """
        samples = [await self.look()]
        async with asyncio.timeout(CATCH_UP_S_MAX):
            while sum(samples[-1].written.values()) - samples[-1].applied > records:
                await asyncio.sleep(LOOK_S)
                samples.append(await self.look())
        return samples


def _sum_of(name: str, agent: str, tasks: Sequence[dict[str, Any]]) -> int:
    return sum(sum(task[name].values()) for task in tasks if task["agent"] == agent)


async def feed(it: Run, per_second: float, is_over: asyncio.Event) -> None:
    """Every record is sent, at a steady pace; the rest at once when it is over."""
    began_s = time.monotonic()
    async with Sender(it.connection) as sender:
        for one in it.played.records:
            await sender.send(one.topic, one.key, one.value)
            it.sent += 1
            if it.sent % AT_ONCE == 0 and not is_over.is_set():
                await asyncio.sleep(max(began_s + it.sent / per_second - time.monotonic(), 0))


# ---- the two ways to be away -------------------------------------------------------------------


def stand_still(postgres: EmbeddedPostgres) -> None:
    """Whoever asks Postgres gets no answer, and no refusal."""
    _signal_all(postgres, signal.SIGSTOP)


def go_on(postgres: EmbeddedPostgres) -> None:
    """Postgres answers again."""
    _signal_all(postgres, signal.SIGCONT)


def _signal_all(postgres: EmbeddedPostgres, number: signal.Signals) -> None:
    first = psutil.Process(postgres.pid)
    for process in (first, *first.children(recursive=True)):
        process.send_signal(number)


Blow = Callable[[EmbeddedPostgres], None]
WAYS: dict[str, tuple[Blow, Blow]] = {
    "kill -9": (EmbeddedPostgres.kill, EmbeddedPostgres.start),
    "SIGSTOP": (stand_still, go_on),
}


# ---- what is measured --------------------------------------------------------------------------


async def absence(watch: Watch, postgres: EmbeddedPostgres, way: str) -> dict[str, Any]:
    """Postgres is there, away, back: what was seen of each."""
    end, begin = WAYS[way]
    before = await watch.look_for(BEFORE_S)
    await asyncio.to_thread(end, postgres)
    away = await watch.look_for(AWAY_S, is_there=False)
    await asyncio.to_thread(begin, postgres)
    rate = to_apply_per_s(away)
    after = await watch.look_until_caught_up(rate)
    applied_per_s = (after[-1].applied - after[0].applied) / _seconds(after)
    return {
        "way": way,
        "before": told_of(before),
        "away": told_of(away),
        "catching_up": {
            **told_of(after),
            "records_behind_at_first": sum(after[0].written.values()) - after[0].applied,
            "seconds": round(_seconds(after), 1),
            "applied_per_s": round(applied_per_s),
            "applied_to_input_while_away": round(applied_per_s / rate, 1),
        },
    }


def told_of(samples: Sequence[Sample]) -> dict[str, Any]:
    """Rates between the first and the last sample, and the most that was seen in between."""
    first, last, seconds = samples[0], samples[-1], _seconds(samples)
    return {
        "events_sent_per_s": round((last.sent - first.sent) / seconds),
        "written_per_s": {
            topic: round((last.written[topic] - first.written[topic]) / seconds)
            for topic in first.written
        },
        "behind_max": {
            agent: max(sample.behind[agent] for sample in samples) for agent in first.behind
        },
        "publisher_queued_max": max(sample.queued for sample in samples),
        "rss_mb": [round(pick(s.rss_mb for s in samples)) for pick in (min, max)],
    }


def to_apply_per_s(samples: Sequence[Sample]) -> float:
    """How many records a second the publisher is given."""
    first, last = sum(samples[0].written.values()), sum(samples[-1].written.values())
    return (last - first) / _seconds(samples)


def _seconds(samples: Sequence[Sample]) -> float:
    return max(samples[-1].at_s - samples[0].at_s, LOOK_S)


async def measure(it: Run, postgres: EmbeddedPostgres, per_second: int) -> dict[str, Any]:
    """Both absences under one load, and the verdict over all of it.

    Raises:
        AssertionError: Something is not as planted, or the audit is not exact.
    """
    await it.prepare()
    it.start("a")
    await it.workers["a"].wait_until_ready()
    is_over = asyncio.Event()
    async with Gauge(it.connection) as gauge, asyncio.TaskGroup() as group:
        load = group.create_task(feed(it, per_second, is_over))
        watch = Watch(it, gauge)
        await asyncio.sleep(WARM_S)
        absences = [await absence(watch, postgres, way) for way in WAYS]
        load_lasted = not load.done()
        is_over.set()
    print(json.dumps(absences, indent=2), flush=True)
    await it.settle(SETTLE_S_MAX)
    await asyncio.to_thread(it.stop)  # while the audit reads, silence lets more actions settle
    await it.check()
    return {
        "absences": absences,
        "load_lasted": load_lasted,
        "pause_above": PAUSE_ABOVE,
        "dead_letters": it.played.expected.dead_letters.total(),
        "settled": it.played.expected.by_status.total(),
        "audit": "exact; dead letters and outcomes as planted",
        "load_average_1m": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Runs once and writes a result."""
    per_second = int(sys.argv[1]) if len(sys.argv) > 1 else PER_SECOND
    actions = int(per_second * SECONDS / RECORDS_PER_ACTION)
    with servers() as embedded, tempfile.TemporaryDirectory() as folder:
        assert embedded.postgres, "DATABASE_URL names a Postgres: this benchmark kills its own"
        it = Run(embedded.kafka_bootstrap, embedded.database_url, Path(folder), 1, actions)
        try:
            measured = asyncio.run(measure(it, embedded.postgres, per_second))
        finally:
            it.stop()
    command = f"postgres_away {per_second}"
    record("postgres_away", {**circumstances(command), "partitions": it.partitions, **measured})


if __name__ == "__main__":
    main()

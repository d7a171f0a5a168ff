"""`make soak SEED=… KILLS=…`: two workers under steady load, killed over and over, then the audit.

Every random choice is the seed's; what the processes do meanwhile is theirs, so the same seed
strikes the same blows at other moments of their work. Every blow is a row in a file under
docs/reliability, whatever became of the run. Ends with 0 where all is exact, else with 1.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from aiokafka.errors import KafkaError

from tests.faults.blows import (
    CRASH,
    KAFKA,
    KILL,
    SERVER_KILL,
    STAND,
    STOP,
    WORKERS,
    Blow,
    blows_of,
)
from tests.faults.crashing_worker import CRASHING, arm, crashed, disarm
from tests.faults.runs import Gauge, Run, resolver_numbers
from trueup.embedded.problems import EnvironmentProblem
from trueup.embedded.servers import Servers, servers

ROOT = Path(__file__).parents[2]
RECORDS_PER_S = 100
ACTIONS_PER_BLOW = 200
READY_S_MAX = 6.0
"""So long a blow waits for its target to be at work; then it strikes all the same."""
CRASH_S_MAX = 15.0
STOP_S_MAX = 20.0
SETTLE_S_MAX = 300
BAD_WORDS = ("task_failed", "task_refused", "worker_gives_up")
"""A worker's log must not have them, whatever is killed."""


@dataclass(slots=True)
class Soak:
    """A run on servers that may be killed, and what was done to it so far."""

    it: Run
    servers: Servers
    seed: int
    commit: str
    began_s: float = field(default_factory=time.monotonic)
    rows: list[dict] = field(default_factory=list)
    feeding: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the broker is away: what is to be sent then waits."""

    def start(self, name):
        """The worker runs, nothing armed, under the name in the group that it had before."""
        disarm(self.it.folder(name))
        self.it.start(name, CRASHING, TRUEUP_INSTANCE_ID=f"soak-{name}")

    def restart_ended(self):
        """Every worker's process runs; one that stood still may have ended itself, too."""
        for name, held in list(self.it.workers.items()):
            if held.process.poll() is not None:
                self.start(name)

    async def feed_steadily(self):
        """So many records a second, until there are no more."""
        while self.it.sent < len(self.it.played.records):
            async with self.feeding:
                left = len(self.it.played.records) - self.it.sent
                await self.it.feed_records(min(RECORDS_PER_S // 2, left))
            await asyncio.sleep(0.5)

    def process_of(self, blow):
        """The process of the worker that a blow strikes."""
        return self.it.workers[blow.target].process

    def note(self, number, blow, seen):
        """The row of a blow."""
        row = {"number": number, "target": blow.target, "kind": blow.kind, **seen}
        self.rows.append({**row, "seed": self.seed, "commit": self.commit})
        print(json.dumps(self.rows[-1]), flush=True)  # noqa: T201


# ---- what is seen at a blow --------------------------------------------------------------------


async def wait_until_at_work(soak, blow):
    """Whoever is to be struck is at work, or the patience has ended; then the blow's own pause.

    Returns the partitions whose resolvers are at work there.
    """
    struck = [blow.target] if blow.target in WORKERS else list(WORKERS)
    deadline_s = time.monotonic() + READY_S_MAX
    while True:
        numbers = [resolver_numbers(await soak.it.status(name)) for name in struck]
        if all(numbers) or time.monotonic() > deadline_s:
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(blow.after_s)
    return list(chain.from_iterable(numbers))


async def sight_of(gauge, numbers):
    """When this is, how far the group is behind, which of these resolvers' transactions are open.

    The clock is the wall's: a record of what happened is for people. What a broker that has just
    come back cannot tell is null.
    """
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    lag = found = None
    with suppress(KafkaError):
        _, lag = await gauge.progress()
        found = sorted(await gauge.open_transactions(numbers)) if numbers else []
    return {"time": at, "lag": lag, "running": len(numbers), "open_transactions": found}


# ---- the blows: each returns its row -----------------------------------------------------------


async def kill(soak, blow, gauge, numbers):
    """kill -9 of a worker.

    It stands still for the moment of looking, so that what is seen is what it leaves.
    """
    process = soak.process_of(blow)
    process.send_signal(signal.SIGSTOP)
    sight = await sight_of(gauge, numbers)
    process.kill()
    await asyncio.to_thread(process.wait)
    return sight


async def crash(soak, blow, gauge, numbers):
    """A worker kills itself at a named point; by hand where it does not come there."""
    folder, process = soak.it.folder(blow.target), soak.process_of(blow)
    arm(folder, blow.point, blow.passing)
    try:
        await asyncio.to_thread(process.wait, CRASH_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)
    told = crashed(folder) or "not passed in time: killed by hand"
    return {"point": blow.point, **await sight_of(gauge, numbers), "told": told}


async def stand(soak, blow, gauge, numbers):
    """A worker stands still for longer than its session, then goes on as a zombie."""
    process = soak.process_of(blow)
    process.send_signal(signal.SIGSTOP)
    sight = await sight_of(gauge, numbers)
    await asyncio.sleep(blow.away_s)
    process.send_signal(signal.SIGCONT)
    return {**sight, "away_s": round(blow.away_s, 1)}


async def stop(soak, blow, gauge, numbers):
    """A worker is told to stop, and drains."""
    sight = await sight_of(gauge, numbers)
    process, began_s = soak.process_of(blow), time.monotonic()
    process.terminate()
    code = await asyncio.to_thread(process.wait, STOP_S_MAX)
    seconds = round(time.monotonic() - began_s, 1)
    return {**sight, "exit_code": code, "stopped_in_s": seconds}


async def kill_server(soak, blow, gauge, numbers):
    """kill -9 of Kafka or of Postgres, which comes back on its port."""
    server = soak.servers.kafka if blow.target == KAFKA else soak.servers.postgres
    async with soak.feeding:
        sight = await sight_of(gauge, numbers)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(blow.away_s)
        await asyncio.to_thread(server.start)
    return {**sight, "away_s": round(blow.away_s, 1)}


STRIKES = {KILL: kill, CRASH: crash, STAND: stand, STOP: stop, SERVER_KILL: kill_server}


# ---- a whole soak ------------------------------------------------------------------------------


async def strike_all(soak, blows: list[Blow], minutes_max):
    """Every blow that there was time for has been struck, and every worker's process runs."""
    for name in WORKERS:
        soak.start(name)
    for worker in soak.it.workers.values():
        await worker.wait_until_ready()
    load = asyncio.create_task(soak.feed_steadily())
    for number, blow in enumerate(blows, 1):
        if time.monotonic() > soak.began_s + minutes_max * 60:
            break
        await strike(soak, number, blow)
        soak.restart_ended()
        if load.done():
            load.result()
    async with soak.feeding:  # between two sendings: it is known what was sent
        load.cancel()


async def strike(soak, number, blow):
    """The blow was struck and is noted."""
    numbers = await wait_until_at_work(soak, blow)
    async with Gauge(soak.it.connection) as gauge:
        seen = await STRIKES[blow.kind](soak, blow, gauge, numbers)
    soak.note(number, blow, seen)


async def judge(soak):
    """All has settled as planted and the audit is exact; returns how many records were aborted.

    Raises:
        AssertionError: it is not.
    """
    it = soak.it
    async with Gauge(it.connection) as gauge:
        _, lag = await gauge.progress()
    left = len(it.played.records) - it.sent
    print(f"drains: {lag} behind, {left} to send", flush=True)  # noqa: T201
    await it.feed_records(left)
    await it.settle(SETTLE_S_MAX)
    async with Gauge(it.connection) as gauge:
        aborted = await gauge.aborted()
    await it.check()
    said = said_in_logs(it)
    assert not said, said
    return aborted.total()


def said_in_logs(it):
    """Which of the bad words the workers' logs have, and how often."""
    logs = [held.log_file.read_text(errors="replace") for held in it.workers.values()]
    return +Counter({word: sum(log.count(word) for log in logs) for word in BAD_WORDS})


def commit_here():
    """The commit of the source that runs; with a plus where it was changed."""
    told = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return told.stdout.strip()


@asynccontextmanager
async def prepared(seed, blow_count, folder):
    """A soak with its servers, schema, topics and workload; its workers end with the block."""
    if os.environ.keys() & {"KAFKA_BOOTSTRAP", "DATABASE_URL"}:
        raise EnvironmentProblem(
            "A soak kills its servers, and KAFKA_BOOTSTRAP or DATABASE_URL names one of yours.",
            "Unset both: the soak starts its own.",
        )
    with servers() as running:
        actions = ACTIONS_PER_BLOW * blow_count
        it = Run(running.kafka_bootstrap, running.database_url, folder, seed, actions)
        await it.prepare()
        try:
            yield Soak(it, running, seed, commit_here())
        finally:
            await asyncio.to_thread(it.stop)


async def soak_of(seed, kills, minutes_max, folder, record):
    """Runs a soak and writes its record; returns whether all was exact."""
    blows = blows_of(seed, kills)
    began = datetime.now(UTC)
    async with prepared(seed, len(blows), folder) as soak:
        verdict, aborted = "exact", None
        try:
            await strike_all(soak, blows, minutes_max)
            aborted = await judge(soak)
        except Exception as problem:
            verdict = f"{type(problem).__name__}: {problem}"
        told = {
            "seed": seed,
            "kills_asked": kills,
            "kills_of_workers": sum(row["kind"] in (KILL, CRASH) for row in soak.rows),
            "commit": soak.commit,
            "began": began.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "verdict": verdict,
            "records": soak.it.sent,
            "settled_outcomes": soak.it.played.expected.by_status.total(),
            "aborted_records": aborted,
            "blows": Counter(f"{row['kind']} of {kind_of(row)}" for row in soak.rows),
            "with_open_transaction": sum(bool(row["open_transactions"]) for row in soak.rows),
            "bad_log_lines": said_in_logs(soak.it),
        }
    write_record(record, told, soak.rows)
    print(json.dumps(told, indent=1))  # noqa: T201
    return verdict == "exact"


def kind_of(row):
    """Whom a row's blow has hit: a worker or a server's name."""
    return "worker" if row["target"] in WORKERS else row["target"]


def write_record(file, told, rows):
    """The summary, and a line for each blow."""
    file.parent.mkdir(exist_ok=True)
    head = json.dumps(told, indent=1)[:-2]
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    file.write_text(f'{head},\n "rows": [\n{lines}\n ]\n}}\n', encoding="utf-8")


def main():
    """The command."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=60, help="no blow is struck after them")
    parser.add_argument("--record", type=Path, help="where; docs/reliability/soak-SEED-KILLS.json")
    given = parser.parse_args()
    name = f"soak-{given.seed}-{given.kills}.json"
    record = given.record or ROOT / "docs" / "reliability" / name
    folder = Path(tempfile.mkdtemp(prefix="trueup-soak-"))
    print(f"workers' logs: {folder}", flush=True)  # noqa: T201
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a killed broker is no news here
    soak = soak_of(given.seed, given.kills, given.minutes, folder, record)
    sys.exit(0 if asyncio.run(soak) else 1)


if __name__ == "__main__":
    main()

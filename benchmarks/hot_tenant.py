"""What one tenant with nine tenths of the events costs the others.

    .venv/bin/python -m benchmarks.hot_tenant [turns]

By turns without and with it, one worker running all the while, on one machine with both servers and
the producers; ratios compare turns that follow each other. First in calibration: an hour of event
time passes in a second and windows are an hour long, so that as many close as actions are sent;
then a hundred thousand actions are open, and one clock record closes all their windows at once.
Measured are twenty small tenants, one stream each: those whose streams share the hot stream's
partition, and the others. Then from the send of an action to its row, in the present. Where the
machine has other work (`load_average_1m` beyond its cores) nothing follows from the ratios.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from agents_topics.connection import Connection, connection_of
from agents_topics.identifiers import tenant_id_of
from agents_topics.policy import HOUR_MS
from agents_topics.policy_file import DEFAULT_POLICY_TOML
from benchmarks.acting import ACTION_TYPE, Actions, Timeline, acting
from benchmarks.entering import Watch, watching
from benchmarks.loading import close_windows, installation
from benchmarks.peers_workload import START_MS
from benchmarks.recording import circumstances, record
from benchmarks.resolver import asked, running, wait_for
from benchmarks.waiting import PER_SECOND, latencies_ms
from sinks.postgres.migrate import migrate
from streams.partitioner import partitions_of
from streams.topic_admin import create_topics
from trueup.embedded.servers import servers

HOT = [tenant_id_of("hot")]
SMALL = [tenant_id_of(f"small-{number}") for number in range(20)]
EVENTS_PER_ACTION = 1.5
HOT_PER_SECOND = 9 * PER_SECOND / EVENTS_PER_ACTION
SMALL_PER_SECOND = PER_SECOND / EVENTS_PER_ACTION
OPEN_HOT, OPEN_SMALL = 90_000, 10_000
GRACE_MS = 3 * HOUR_MS
TURNS = 2
SECONDS = 30
PARTITIONS = 4
POLICY = DEFAULT_POLICY_TOML.replace("window_hours = 24", "window_hours = 1")
UNSETTLED = "SELECT count(*) FROM tenant.outcome_records WHERE NOT is_settled"


@dataclass(frozen=True, slots=True)
class Site:
    """Where it is measured, and the event time there."""

    connection: Connection
    url: str
    past: Timeline

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """The small tenants are watched inside the block."""
        with watching(self.connection, self.url, PARTITIONS, SMALL) as watch:
            yield watch

    def actions(self, tenants: list[str], seed: int) -> Actions:
        """Of these tenants."""
        return Actions(self.connection, tenants, Random(seed))

    def close(self, until_ms: int) -> None:
        """Event time is that of the clock record everywhere; the timeline has reached it."""
        time.sleep(max(self.past.reached_s(until_ms) - time.perf_counter(), 0))
        close_windows(self.connection, until_ms, PARTITIONS)


def by_partition(watch: Watch, due_s: Any, before_s: float = inf) -> dict[str, Any]:
    """The figures of the small tenants in the hot stream's partition, and of the others; of what
    was due before a moment.
    """
    keys = [f"{tenant_id}/{ACTION_TYPE}".encode() for tenant_id in (*HOT, *SMALL)]
    hot, *own = partitions_of(keys, PARTITIONS)
    beside = {tenant_id for tenant_id, place in zip(SMALL, own, strict=True) if place == hot}
    return {
        "in_its_partition": watch.figures(beside, due_s, before_s),
        "in_others": watch.figures(set(SMALL) - beside, due_s, before_s),
    }


def as_it_goes(site: Site, seed: int, *, is_beside: bool) -> dict[str, Any]:
    """As many windows close as actions are sent."""
    small = site.actions(SMALL, seed)
    with site.watching() as watch:
        with ExitStack() as stack:
            stack.enter_context(acting(small, SMALL_PER_SECOND, site.past))
            if is_beside:
                hot = site.actions(HOT, seed)
                stack.enter_context(acting(hot, HOT_PER_SECOND, site.past))
            time.sleep(SECONDS)
        ended_s = time.perf_counter()
        site.close(site.past.at_ms(time.perf_counter()) + HOUR_MS + GRACE_MS)
        watch.wait_for(small.count)
    return by_partition(watch, lambda at_ms: site.past.reached_s(at_ms + GRACE_MS), ended_s)


def at_once(site: Site, seed: int, *, is_beside: bool) -> dict[str, Any]:
    """All windows close by one clock record."""
    small, hot = site.actions(SMALL, seed), site.actions(HOT, seed)
    first_ms = site.past.at_ms(time.perf_counter())
    for actions, count in ((small, OPEN_SMALL), (hot, OPEN_HOT if is_beside else 0)):
        for number in range(count):
            actions.send(first_ms + number * HOUR_MS // 2 // count)
        actions.flush()
    wait_for(small.count + hot.count, partial(asked, site.url, UNSETTLED))
    with site.watching() as watch:
        site.close(first_ms + 2 * HOUR_MS + GRACE_MS)
        closed_s = time.perf_counter()
        watch.wait_for(small.count)
        wait_for(0, lambda: -asked(site.url, UNSETTLED))
    return by_partition(watch, lambda _: closed_s)


def in_the_present(site: Site, seed: int, *, is_beside: bool) -> dict[str, Any]:
    """From an action's send to its row; windows stay open."""
    with ExitStack() as stack:
        if is_beside:
            now = Timeline(int(time.time() * 1000), time.perf_counter(), 1)
            stack.enter_context(acting(site.actions(HOT, seed), HOT_PER_SECOND, now))
        return asyncio.run(latencies_ms(site.connection, site.url))


def by_turns(measure: Any, site: Site, turns: int) -> dict[str, Any]:
    """Without and with the hot tenant."""
    found: dict[str, list[Any]] = {"alone": [], "beside_the_hot_one": []}
    for turn in range(turns):
        for is_beside, name in enumerate(found):
            seed = 2 * turn + is_beside
            found[name].append(measure(site, seed, is_beside=bool(is_beside)))
            print(measure.__name__, name, found[name][-1], flush=True)
    return found


def entering(site: Site, turns: int) -> dict[str, Any]:
    """Until small tenants' outcomes have entered."""
    as_it_goes(site, turns, is_beside=False)  # warm
    return {
        "small_tenants": len(SMALL),
        "small_events_per_second": PER_SECOND,
        "hot_events_per_second": 9 * PER_SECOND,
        "as_windows_close": by_turns(as_it_goes, site, turns),
        "open_where_one_clock_record_closes_all": {"small": OPEN_SMALL, "hot": OPEN_HOT},
        "after_it": by_turns(at_once, site, turns),
        "load_average_1m": round(os.getloadavg()[0], 1),
    }


def sending(site: Site, turns: int) -> dict[str, Any]:
    """Until a row says what was sent."""
    asyncio.run(latencies_ms(site.connection, site.url))  # warm
    found = by_turns(in_the_present, site, turns)
    pairs = zip(*found.values(), strict=True)
    return {
        "quiet_events_per_second": PER_SECOND,
        "hot_events_per_second": 9 * PER_SECOND,
        "send_to_row_ms": found,
        "ratios": [
            {p: round(beside[p] / alone[p], 2) for p in ("p50", "p99")} for alone, beside in pairs
        ],
        "load_average_1m": round(os.getloadavg()[0], 1),
    }


def main(turns: int = TURNS) -> None:
    """Runs once and writes two results; first in the past, which ends with the present."""
    with servers() as embedded, tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy.toml"
        policy.write_text(POLICY)
        settings = installation(
            embedded,
            folder,
            TRUEUP_PREFIX="hot-",
            TRUEUP_POLICY=str(policy),
            TRUEUP_GRACE_S=str(GRACE_MS // 1000),
        )
        connection = connection_of(settings)
        migrate(embedded.database_url)
        asyncio.run(create_topics(connection, PARTITIONS))
        with running(settings, "outcome-resolver,calibrator,publisher"):
            past = Timeline(START_MS, time.perf_counter(), HOUR_MS / 1000)
            site = Site(connection, embedded.database_url, past)
            command = f"hot_tenant {turns}"
            record("hot_tenant_entering", {**circumstances(command), **entering(site, turns)})
            record("hot_tenant", {**circumstances(command), **sending(site, turns)})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""What `trueup status` tells, as data: of the workers' pages, the broker and the database.

The law: nothing is written, and each source that cannot be reached is one sentence while the others
are told all the same. What is under `tasks` comes from the workers' pages where they answer;
positions, times and counts of tasks on other workers from their changelogs.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from agents_topics.connection import Connection
from agents_topics.roster import AGENTS, CALIBRATOR, GROUP, PUBLISHER, RESOLVER
from sinks.postgres.queries import counts_by_status, sink_offsets
from streams.changelog import Progress
from streams.settings import Settings
from trueup.broker_view import BrokerView, Place, look
from trueup.exits import ending_of
from trueup.open_transactions import OpenTransaction, open_transactions
from trueup.status_page import page_of

DATABASE_S = 15.0
NEVER_MS = -(2**61)
"""A topic's time below this was never set."""

_SENT = ("agent", "partition", "state", "problem", "reopened", "open", "waiting", "lag")

_T = TypeVar("_T")


@dataclass(slots=True)
class Task:
    """One task as an operator sees it; times are event times in ms, None before there is one."""

    agent: str
    partition: int
    state: str
    owner: str | None = None
    problem: str | None = None
    degraded: str | None = None
    reopened: int = 0
    open: int | None = None
    waiting: int | None = None
    times_ms: dict[str, int | None] = field(default_factory=dict)
    settled_until_ms: int | None = None
    watermark_lag_s: float | None = None
    lag: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Written:
    """Where the publisher stands in a topic-partition, and how many records it has before it."""

    topic: str
    partition: int
    position: int
    end: int
    behind: int


@dataclass(slots=True)
class Status:
    """Everything that could be found; `unreachable` says what could not, by source."""

    kafka: str | None = None
    database: str | None = None
    workers: dict[str, bool] = field(default_factory=dict)
    health: dict[str, str] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    open_transactions: list[OpenTransaction] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    open: int | None = None
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    dead_letters: dict[str, int] = field(default_factory=dict)
    dead_letters_unread: int = 0
    published: list[Written] = field(default_factory=list)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    last_outcome: dict[str, Any] | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing could be reached."""
        return len(self.unreachable) == 3

    def to_json(self) -> dict[str, Any]:
        """In plain values."""
        return asdict(self)


async def read_status(
    connection: Connection | str,
    url: str | None,
    pages: Sequence[str],
    settings: Settings,
) -> Status:
    """Asks all three sources.

    Args:
        connection: How Kafka is reached, or the sentence that says why that is not known.
        url: The database's address, if one is known.
        pages: The workers' addresses.
        settings: For the grace.
    """
    status = Status()
    snapshots = await asyncio.gather(*(asyncio.to_thread(page_of, page) for page in pages))
    found = {page: told for page, told in zip(pages, snapshots, strict=True) if told}
    status.workers = {page: bool(told["ready"]) for page, told in found.items()}
    # A worker of an earlier release does not tell.
    status.health = {page: told["health"] for page, told in found.items() if "health" in told}
    if not found:
        where = " and ".join(pages)
        status.unreachable["workers"] = (
            f"No worker's page answers at {where}: start one, or name its page with --worker."
        )
    prefix = "" if isinstance(connection, str) else connection.prefix
    published = await _ask_database(status, url, prefix)
    view = await _ask_broker(status, connection, published)
    _tell_tasks(status, found, view, settings)
    _tell_counts(status, found, view)
    status.checks = _checks_of(found.values())
    _tell_published(status, view, published)
    return status


async def _ask_database(status: Status, url: str | None, prefix: str) -> dict[Place, int] | None:
    if url is None:
        status.unreachable["database"] = "No database is known: set DATABASE_URL."
        return None
    address, _, name = url.partition("?")[0].rpartition("@")[2].partition("/")
    status.database = f"{address}/{name}"

    async def ask() -> dict[Place, int]:
        async with asyncio.timeout(DATABASE_S):
            held = await sink_offsets(url)
            answer = await counts_by_status(url)
        status.outcomes = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        # Postgres knows topics by their names on the broker, also those of other prefixes.
        return {
            (topic.name, partition): offset
            for topic in PUBLISHER.reads
            for (name, partition), offset in held.items()
            if name == prefix + topic.name
        }

    return await _reached(status, "database", ask)


async def _ask_broker(
    status: Status, connection: Connection | str, published: dict[Place, int] | None
) -> BrokerView | None:
    if isinstance(connection, str):
        status.unreachable["kafka"] = connection
        return None
    status.kafka = connection.bootstrap
    view = await _reached(status, "kafka", lambda: look(connection, GROUP, published))
    if view is not None and view.missing:
        listed = ", ".join(view.missing)
        status.warnings.append(f"Not on the broker: {listed}; `trueup topics create` makes them.")
    if view is not None:
        read = {topic.name for row in AGENTS for topic in row.reads}
        places = [place for place in view.ends if place[0] in read]
        held = await _reached(status, "kafka", lambda: open_transactions(connection, places))
        status.open_transactions = held or []
        status.warnings += [f"{one.said()}. {one.fix(connection.bootstrap)}" for one in held or ()]
    return view


async def _reached(status: Status, name: str, ask: Callable[[], Awaitable[_T]]) -> _T | None:
    """What a source answers; what keeps it from answering is its sentence."""
    try:
        return await ask()
    except Exception as problem:
        ending = ending_of(problem)
        if ending is None:
            raise
        status.unreachable[name] = ending[0]
        return None


def _tell_tasks(
    status: Status,
    pages: Mapping[str, Mapping[str, Any]],
    view: BrokerView | None,
    settings: Settings,
) -> None:
    tasks: dict[Place, Task] = {}
    for page, snapshot in pages.items():
        for told in snapshot["tasks"]:
            task = Task(**{name: told[name] for name in _SENT if name in told}, owner=page)
            task.degraded = snapshot.get("problems", {}).get(told["name"])
            task.times_ms = {t: _known(ms) for t, ms in told.get("times_ms", {}).items()}
            task.settled_until_ms = _known(told.get("settled_until_ms", told.get("promised_ms")))
            tasks[task.agent, task.partition] = task
    for row in AGENTS if view is not None else ():
        assert view is not None
        for partition in range(view.partitions):
            place = (row.name, partition)
            if place not in tasks:
                state = "elsewhere" if view.members > len(pages) else "no worker"
                tasks[place] = Task(row.name, partition, state)
                _tell_from_changelog(tasks[place], view.progress.get(place), settings)
            for topic in row.reads:
                if (topic.name, partition) in view.behind:
                    tasks[place].lag[topic.name] = view.behind[topic.name, partition]
    order = {row.name: place for place, row in enumerate(AGENTS)}
    status.tasks = sorted(tasks.values(), key=lambda task: (order[task.agent], task.partition))
    for task in status.tasks:
        if task.agent == RESOLVER.name and task.settled_until_ms is not None:
            task.watermark_lag_s = round(time.time() - task.settled_until_ms / 1000, 1)


def _tell_from_changelog(task: Task, progress: Progress | None, settings: Settings) -> None:
    if progress is None:
        return
    if task.agent == CALIBRATOR.name:
        task.settled_until_ms = _known(min(progress.promises.values(), default=None))
        return
    grace_ms = settings.grace_ms
    closed_ms = []
    for topic, (log_ms, pushed_ms, *_) in progress.times.items():
        task.times_ms[topic] = _known(max(log_ms, pushed_ms))
        closed_ms.append(max(log_ms, pushed_ms) - grace_ms.get(topic, 0))
    task.settled_until_ms = _known(min(closed_ms, default=None))


def _known(at_ms: int | None) -> int | None:
    return at_ms if at_ms is not None and at_ms > NEVER_MS else None


def _tell_counts(
    status: Status, pages: Mapping[str, Mapping[str, Any]], view: BrokerView | None
) -> None:
    """A task's own counters from its page, else from its changelog: never from both."""
    counters: dict[int, Mapping[str, int]] = {}
    if view is not None:
        for (agent, partition), progress in view.progress.items():
            if agent == RESOLVER.name:
                counters[partition] = progress.counts
    for snapshot in pages.values():
        for told in snapshot["tasks"]:
            if "counts" in told:
                counters[told["partition"]] = told["counts"]
    sums: dict[str, Counter[str]] = {}
    for counts in counters.values():
        for name, count in counts.items():
            group, _, member = name.rpartition("/")
            sums.setdefault(group, Counter())[member] += count
    status.settled = dict(sums.pop("settled", {}))
    sums.pop("check", None)
    status.counts = {group: dict(counts) for group, counts in sorted(sums.items())}
    known = [task.open for task in status.tasks if task.agent == RESOLVER.name]
    if known and None not in known:
        status.open = sum(count for count in known if count is not None)
    if view is not None:
        status.dead_letters = dict(view.dead_letters.most_common())
        status.dead_letters_unread = view.dead_letters_unread


def _checks_of(pages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The five checks over all workers whose pages answer."""
    checks: dict[str, dict[str, Any]] = {}
    for page in pages:
        for told in page.get("checks", ()):
            held = checks.setdefault(
                told["name"],
                {**told, "last_run_ms": None, "handled": 0, "failures": 0},
            )
            held["last_run_ms"] = max(held["last_run_ms"] or 0, told["last_run_ms"] or 0) or None
            held["handled"] += told["handled"]
            held["failures"] += told["failures"]
    return list(checks.values())


def _tell_published(
    status: Status, view: BrokerView | None, published: dict[Place, int] | None
) -> None:
    if view is None:
        return
    if view.last_outcome is not None:
        written_ms, value = view.last_outcome
        outcome = json.loads(value)
        names = ("tenant_id", "conversation_id", "action_id", "action_type", "outcome_type")
        status.last_outcome = {name: outcome.get(name) for name in (*names, "status", "is_settled")}
        status.last_outcome["settled_at_ms"] = outcome.get("settled_at_ms")
        status.last_outcome["sent_at_ms"] = written_ms
        status.last_outcome["is_in_postgres"] = published is not None
    for topic in PUBLISHER.reads if published is not None else ():
        assert published is not None
        for partition in range(view.partitions):
            place = (topic.name, partition)
            if place in view.ends:
                at, end = published.get(place, 0), view.ends[place]
                status.published.append(Written(*place, at, end, view.behind.get(place, 0)))

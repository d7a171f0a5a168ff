"""`trueup status` on one screen."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from agents_topics.roster import PUBLISHER, RESOLVER
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from trueup.status import Status, Task, Written

ROWS_MAX = 8
"""With more partitions than this only tasks that want a look have a row of their own."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_RESULTS = ("admitted", "ignored", "duplicate", "late", "dead")


def lines_of(status: Status) -> Iterator[str]:
    """The screen."""
    yield from _where(status)
    for sentence in (*status.unreachable.values(), *status.warnings):
        yield f"! {sentence}"
    if status.tasks:
        yield ""
        yield from _tasks(status.tasks)
    if status.checks:
        yield ""
        yield from _checks(status)
    if status.counts or status.settled:
        yield ""
        yield from _counts(status)
    if status.published or status.outcomes or status.last_outcome:
        yield ""
        yield from _database(status)


def _where(status: Status) -> Iterator[str]:
    if status.kafka and "kafka" not in status.unreachable:
        yield f"Kafka     {status.kafka}"
    if status.database and "database" not in status.unreachable:
        yield f"Postgres  {status.database}"
    for page, is_ready in status.workers.items():
        health = status.health.get(page, "ok")
        said = f", {health}" if health != "ok" else ""
        yield f"worker    {page}  {'ready' if is_ready else 'NOT READY'}{said}"


def _tasks(tasks: Sequence[Task]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [
        ("task", "state", "open", "actions at", "interactions at", "settled until", "behind")
    ]
    for agent in dict.fromkeys(task.agent for task in tasks):
        own = [task for task in tasks if task.agent == agent]
        shown = own if len(own) <= ROWS_MAX else [t for t in own if t.state != "running"][:ROWS_MAX]
        rows += [_row(task) for task in shown]
        rest = [task for task in own if task not in shown]
        if rest:
            rows.append(_sum_row(agent, rest))
    yield from _aligned(rows)
    lags = [task.watermark_lag_s for task in tasks if task.watermark_lag_s is not None]
    if lags:
        yield f"event time stands {duration(max(lags))} behind the clock on the wall"
    for task in tasks:
        if told := task.degraded or task.problem:
            yield f"! {task.agent}-{task.partition}: {told}"
        elif task.state == "opening":
            yield f"  {task.agent}-{task.partition} is restoring its state"


def _row(task: Task) -> tuple[str, ...]:
    waiting = task.open if task.agent == RESOLVER.name else task.waiting
    times = [
        moment(task.times_ms.get(topic.name)) if task.agent == RESOLVER.name else ""
        for topic in (AGENT_ACTIONS, AGENT_INTERACTIONS)
    ]
    state = {"opening": "restoring"}.get(task.state, task.state)
    if task.reopened > 0:
        state += f" (reopened {task.reopened})"
    settled = "" if task.agent == PUBLISHER.name else moment(task.settled_until_ms)
    behind = f"{sum(task.lag.values()):,}" if task.lag else "?"
    number = "" if waiting is None else f"{waiting:,}"
    return (f"{task.agent}-{task.partition}", state, number, *times, settled, behind)


def _sum_row(agent: str, tasks: Sequence[Task]) -> tuple[str, ...]:
    """Of many tasks: the sums, and the times that hold the others back."""
    topics = (AGENT_ACTIONS.name, AGENT_INTERACTIONS.name)
    times = {
        topic: min((ms for t in tasks if (ms := t.times_ms.get(topic)) is not None), default=None)
        for topic in topics
    }
    opens = [task.open for task in tasks if task.open is not None]
    waits = [task.waiting for task in tasks if task.waiting is not None]
    settled = [t.settled_until_ms for t in tasks if t.settled_until_ms is not None]
    summed = Task(
        agent,
        0,
        tasks[0].state,
        open=sum(opens) if opens else None,
        waiting=sum(waits) if waits else None,
        times_ms=dict(times),
        settled_until_ms=min(settled, default=None),
        lag={"all": sum(sum(task.lag.values()) for task in tasks)},
    )
    return (f"{agent} ({len(tasks)} tasks)", *_row(summed)[1:])


def _checks(status: Status) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("check", "interval", "last run", "handled", "failures")]
    for check in status.checks:
        ran_ms = check["last_run_ms"]
        ago = "never" if ran_ms is None else f"{duration(time.time() - ran_ms / 1000)} ago"
        counts = (f"{check['handled']:,}", f"{check['failures']:,}")
        rows.append((check["name"], check["interval"], ago, *counts))
    yield from _aligned(rows)


def _counts(status: Status) -> Iterator[str]:
    topics = [topic for topic in status.counts if topic != "interactions"]
    rows: list[tuple[str, ...]] = [("records", *_RESULTS)]
    for topic in topics:
        rows.append((topic, *(f"{status.counts[topic].get(name, 0):,}" for name in _RESULTS)))
    yield from _aligned(rows)
    if status.dead_letters:
        reasons = ", ".join(f"{name} {count:,}" for name, count in status.dead_letters.items())
        unread = status.dead_letters_unread
        yield f"dead letters: {reasons}" + (f" ({unread:,} older ones not read)" if unread else "")
    settled = ", ".join(f"{name} {count:,}" for name, count in sorted(status.settled.items()))
    opened = "" if status.open is None else f"{status.open:,} open; "
    yield f"outcomes: {opened}settled {settled or 'none'}"
    unmatched = status.counts.get("interactions", {}).get("unmatched", 0)
    if unmatched:
        yield f"interactions that met no action: {unmatched:,}"


def _database(status: Status) -> Iterator[str]:
    if status.published:
        yield "publisher: " + "; ".join(_published(status.published))
    if status.outcomes:
        told = ", ".join(
            f"{row['outcome_status']}{'' if row['is_settled'] else ' (not settled)'}"
            f" {row['count']:,}"
            for row in status.outcomes
        )
        yield f"in Postgres: {told}"
    if status.last_outcome:
        last = status.last_outcome
        word = "settled" if last["is_settled"] else "not settled"
        where = "written" if last["is_in_postgres"] else "sent"
        yield (
            f"last outcome {where}: {last['action_type']} {last['action_id']} of"
            f" {last['conversation_id']}: {last['status']}, {word}, sent"
            f" {duration(time.time() - last['sent_at_ms'] / 1000)} ago"
        )


def _published(published: Sequence[Written]) -> Iterator[str]:
    for topic in dict.fromkeys(row.topic for row in published):
        own = [row for row in published if row.topic == topic]
        behind = sum(row.behind for row in own)
        has = f"{behind:,} records behind the topic's end" if behind else "all of it in Postgres"
        yield f"{topic}, {has}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Columns under their heads, the first two from the left, empty columns left out."""
    kept = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in kept}
    for row in rows:
        cells = [row[i].ljust(widths[i]) if i < 2 else row[i].rjust(widths[i]) for i in kept]
        yield "  ".join(cells).rstrip()


def moment(at_ms: int | None) -> str:
    """A time in UTC, to the minute.

    >>> moment(1_769_936_400_000)
    '2026-02-01 09:00'
    """
    if at_ms is None:
        return "never"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """In the two greatest units.

    >>> duration(93_784.0), duration(59.94), duration(-90)
    ('1 d 2 h', '59.9 s', '-1 min 30 s')
    """
    if seconds < 0:
        return f"-{duration(-seconds)}"
    for unit_s, unit, part_s, part in (
        (_DAY_S, "d", _HOUR_S, "h"),
        (_HOUR_S, "h", _MINUTE_S, "min"),
        (_MINUTE_S, "min", 1, "s"),
    ):
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {unit} {int(seconds % unit_s // part_s)} {part}"
    return f"{seconds:.1f} s"

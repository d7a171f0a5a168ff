"""`trueup replay`."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from agents_topics.events import to_ms
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from sinks.postgres.checksums import Checksum
from streams.settings import read_settings
from tables.outcome_resolver import Judging
from tables.replay import Source
from trueup.commands.options import AsJson
from trueup.connecting import connection_here
from trueup.exits import USAGE
from trueup.plain_text import counted, utc
from trueup.printing import fail, print_json, print_line
from trueup.replay import Job, Replayed, conclude, prepare, run_plan
from trueup.replay_plan import Asked
from trueup.signals import end_in_order
from trueup.surroundings import database_here, tenant_here

_PLACE = re.compile(r".+/\d+=\d+")


def command(
    into: Annotated[str | None, typer.Option(help="The database; otherwise DATABASE_URL.")] = None,
    shadow: Annotated[str | None, typer.Option(help="Beside the live rows, by this name.")] = None,
    judge_lateness: Annotated[bool, typer.Option(help="Anew, by the grace in force.")] = False,
    grace: Annotated[int | None, typer.Option(min=1, help="Anew, by this grace in s.")] = None,
    as_if_on_time: Annotated[bool, typer.Option(help="Nothing is late.")] = False,
    policy: Annotated[Path | None, typer.Option(help="Another policy file.")] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="Its outcomes alone; again.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", "--from", help="Of actions from this time on.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Of actions before this time.")] = None,
    to: Annotated[list[str] | None, typer.Option(help="TOPIC/PARTITION=OFFSET: end there.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Settle up to this time.")] = None,
    actions_topic: Annotated[str | None, typer.Option(help="A history's own.")] = None,
    interactions_topic: Annotated[str | None, typer.Option(help="A history's own.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Otherwise one a core.")] = None,
    as_json: AsJson = False,
) -> None:
    """Recorded topics through the same core into Postgres; live goes on undisturbed."""
    end_in_order()
    settings = read_settings()
    own_topics = {AGENT_ACTIONS.name: actions_topic, AGENT_INTERACTIONS.name: interactions_topic}
    topics = {name: own for name, own in own_topics.items() if own}
    judging = _judging(judge_lateness or grace is not None, as_if_on_time or bool(topics))
    if shadow is None and (judging != "recorded" or policy):
        fail("What is judged anew stands in a shadow first: --shadow NAME", USAGE)
    job = Job(
        connection=connection_here(),
        url=into or database_here(),
        policy=policy or settings.policy,
        grace_ms=dict.fromkeys(settings.grace_ms, grace * 1000) if grace else settings.grace_ms,
        judging=judging,
        topics=topics,
        shadow=shadow,
        tenants=frozenset(map(tenant_here, tenant)) if tenant else None,
        since_ms=_start(since),
        until_ms=_time("--until", until),
        days_kept=settings.days_kept,
    )
    asked = Asked(
        judging=judging,
        ends=dict(map(_end, to or ())),
        topics=topics,
        as_of_ms=_time("--as-of", as_of),
    )
    plan = asyncio.run(prepare(job, asked, settings.grace_ms))
    replayed = run_plan(
        job, plan, processes or os.cpu_count() or 1, lambda text: print_line(text, sys.stderr)
    )
    sums = asyncio.run(conclude(job, replayed))
    if as_json:
        print_json(_as_json(replayed, sums))
    else:
        print_line("\n".join(_lines(job, replayed, sums)))


def _judging(judges_lateness: bool, is_on_time: bool) -> Judging:
    if judges_lateness and is_on_time:
        fail("Either lateness is judged or nothing is late: leave one out", USAGE)
    if judges_lateness:
        return "live"
    return "on_time" if is_on_time else "recorded"


def _as_json(replayed: Replayed, sums: Mapping[str, Checksum]) -> dict[str, Any]:
    return {
        "records": replayed.records,
        "rows": replayed.rows,
        "outcomes": dict(replayed.outcomes),
        "as_of_ms": replayed.as_of_ms,
        "checksums": {name: asdict(checksum) for name, checksum in sums.items()},
    }


def _lines(job: Job, replayed: Replayed, sums: Mapping[str, Checksum]) -> Iterator[str]:
    settled = ", ".join(f"{n:,} {status}" for status, n in sorted(replayed.outcomes.items()))
    yield f"{counted(replayed.records, 'event')}: {settled or 'no outcomes'}"
    if replayed.as_of_ms is not None:
        yield f"settled up to {utc(replayed.as_of_ms)}"
    where = f"shadow {job.shadow}" if job.shadow else "database"
    yield f"{counted(replayed.rows, 'row')} of the {where} changed"
    for name, checksum in sums.items():
        yield f"{name}: {counted(checksum.rows, 'row')}, checksum {checksum.digest}"


def _time(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else to_ms(text)
    except ValueError:
        fail(f"{option} {text}: no RFC 3339 time with a zone, like 2026-01-05T09:30:00Z", USAGE)


def _start(text: str | None) -> int | None:
    if text and _PLACE.fullmatch(text):
        fail(
            f"--from {text}: a replay reads every source from its beginning, for what came before "
            "bears on what comes after (docs/decisions/0024-where-a-replay-begins.md). Give a time:"
            " --from T writes the outcomes of actions from T on, and a shadow compares only these",
            USAGE,
        )
    return _time("--since", text)


def _end(text: str) -> tuple[Source, int]:
    place, _, offset = text.partition("=")
    topic, _, partition = place.rpartition("/")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        fail(f"--to {text}: it is TOPIC/PARTITION=OFFSET, like agent-actions/0=1500", USAGE)
    return (topic, int(partition)), int(offset)

"""`trueup repartition`."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import typer

from agents_topics.events import to_timestamp
from agents_topics.topics import CONTROL
from streams.settings import read_settings
from trueup.connecting import connection_here
from trueup.plain_text import counted
from trueup.printing import print_line
from trueup.repartition import Counts, counted_by, repartition
from trueup.repartition_plan import Plan, Site, plan_of


def command(
    to: Annotated[str, typer.Option(metavar="PREFIX", help="Of the new installation's names.")],
    partitions: Annotated[int, typer.Option(min=1, max=10_000, help="Of every new topic.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; otherwise it is only told.")] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Delete a copy there that was cut short, and begin anew.")
    ] = False,
) -> None:
    """What was admitted is copied under another prefix, for workers of another count.

    Stop workers and producers first. The old installation stays as it is. Without --yes nothing is
    changed.
    """
    old = connection_here()
    site = Site(old, replace(old, prefix=to), partitions, read_settings().grace_ms, anew)
    asyncio.run(_run(site, yes))


async def _run(site: Site, yes: bool) -> None:
    plan = await plan_of(site)
    if not yes:
        print_line("\n".join(_told(site, plan, await counted_by(site, plan))))
        print_line("Nothing was changed. The same with --yes does it.")
        return
    counts = await repartition(site, plan, print_line)
    print_line("\n".join(_told(site, plan, counts)))
    print_line("\n".join(_next(site, plan)))


def _told(site: Site, plan: Plan, counts: Counts) -> Iterator[str]:
    for name in plan.to_delete:
        yield f"delete {name}, of a copy that was cut short"
    for topic in plan.spans:
        waiting = counts.waiting[topic]
        judged = f", of which {waiting:,} nobody has judged yet" if waiting else ""
        copied = counted(counts.copied[topic], "record") + judged
        yield f"copy   {site.old.topic(topic)} to {site.new.topic(topic)}: {copied}"
    for (topic, reason), count in sorted(counts.left_out.items()):
        yield f"leave  {site.old.topic(topic)}: {counted(count, 'record')}, {reason}"
    if plan.decisions:
        control = site.old.topic(CONTROL.name)
        told = counted(plan.decisions, "decision")
        yield f"leave  {control}: {told} on thresholds and alarms; what stands is said again below"
    for command in plan.again:
        yield f"again  {command}"
    if plan.until_ms is not None:
        yield f"clock  {site.new.topic(CONTROL.name)}: {to_timestamp(plan.until_ms)}"


def _next(site: Site, plan: Plan) -> Iterator[str]:
    yield "It is done. Next, with a new, empty database:"
    settings = f"TRUEUP_PREFIX={site.new.prefix} TRUEUP_PARTITIONS={site.partitions}"
    yield f"  export {settings} DATABASE_URL=…"
    yield "  trueup migrate"
    yield "  trueup worker              # until `trueup status` shows no lag"
    yield "  trueup dead-letters list   # none"
    if plan.until_ms is not None:
        as_of = to_timestamp(plan.until_ms - max(site.grace_ms.values()))
        yield f"  trueup checksum --as-of {as_of}"
        yield f"  trueup checksum --as-of {as_of} --database OLD_DATABASE_URL   # the same outcomes"
    yield "  trueup audit"
    for command in plan.again:
        yield f"  {command}"
    yield "Then let producers and readers go there. The old installation is the way back."

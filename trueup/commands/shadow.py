"""`trueup shadow`: replays beside the live rows, compared, promoted or dropped."""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from sinks.postgres.promotion import promote_shadow
from sinks.postgres.shadow_compare import Comparison, DifferentBin, Reason, compare_shadow
from sinks.postgres.shadow_streams import ComparedStream, StreamView
from sinks.postgres.shadows import Shadow, drop_shadow, shadows
from trueup.commands.options import AsJson
from trueup.plain_text import counted, duration, shown, utc
from trueup.printing import print_json, print_line
from trueup.stream_replay import sums_of
from trueup.surroundings import database_here

BINS_MAX = 20
REASONS_MAX = 20

command = typer.Typer(no_args_is_help=True, add_completion=False)
Name = Annotated[str, typer.Argument(metavar="NAME")]


@command.command("list")
def list_(as_json: AsJson = False) -> None:
    """All shadows: how they were judged, and how far they are."""
    found = asyncio.run(shadows(database_here()))
    if as_json:
        print_json([asdict(shadow) for shadow in found])
    else:
        print_line("\n".join(map(_line, found)) or "no shadows")


@command.command()
def compare(name: Name, as_json: AsJson = False) -> None:
    """Which outcomes and bins differ from live's and why, and what each says of streams."""
    found = asyncio.run(compare_shadow(database_here(), name))
    if as_json:
        print_json(asdict(found))
    else:
        print_line("\n".join(_compared(found)))


@command.command()
def promote(name: Name) -> None:
    """Readers see the shadow's outcomes and sums from now on, all at once."""
    done = asyncio.run(promote_shadow(database_here(), name, sums_of))
    print_line(
        f"{shown(name)} is promoted, lineage {done.lineage}: {counted(done.taken, 'outcome')} in "
        f"the place of {done.removed:,}."
    )


@command.command()
def drop(name: Name) -> None:
    """The shadow's rows are gone; what was promoted of it stays, and its name for the audit."""
    rows = asyncio.run(drop_shadow(database_here(), name))
    print_line(f"{shown(name)} is dropped, {counted(rows, 'row')}.")


def _line(shadow: Shadow) -> str:
    about = shadow.about
    lineage = f", lineage {shadow.lineage}" if shadow.lineage else ""
    return (
        f"{shown(shadow.name)}  {shadow.state}{lineage}  {counted(shadow.rows, 'row')}, settled up "
        f"to {utc(shadow.as_of_ms)}, judged {about['judging']}, policy {' '.join(about['policy'])}"
    )


def _compared(found: Comparison) -> Iterator[str]:
    yield (
        f"{shown(found.shadow.name)}: settled up to {utc(found.shadow.as_of_ms)}: "
        f"{found.live_count:,} in live, {found.shadow_count:,} in the shadow"
    )
    if not found.reasons:
        yield "no outcome differs"
    for reason in found.reasons[:REASONS_MAX]:
        yield from _reason(reason)
    if len(found.reasons) > REASONS_MAX:
        left = found.reasons[REASONS_MAX:]
        outcomes = counted(sum(reason.count for reason in left), "outcome")
        yield f"… and {outcomes} for {len(left):,} reasons more (--json tells all)"
    yield f"{counted(len(found.bins), 'bin')} differ" if found.bins else "no bin differs"
    for one in found.bins[:BINS_MAX]:
        yield from _bin(one)
    if len(found.bins) > BINS_MAX:
        yield f"  … and {len(found.bins) - BINS_MAX:,} more (--json tells all)"
    yield from map(_stream, found.streams[:BINS_MAX])
    if len(found.streams) > BINS_MAX:
        yield f"  … and {len(found.streams) - BINS_MAX:,} streams more (--json tells all)"


def _reason(reason: Reason) -> Iterator[str]:
    other = f", {reason.other_results:,} with another result" if reason.other_results else ""
    yield f"{counted(reason.count, 'outcome')}{other}: {shown(reason.reason)}"
    yield (
        f"  {shown(reason.action_type)}/{shown(reason.outcome_type)}, {_policies(reason)}: "
        f"{shown(reason.live.said)} in live, {shown(reason.shadow.said)} in the shadow"
    )
    for one in reason.examples:
        yield (
            f"  {shown(one.action_id)} ({shown(one.outcome_type)}): {one.live_status} by "
            f"{shown(one.live_decided_by)} in live, {one.shadow_status} by "
            f"{shown(one.shadow_decided_by)} in the shadow"
        )


def _policies(reason: Reason) -> str:
    """The versions in short; one where it is the same."""
    named = [
        d.policy_version[:8] if d.policy_version else "-" for d in (reason.live, reason.shadow)
    ]
    return f"policy {' → '.join(dict.fromkeys(named))}"


def _bin(one: DifferentBin) -> Iterator[str]:
    said = ", ".join(f"{name} {left:,} → {right:,}" for name, (left, right) in one.sums.items())
    yield f"  {_named(one.stream)}, bin {one.bin_index}: {said}"
    for reason, count in one.reasons.items():
        yield f"    {counted(count, 'outcome')}: {shown(reason)}"


def _stream(one: ComparedStream) -> str:
    return f"{_named(one.stream)}: {_view(one.live)} in live, {_view(one.shadow)} in the shadow"


def _view(one: StreamView | None) -> str:
    if one is None:
        return "nothing"
    return (
        f"{one.verdict} (ln E {one.evidence:.2f} of {one.n:,}), {counted(one.alarms, 'alarm')}, "
        f"threshold {one.threshold:.3f} after {counted(one.adjustments, 'adjustment')}"
    )


def _named(stream: tuple[str, str, str, int, str]) -> str:
    _, action_type, outcome_type, window_ms, source = stream
    return f"{shown(action_type)}/{shown(outcome_type)}/{duration(window_ms)}/{source}"

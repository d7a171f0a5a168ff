"""`trueup thresholds`."""

import asyncio
from typing import Annotated

import typer

from agents_topics.calibration import StreamCalibration, ThresholdAdjustment
from agents_topics.events import ThresholdOverride
from sinks.postgres.calibration_readings import calibration_streams, threshold_adjustments
from trueup.commands.options import ActionType, AsJson, Because, By, ListsFirst, Of, Source, Tenant
from trueup.overruling import Meant, overrule
from trueup.plain_terminal import print_words
from trueup.printing import print_json, print_line
from trueup.surroundings import database_here, tenant_here, tenant_names
from trueup.threshold_words import threshold_lines, thresholds_json

HISTORY_MAX = 1_000

command = typer.Typer(cls=ListsFirst, add_completion=False)


@command.command("list")
def list_(
    tenant: Annotated[str | None, typer.Argument(help="A tenant's name or UUID; else all.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Every adjustment.")] = False,
    as_json: AsJson = False,
) -> None:
    """Thresholds in force, why they stand there, and what came of the last adjustment."""
    tenant_id = tenant_here(tenant) if tenant else None
    per_stream = HISTORY_MAX if history else 1
    streams, adjustments = asyncio.run(_read(database_here(), tenant_id, per_stream))
    if as_json:
        print_json(thresholds_json(streams, adjustments))
        return
    print_words(threshold_lines(streams, adjustments, tenant_names()))
    if not streams:
        print_line("No stream has settled yet.")


@command.command("set")
def set_(
    tenant: Tenant,
    action_type: ActionType,
    threshold: Annotated[float, typer.Argument(min=0, max=1, help="From 0 to 1.")],
    because: Because,
    by: By = None,
    outcome_type: Of = None,
    source: Source = None,
) -> None:
    """The threshold goes there and is held, whatever the evidence, until it is released."""
    asked = {"kind": "threshold", "action": "set", "value": threshold}
    meant = Meant(tenant, action_type, outcome_type, source)
    overrule(meant, ThresholdOverride, because, by, asked, f"threshold goes to {threshold:g}")


@command.command("roll-back")
def roll_back(
    tenant: Tenant,
    action_type: ActionType,
    because: Because,
    by: By = None,
    outcome_type: Of = None,
    source: Source = None,
) -> None:
    """The threshold goes back to where it was before its last change, and is held there."""
    asked = {"kind": "threshold", "action": "roll_back"}
    meant = Meant(tenant, action_type, outcome_type, source)
    overrule(meant, ThresholdOverride, because, by, asked, "threshold goes back by one change")


@command.command()
def release(
    tenant: Tenant,
    action_type: ActionType,
    because: Because,
    by: By = None,
    outcome_type: Of = None,
    source: Source = None,
) -> None:
    """The threshold may follow the evidence again, one window from now."""
    asked = {"kind": "threshold", "action": "release"}
    meant = Meant(tenant, action_type, outcome_type, source)
    overrule(meant, ThresholdOverride, because, by, asked, "threshold is released")


async def _read(
    url: str, tenant_id: str | None, per_stream: int
) -> tuple[list[StreamCalibration], list[ThresholdAdjustment]]:
    streams = await calibration_streams(url, tenant_id)
    return streams, await threshold_adjustments(url, tenant_id, per_stream=per_stream)

"""`trueup alarms`."""

import asyncio
from typing import Annotated

import typer

from agents_topics.calibration import CalibrationAlarm, StreamCalibration
from agents_topics.events import CloseAlarm
from sinks.postgres.calibration_readings import calibration_alarms, calibration_streams
from trueup.alarms import alarm_lines, alarms_json, flag_lines, flags_of
from trueup.commands.options import ActionType, AsJson, Because, By, ListsFirst, Of, Source, Tenant
from trueup.overruling import Meant, overrule
from trueup.plain_terminal import print_words
from trueup.printing import print_json, print_line
from trueup.surroundings import database_here, tenant_here, tenant_names

command = typer.Typer(cls=ListsFirst, add_completion=False)


@command.command("list")
def list_(
    tenant: Annotated[str | None, typer.Argument(help="A tenant's name or UUID; else all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Open alarms, and which streams stand out among a tenant's and among all."""
    tenant_id = tenant_here(tenant) if tenant else None
    alarms, streams = asyncio.run(_read(database_here(), tenant_id, every))
    own = [one for one in streams if one.tenant_id == tenant_id]
    of_tenant, of_fleet = flags_of(own) if tenant_id else None, flags_of(streams)
    if as_json:
        print_json(alarms_json(alarms, of_tenant, of_fleet))
        return
    names = tenant_names()
    print_words(alarm_lines(alarms, names))
    if not alarms:
        print_line("No alarm." if every else "No alarm is open.")
    if tenant and of_tenant:
        print_words(flag_lines(of_tenant, own, names, tenant))
    print_words(flag_lines(of_fleet, streams, names, "all tenants"))


@command.command()
def close(
    tenant: Tenant,
    action_type: ActionType,
    because: Because,
    by: By = None,
    outcome_type: Of = None,
    source: Source = None,
) -> None:
    """Something new is tested from now on: evidence begins anew; exit 4 if no alarm is open."""
    meant = Meant(tenant, action_type, outcome_type, source)
    overrule(meant, CloseAlarm, because, by, {"kind": "close_alarm"}, "alarm is closed")


async def _read(
    url: str, tenant_id: str | None, with_closed: bool
) -> tuple[list[CalibrationAlarm], list[StreamCalibration]]:
    alarms = await calibration_alarms(url, tenant_id, with_closed=with_closed)
    return alarms, await calibration_streams(url)

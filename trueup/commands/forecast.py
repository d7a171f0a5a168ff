"""`trueup forecast`."""

import asyncio
from typing import Annotated

import typer

from trueup.commands.options import ActionType, AsJson, Tenant, day_at
from trueup.exits import BAD_INPUT
from trueup.foretelling import SCORED_DAYS, forecast_json, forecast_lines, read_forecasts
from trueup.plain_terminal import print_words
from trueup.printing import fail, print_json
from trueup.surroundings import database_here, tenant_here


def command(
    tenant: Tenant,
    action_type: ActionType,
    as_of: Annotated[
        str | None, typer.Option(metavar="DAY", help="As it was at the end of a day.")
    ] = None,
    score: Annotated[bool, typer.Option("--score", help="Each past forecast.")] = False,
    days: Annotated[
        int, typer.Option(min=1, max=1_000, help="So many past forecasts are scored.")
    ] = SCORED_DAYS,
    as_json: AsJson = False,
) -> None:
    """Past forecasts are made again from what was known then, and held to what came."""
    as_of_day = day_at("--as-of", as_of)
    tenant_id = tenant_here(tenant)
    found = asyncio.run(read_forecasts(database_here(), tenant_id, action_type, as_of_day, days))
    if not found:
        fail(f"Nothing of {action_type} has settled for {tenant}.", BAD_INPUT)
    if as_json:
        print_json([forecast_json(one) for one in found])
        return
    for one in found:
        print_words(forecast_lines(one, score))

"""`trueup pending`."""

import asyncio
from typing import Annotated

import typer

from sinks.postgres.queries import pending
from trueup.commands.options import AsJson
from trueup.printing import print_json, print_line
from trueup.surroundings import database_here, tenant_here


def command(
    tenant: Annotated[str | None, typer.Option(help="A tenant's name or UUID; else all.")] = None,
    outcome_type: Annotated[str | None, typer.Option("--type", help="An outcome type.")] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only closed windows.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    as_json: AsJson = False,
) -> None:
    """Those whose window closes first come first."""
    tenant_id = tenant_here(tenant) if tenant else None
    asked = pending(database_here(), tenant_id, outcome_type, is_overdue=overdue, limit=limit)
    answer = asyncio.run(asked)
    if as_json:
        print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
        return
    if not answer.rows:
        print_line("Nothing is pending.")
        return
    print_line("\t".join(answer.columns))
    for row in answer.rows:
        print_line("\t".join("" if value is None else str(value) for value in row))

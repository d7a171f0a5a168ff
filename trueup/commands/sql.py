"""`trueup sql`."""

import asyncio
from typing import Annotated

import typer

from sinks.postgres.queries import run_sql
from trueup.commands.options import AsJson
from trueup.printing import print_json, print_line, print_table
from trueup.surroundings import database_here, tenant_here


def command(
    statement: str,
    role: Annotated[str | None, typer.Option(help="trueup_operator, trueup_api …")] = None,
    tenant: Annotated[str | None, typer.Option(help="A tenant's name or UUID.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tab-separated rows under their columns' names, or what was done."""
    tenant_id = tenant_here(tenant) if tenant else None
    answer = asyncio.run(run_sql(database_here(), statement, role, tenant_id))
    if as_json:
        print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
        return
    if answer.columns:
        print_table(answer.columns, answer.rows)
    else:
        print_line(answer.tag)

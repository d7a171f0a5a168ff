"""`trueup pending`."""

import asyncio
from typing import Annotated

import typer

from sinks.postgres.readings import get_outcomes_for_conversation, get_pending_outcomes
from trueup.commands.options import AsJson
from trueup.exits import USAGE
from trueup.printing import fail, print_json, print_line, print_table
from trueup.surroundings import database_here, tenant_here

_SHOWN: tuple[str, ...] = (
    "id", "tenant_id", "conversation_id", "action_type", "action_id", "outcome_type",
    "created_at", "window_expires_at",
)  # fmt: skip
_SHOWN_OF_CONVERSATION = (*_SHOWN, "outcome_status", "is_settled", "resolved_at", "decided_by")


def command(
    tenant: Annotated[str | None, typer.Option(help="A tenant's name or UUID; else all.")] = None,
    outcome_type: Annotated[str | None, typer.Option("--type", help="An outcome type.")] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only closed windows.")] = False,
    conversation: Annotated[
        str | None,
        typer.Option(help="A conversation's id or UUID: all its outcomes, whatever their status."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    as_json: AsJson = False,
) -> None:
    """Those whose window closes first come first; of a conversation, the first actions."""
    if conversation is not None and (tenant is None or outcome_type or overdue):
        fail("--conversation needs --tenant, and goes with neither --type nor --overdue.", USAGE)
    tenant_id = tenant_here(tenant) if tenant else None
    if conversation is None:
        shown, nothing = _SHOWN, "Nothing is pending."
        asked = get_pending_outcomes(database_here(), tenant_id, outcome_type, overdue, limit=limit)
    else:
        assert tenant_id is not None
        shown, nothing = _SHOWN_OF_CONVERSATION, "The conversation has no outcomes."
        asked = get_outcomes_for_conversation(database_here(), tenant_id, conversation, limit=limit)
    found = asyncio.run(asked)
    if as_json:
        print_json([outcome.model_dump(mode="json") for outcome in found])
        return
    if not found:
        print_line(nothing)
        return
    print_table(shown, ((getattr(outcome, name) for name in shown) for outcome in found))

"""`trueup forget`."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from agents_topics.events import CONVERSATION_ID_LENGTH_MAX
from trueup.commands.options import AsJson
from trueup.connecting import connection_here
from trueup.exits import ENVIRONMENT, USAGE
from trueup.forget import Asked, Found, Whose, forget, found
from trueup.plain_text import counted
from trueup.printing import fail, print_json, print_line
from trueup.surroundings import database_here, tenant_here

STAYS = (
    "stays  the inputs: they hold the events until their retention ends (docs/operations/forget.md)"
)


def command(
    tenant: Annotated[str, typer.Argument(help="A tenant's name or UUID.")],
    conversation: Annotated[
        str | None, typer.Argument(help="A conversation of it; otherwise all of the tenant.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; otherwise it is only told.")] = False,
    wait: Annotated[int, typer.Option(min=0, help="How many seconds to wait for it.")] = 60,
    as_json: AsJson = False,
) -> None:
    """State, rows and what readers hold go, while workers run; what is sent later counts as new.

    Without --yes nothing is changed.
    """
    if conversation is not None and not 0 < len(conversation) <= CONVERSATION_ID_LENGTH_MAX:
        fail("CONVERSATION: it has 1 to 200 characters", USAGE)
    connection, url = connection_here(), database_here()
    whose = Whose(tenant_here(tenant), conversation)
    told = asyncio.run(found(connection, url, whose))
    asked = asyncio.run(forget(connection, url, whose, wait)) if yes else None
    if as_json:
        print_json(_as_json(told, asked))
    else:
        print_line("\n".join([*_plan(told), *_end(asked)]))
    if asked and not asked.is_written:
        sys.exit(ENVIRONMENT)


def _as_json(told: Found, asked: Asked | None) -> dict[str, object]:
    """Without the conversation's id: what a program stores of this may be stored for long."""
    after = None
    if asked:
        after = {
            "forget_id": asked.forget_id,
            "partitions": list(asked.partitions),
            "waiting": asked.waiting,
            "open_outcomes": sum(entry.open_outcomes for entry in asked.entries),
            "is_written": asked.is_written,
        }
    return {"found": asdict(told), "forgotten": after}


def _plan(told: Found) -> Iterator[str]:
    yield f"goes   {counted(told.open_actions, 'open action')} of the tasks' state"
    for table, rows in told.rows.items():
        settled = f", {told.settled_outcomes:,} of them settled" if table == _OUTCOMES else ""
        yield f"goes   table {table}: {counted(rows, 'row')}{settled}"
    for topic, count in (("late-events", told.late_events), ("dead-letters", told.dead_letters)):
        yield f"stays  topic {topic}: {counted(count, 'record')}, until their retention ends"
    yield STAYS
    if told.forgotten:
        yield f"It was forgotten before: {counted(told.forgotten, 'time')}."


_OUTCOMES = "outcome_records"


def _end(asked: Asked | None) -> Iterator[str]:
    if asked is None:
        yield "Nothing was changed. --yes does it."
    elif asked.is_written:
        yield f"It is forgotten: {asked.forget_id}."
    elif asked.waiting:
        which = ", ".join(map(str, asked.waiting))
        yield (
            f"{asked.forget_id} was sent, and the tasks of partitions {which} have not come to it "
            "yet: they do when a worker runs and has applied what came before. Nothing need be "
            "sent again; run it without --yes to see what is left."
        )
    else:
        yield (
            f"The tasks have forgotten ({asked.forget_id}); Postgres has not been told yet: it is "
            "when the publisher comes to it. Run it without --yes to see what is left."
        )

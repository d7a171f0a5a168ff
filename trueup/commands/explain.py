"""`trueup explain`."""

import asyncio
import difflib
import sys
from typing import Annotated

import typer

from agents_topics.connection import Connection
from agents_topics.policy_file import load_policy
from sinks.postgres.provenance import (
    actions_decided_by,
    outcomes_of_action,
    recent_action_ids,
)
from streams.settings import Settings
from trueup.commands.options import AsJson
from trueup.connecting import connection_here
from trueup.exits import BAD_INPUT, USAGE
from trueup.explain import Nearby, gather, look_around
from trueup.explain_story import nothing_lines, story_as_json, story_lines, which_lines
from trueup.printing import print_json, print_line
from trueup.surroundings import database_here, tenant_here

RECENT_MAX = 20_000


def command(
    action_id: Annotated[str, typer.Argument(metavar="ACTION_ID")],
    tenant: Annotated[str | None, typer.Option(help="A tenant's name or UUID.")] = None,
    conversation: Annotated[str | None, typer.Option(help="Its id, or its state's UUID.")] = None,
    as_json: AsJson = False,
) -> None:
    """What became of an action and why: a short story with times."""
    connection, url = connection_here(), database_here()
    settings = Settings()
    tenant_id = tenant_here(tenant) if tenant else None
    located = asyncio.run(outcomes_of_action(url, action_id, tenant_id, conversation))
    conversations = {(one.outcome.tenant_id, one.outcome.conversation_id) for one in located}
    if len(conversations) > 1:
        print_line("\n".join(which_lines([one.outcome for one in located])), sys.stderr)
        sys.exit(USAGE)
    if not located:
        nearby = asyncio.run(_nearby(connection, url, action_id, tenant_id))
        print_line("\n".join(nothing_lines(action_id, nearby)), sys.stderr)
        sys.exit(BAD_INPUT)
    case = asyncio.run(gather(connection, load_policy(settings.policy), located))
    if as_json:
        print_json(story_as_json(case))
    else:
        print_line("\n".join(story_lines(case, settings.grace_ms)))


async def _nearby(
    connection: Connection, url: str, action_id: str, tenant_id: str | None
) -> Nearby:
    """Where else the id stands, and ids like it among the newest."""
    recent = await recent_action_ids(url, tenant_id, RECENT_MAX)
    nearby = Nearby(
        decided=await actions_decided_by(url, action_id, tenant_id),
        near=difflib.get_close_matches(action_id, recent, 5, 0.7),
    )
    await look_around(connection, action_id, nearby)
    return nearby

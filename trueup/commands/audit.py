"""`trueup audit`."""

import asyncio
import sys

from agents_topics.policy import load_policy
from streams.settings import read_settings
from trueup.commands.options import AsJson
from trueup.exits import NOT_EXACT
from trueup.ledger import audit_database
from trueup.printing import print_json, print_line
from trueup.surroundings import connection_here, database_here


def command(as_json: AsJson = False) -> None:
    """Names every difference."""
    connection, url = connection_here(), database_here()
    settings = read_settings()
    policy = load_policy(settings.policy)
    report = asyncio.run(
        audit_database(connection, policy, url, settings.grace_ms, settings.idle_after_ms)
    )
    if as_json:
        print_json(report.to_json())
    else:
        print_line(str(report))
    if not report.is_exact:
        sys.exit(NOT_EXACT)

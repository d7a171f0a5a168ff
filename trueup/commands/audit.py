"""`trueup audit`."""

import asyncio
import sys

from agents_topics.policy_file import load_policy
from streams.settings import read_settings
from streams.topic_admin import check_topics
from trueup.commands.options import AsJson
from trueup.connecting import connection_here
from trueup.exits import ENVIRONMENT, NOT_EXACT
from trueup.ledger import audit_database
from trueup.printing import fail, print_json, print_line
from trueup.surroundings import database_here


def command(as_json: AsJson = False) -> None:
    """Names every difference."""
    connection, url = connection_here(), database_here()
    settings = read_settings()
    policy = load_policy(settings.policy)
    found = asyncio.run(check_topics(connection, settings.partitions))
    if wrong := [problem for problem in found if not problem.is_warning]:
        told = "; ".join(f"topic {problem.topic} {problem.reason}" for problem in wrong)
        fail(f"There is nothing to audit: {told}", ENVIRONMENT)
    report = asyncio.run(
        audit_database(connection, policy, url, settings.grace_ms, settings.idle_after_ms)
    )
    if as_json:
        print_json(report.to_json())
    else:
        print_line(str(report))
    if not report.is_exact:
        sys.exit(NOT_EXACT)

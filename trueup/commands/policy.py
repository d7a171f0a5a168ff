"""`trueup policy`."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from agents_topics.events import PolicyRecord, to_ms
from agents_topics.identifiers import tenant_id_of
from agents_topics.policy import Policy, PolicyVersion
from agents_topics.policy_file import load_policy
from agents_topics.policy_history import record_of
from streams.policy_log import compared
from streams.settings import read_settings
from trueup.commands.options import AsJson
from trueup.connecting import connection_here
from trueup.exits import BAD_INPUT, USAGE
from trueup.policy_text import begin_of, differences, told
from trueup.printing import fail, print_json, print_line
from trueup.surroundings import readable

command = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

File = Annotated[
    str | None, typer.Argument(help="TOML; without it the one of TRUEUP_POLICY, or the default.")
]


@command.command()
def check(
    file: File = None,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Also against what workers have recorded in Kafka.")
    ] = False,
) -> None:
    """Whether a worker would take the file; exit 4 with file, line and reason if not."""
    policy = _policy(file)
    contradictions = asyncio.run(compared(connection_here(), policy))[1] if recorded else []
    if contradictions:
        fail("\n".join(contradictions), BAD_INPUT)
    types = {action_type for v in policy.versions for _, action_type, _ in v.parts()}
    print_line(
        f"Good: versions {len(policy.versions)}, action types {len(types)}, named tenants "
        f"{len(policy.tenants)}."
    )


@command.command()
def show(
    file: File = None,
    at: Annotated[str | None, typer.Option(help="The version in force then: RFC 3339.")] = None,
    tenant: Annotated[str | None, typer.Option(help="As it is for a tenant: name or UUID.")] = None,
    as_json: AsJson = False,
) -> None:
    """The rules in words."""
    policy = _policy(file)
    versions = policy.versions if at is None else (policy.version_at(_time(at)),)
    tenant_id = tenant and (policy.tenants.get(tenant) or tenant_id_of(tenant))
    if as_json:
        print_json([_as_json(version) for version in versions])
        return
    for line in told(policy, versions, tenant_id):
        print_line(line)


@command.command()
def diff(
    file: Annotated[str, typer.Argument(help="The new file.")],
    against: Annotated[
        str | None, typer.Option(help="Another file; otherwise what Kafka has recorded.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a new file would change; exit 4 if it would change the past."""
    policy = _policy(file)
    if against is not None:
        old, problems = _records(_policy(against)), list[str]()
    else:
        old, problems = asyncio.run(compared(connection_here(), policy))
    lines = list(differences(old, _records(policy)))
    if as_json:
        print_json({"differences": lines, "refused": problems})
    else:
        for line in lines or ["Nothing differs."]:
            print_line(line)
        for problem in problems:
            print_line(f"refused: {problem}")
    if problems:
        sys.exit(BAD_INPUT)


def _policy(file: str | None) -> Policy:
    return load_policy(read_settings().policy if file is None else Path(readable(file)))


def _records(policy: Policy) -> list[PolicyRecord]:
    return [record_of(version) for version in policy.versions]


def _time(at: str) -> int:
    try:
        return to_ms(at)
    except (ValueError, TypeError) as problem:
        fail(f"--at {at}: {problem}", USAGE)


def _as_json(version: PolicyVersion) -> dict[str, Any]:
    return {
        "digest": version.digest,
        "begins": begin_of(version.effective_from),
        "content": json.loads(version.content),
    }

"""Where a command finds its servers and rules: what runs in this folder, else the environment."""

import os
from pathlib import Path

from agents_topics.connection import secret_of
from agents_topics.identifiers import tenant_id_of
from agents_topics.policy_file import load_policy
from streams.settings import read_settings
from trueup.embedded.problems import EnvironmentProblem
from trueup.exits import USAGE
from trueup.printing import fail
from trueup.running import adopt_running

TO_START = "start `trueup demo` or `trueup up` in this folder"


def database_here() -> str:
    """The database's address.

    Raises:
        EnvironmentProblem: No database is known.
    """
    adopt_running(os.environ)
    url = secret_of(os.environ, "DATABASE_URL")
    if not url:
        raise EnvironmentProblem("No database is known.", f"Set DATABASE_URL, or {TO_START}.")
    return url


def tenant_here(name: str) -> str:
    """The UUID that the policy gives a tenant's name, or the one made of it; a UUID is its own."""
    tenants = load_policy(read_settings().policy).tenants
    return tenants.get(name) or tenant_id_of(name)


def tenant_names() -> dict[str, str]:
    """By UUID, the names that the policy gives tenants."""
    tenants = load_policy(read_settings().policy).tenants
    return {tenant_id: name for name, tenant_id in tenants.items()}


def readable(file: str) -> Path:
    """The file that a user has named; ends the command if there is none."""
    path = Path(file)
    if not path.is_file():
        fail(f"{file}: there is no such file", USAGE)
    return path

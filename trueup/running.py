"""The servers that a demo or `trueup up` in this folder has running, for a second terminal.

Each running one keeps a file of mode 0600 under `.trueup/`, named by its process id; the newest
whose process lives is meant, and another process that was given that id is not. Servers that the
environment names win; otherwise all the settings are those of the running one, for its rules made
what is in its topics.
"""

import json
import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trueup.embedded.folders import private_folder
from trueup.embedded.processes import is_alive, started

FOLDER = Path(".trueup")
SERVERS = ("KAFKA_BOOTSTRAP", "DATABASE_URL")
RULES = (
    "TRUEUP_PREFIX",
    "TRUEUP_POLICY",
    "TRUEUP_PARTITIONS",
    "TRUEUP_GRACE_S",
    "TRUEUP_GRACE_S_AGENT_ACTIONS",
    "TRUEUP_GRACE_S_AGENT_INTERACTIONS",
)
NAMES = (*SERVERS, *RULES, "TRUEUP_METRICS")


@contextmanager
def announced(settings: dict[str, str]) -> Iterator[None]:
    """Commands in this folder find the servers inside the block."""
    private_folder(FOLDER.absolute())
    running_here()  # a password that a killed one has left there is removed
    file = FOLDER / f"running-{os.getpid()}.json"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump({"started": started(os.getpid()), "settings": settings}, out)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Running:
    """What runs in this folder: the process that keeps it, and the settings it announced."""

    pid: int
    settings: dict[str, str]


def running_here() -> Running | None:
    """The newest one whose process lives; what those that are gone had announced is removed."""
    found = None
    files = sorted(FOLDER.glob("running-*.json"), key=_age_s)
    for file in files:
        pid = int(file.stem.removeprefix("running-"))
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            began, settings = told["started"], told["settings"]
        except (OSError, ValueError, KeyError):
            continue  # it has just ended, has just begun to write, or is of another release
        if not is_alive(pid, began or ""):
            file.unlink(missing_ok=True)
        elif found is None:
            found = Running(pid, settings)
    return found


def find_running() -> dict[str, str]:
    """The settings of the newest running one; empty where there is none."""
    here = running_here()
    return here.settings if here else {}


def names_servers(environment: Mapping[str, str]) -> bool:
    """Whether the environment names servers of its own."""
    return any(environment.get(name) for name in (*SERVERS, "DATABASE_URL_FILE"))


def adopt_running(environment: MutableMapping[str, str]) -> None:
    """The environment is that of what runs here, unless it names servers of its own."""
    if names_servers(environment):
        return
    found = find_running()
    for name in NAMES if found else ():
        environment.pop(name, None)
        if name in found:
            environment[name] = found[name]


def rules_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that whoever reads the topics later must have too."""
    return {name: environment[name] for name in RULES if name in environment}


def _age_s(file: Path) -> float:
    try:
        return -file.stat().st_mtime
    except FileNotFoundError:
        return 0.0

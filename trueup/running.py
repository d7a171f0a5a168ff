"""The servers that a demo or `trueup up` in this folder has running, for a second terminal.

Each running one keeps a file of mode 0600 under `.trueup/`, named by its process id; the newest
whose process lives is meant. Servers that the environment names win; otherwise all the settings
are those of the running one, for its rules made what is in its topics.
"""

import json
import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from trueup.embedded.folders import private_folder

FOLDER = Path(".trueup")
SERVERS = ("KAFKA_BOOTSTRAP", "DATABASE_URL")
RULES = ("TRUEUP_PREFIX", "TRUEUP_POLICY", "TRUEUP_PARTITIONS", "TRUEUP_GRACE_S")
NAMES = (*SERVERS, *RULES, "TRUEUP_METRICS")


@contextmanager
def announced(settings: dict[str, str]) -> Iterator[None]:
    """Commands in this folder find the servers inside the block."""
    private_folder(FOLDER.absolute())
    file = FOLDER / f"running-{os.getpid()}.json"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(settings, out)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def find_running() -> dict[str, str]:
    """The settings of the newest running one; empty where there is none."""
    files = sorted(FOLDER.glob("running-*.json"), key=lambda f: f.stat().st_mtime, reverse=True)
    for file in files:
        if _is_alive(int(file.stem.removeprefix("running-"))):
            found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
            return found
        file.unlink(missing_ok=True)
    return {}


def adopt_running(environment: MutableMapping[str, str]) -> None:
    """The environment is that of what runs here, unless it names servers of its own."""
    if any(environment.get(name) for name in (*SERVERS, "DATABASE_URL_FILE")):
        return
    found = find_running()
    for name in NAMES if found else ():
        environment.pop(name, None)
        if name in found:
            environment[name] = found[name]


def rules_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that whoever reads the topics later must have too."""
    return {name: environment[name] for name in RULES if name in environment}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""The servers that a demo or `trueup up` in this folder has running, for a second terminal.

Each running one keeps a file of mode 0600 under `.trueup/`, named by its process id; the newest
whose process lives is meant. What the environment names wins.
"""

import json
import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(".trueup")
NAMES = ("KAFKA_BOOTSTRAP", "DATABASE_URL", "TRUEUP_PREFIX", "TRUEUP_POLICY", "TRUEUP_METRICS")


@contextmanager
def announced(settings: dict[str, str]) -> Iterator[None]:
    """Commands in this folder find the servers inside the block."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
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
    """Fills the environment's gaps with what runs here, unless it names servers of its own."""
    if environment.get("KAFKA_BOOTSTRAP") or environment.get("DATABASE_URL"):
        return
    for name, value in find_running().items():
        if name in NAMES:
            environment.setdefault(name, value)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

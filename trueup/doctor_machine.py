"""What `trueup doctor` looks at on this machine."""

import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from streams.settings import Settings
from trueup.embedded.accounts import postgres_account
from trueup.embedded.cache import cache_folder, enough_disk, free_bytes
from trueup.embedded.fetch import nearest_existing
from trueup.embedded.java import find_java
from trueup.embedded.kafka_jars import JARS, missing_jars
from trueup.embedded.ports import is_free
from trueup.embedded.postgres_binaries import find_postgres
from trueup.embedded.problems import EnvironmentProblem
from trueup.embedded.servers import DISK_MB_MIN, refuse_windows
from trueup.findings import Finding, judged, not_made

PYTHON_MIN, PYTHON_MAX = (3, 11), (3, 14)


def machine(settings: Settings, needs_embedded: bool, worker_answers: bool) -> Iterator[Finding]:
    """Python, disks and the worker's port; the embedded servers' programs where they are needed."""
    fits = PYTHON_MIN <= sys.version_info[:2] <= PYTHON_MAX
    yield judged(
        "python",
        None if fits else f"{platform.python_version()} is not 3.11 to 3.14",
        platform.python_version(),
        "Make the environment with another Python.",
    )
    for name, folder in (("cache", cache_folder()), ("temporary", Path(tempfile.gettempdir()))):
        yield _disk(f"{name} folder", nearest_existing(folder), folder)
    yield _port(settings, worker_answers)
    if not needs_embedded:
        yield not_made("embedded servers", "not needed: the environment names servers")
        return
    yield _tried("platform", refuse_windows, lambda _: platform.platform())
    yield _tried("java", find_java, str)
    missing = len(missing_jars(cache_folder()))
    yield judged(
        "kafka's jars",
        f"{missing} of {len(JARS)} are not in {cache_folder()}" if missing else None,
        f"all {len(JARS)} in {cache_folder()}",
        "`trueup fetch` fetches them, as the first `trueup demo` does.",
    )
    yield _tried("postgres programs", find_postgres, str)
    yield _tried("postgres account", postgres_account, lambda a: _account(a.is_another))


def _account(is_another: bool) -> str:
    return "runs as nobody" if is_another else "runs as this user"


def _disk(name: str, existing: Path, folder: Path) -> Finding:
    def room() -> int:
        with tempfile.TemporaryFile(dir=existing):
            pass
        enough_disk(existing, DISK_MB_MIN)
        return free_bytes(existing) // 1_000_000

    try:
        return _tried(name, room, lambda mb: f"{folder}, {mb:,} MB free")
    except OSError as problem:
        fix = "Name one that you may write in TRUEUP_CACHE or TMPDIR."
        return Finding(name, "FAIL", f"{folder} cannot be written ({problem.strerror})", fix)


def _port(settings: Settings, worker_answers: bool) -> Finding:
    port = settings.web_port
    if worker_answers:
        return judged("worker's port", None, "a worker answers")
    taken = port != 0 and not is_free(port)
    return judged(
        "worker's port",
        f"{port} of 127.0.0.1 is taken" if taken else None,
        f"{port} of 127.0.0.1 is free",
        "Give a worker another one in TRUEUP_WEB_PORT.",
    )


def _tried(name: str, find: Callable[[], object], tell: Callable[..., str]) -> Finding:
    try:
        return Finding(name, "ok", tell(find()))
    except EnvironmentProblem as problem:
        return Finding(name, "FAIL", problem.what.rstrip("."), problem.fix)

"""The jars of Kafka: those of the lock file, byte for byte, or none.

A jar is in the cache only whole: it is fetched into a folder of this process, its sha256 compared
with the lock file's, and then renamed into place. So two processes may fetch at once, and one
that is killed leaves nothing half done that would ever be used.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from trueup.embedded.cache import enough_disk, writable
from trueup.embedded.problems import EnvironmentProblem

LOCK_FILE = Path(__file__).with_name("kafka_jars.lock")
DISK_MB_MIN = 100
THREADS = 8
FETCH_TIMEOUT_S = 30

Fetched = Callable[["Jar", Path], Path]
"""Fetches a jar into a folder and returns the file; an OSError or RuntimeError if it cannot."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One row of the lock file: Maven's coordinates, and what the file must be."""

    group: str
    artifact: str
    version: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name, as Maven gives it."""
        return f"{self.artifact}-{self.version}.jar"

    def is_at(self, path: Path) -> bool:
        """Whether the file is there and is this jar, byte for byte."""
        try:
            content = path.read_bytes()
        except OSError:
            return False
        return len(content) == self.size and hashlib.sha256(content).hexdigest() == self.sha256


def _read_lock() -> tuple[str, tuple[Jar, ...]]:
    lock = tomllib.loads(LOCK_FILE.read_text(encoding="utf-8"))
    return lock["kafka"], tuple(Jar(**row) for row in lock["jar"])


KAFKA_VERSION, JARS = _read_lock()


def jars_folder(cache: Path) -> Path:
    """Where the jars of this version of Kafka are kept."""
    return cache / f"kafka-{KAFKA_VERSION}"


def missing_jars(cache: Path) -> list[Jar]:
    """The jars that must still be fetched; one that was tampered with is among them."""
    folder = jars_folder(cache)
    return [jar for jar in JARS if not jar.is_at(folder / jar.name)]


def fetch_jars(cache: Path, fetch: Fetched | None = None) -> int:
    """All jars are in the cache afterwards; returns how many had to be fetched.

    Raises:
        EnvironmentProblem: The package host cannot be reached, it sends something else than the
            lock file says, or the cache cannot hold it.
    """
    missing = missing_jars(cache)
    if not missing:
        return 0
    folder = writable(
        jars_folder(cache), "Set TRUEUP_CACHE to a folder that you may write, or fix its owner."
    )
    enough_disk(folder, DISK_MB_MIN)
    with _workshop(folder) as workshop, ThreadPoolExecutor(THREADS) as pool:
        fetch = fetch or _from_maven()
        try:
            for done in [pool.submit(_fetch_one, jar, folder, workshop, fetch) for jar in missing]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)
    return len(missing)


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """A folder on the cache's own disk for this process alone, removed afterwards."""
    workshop = Path(tempfile.mkdtemp(prefix=".fetching-", dir=folder))
    try:
        yield workshop
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _fetch_one(jar: Jar, folder: Path, workshop: Path, fetch: Fetched) -> None:
    try:
        fetched = fetch(jar, workshop)
    except (OSError, RuntimeError) as problem:
        raise EnvironmentProblem(
            f"{jar.name} could not be fetched ({_in_short(problem)}).",
            "Check the network and HTTPS_PROXY, name a mirror in TRUEUP_MAVEN_MIRROR, or run "
            "`trueup fetch` where there is a network and carry the folder over with TRUEUP_CACHE.",
        ) from problem
    if not jar.is_at(fetched):
        raise EnvironmentProblem(
            f"{jar.name} has a wrong checksum: the package host sent something else than "
            f"sha256 {jar.sha256}.",
            "Nothing of it was kept; try again, or name a mirror you trust in TRUEUP_MAVEN_MIRROR.",
        )
    os.replace(fetched, folder / jar.name)


def _in_short(problem: Exception) -> str:
    """The innermost reason in a few words; requests wraps it four deep, with addresses."""
    inner: BaseException = problem
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    return f"{type(problem).__name__}: {inner}".splitlines()[0][:200]


def _from_maven() -> Fetched:
    """Fetches through jgo, whose client honours HTTPS_PROXY and REQUESTS_CA_BUNDLE.

    Raises:
        EnvironmentProblem: The extra that brings it is not installed.
    """
    try:
        # Imported when something is missing and not before: a warm start needs none of it.
        maven: Any = import_module("jgo.maven")
        settings: Any = import_module("jgo.config").GlobalSettings.load()
    except ImportError as problem:
        raise EnvironmentProblem(
            "The jars of Kafka are not in the cache, and jgo, which fetches them, is missing.",
            "Run pip install 'trueup[embedded]', or set KAFKA_BOOTSTRAP.",
        ) from problem
    logging.getLogger("jgo").setLevel(logging.CRITICAL)  # we say what is wrong, and once
    mirror = maven_mirror(os.environ)
    # None is jgo's own default: Maven Central.
    repositories = {"mirror": mirror} if mirror else settings.repositories or None

    def fetch(jar: Jar, workshop: Path) -> Path:
        context = maven.MavenContext(
            repo_cache=workshop,
            local_repos=[],
            remote_repos=repositories,
            timeout=FETCH_TIMEOUT_S,
        )
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        return Path(context.resolver.download(component.artifact()))

    return fetch


def maven_mirror(environ: Mapping[str, str]) -> str | None:
    """The mirror the user has: TRUEUP_MAVEN_MIRROR, else the one of Maven's settings.xml."""
    if named := environ.get("TRUEUP_MAVEN_MIRROR"):
        return named.rstrip("/")
    settings = Path(environ.get("HOME", "/")) / ".m2" / "settings.xml"
    try:
        tree = ElementTree.parse(settings)
    except (OSError, ElementTree.ParseError):
        return None
    for mirror in tree.iterfind(".//{*}mirror"):
        applies_to = (mirror.findtext("{*}mirrorOf") or "").replace(" ", "").split(",")
        url = mirror.findtext("{*}url")
        if url and not {"*", "external:*", "central"}.isdisjoint(applies_to):
            return url.strip().rstrip("/")
    return None

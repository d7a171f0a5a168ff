"""Everything the embedded default needs, fetched beforehand, and what of it is here."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from trueup.embedded.accounts import postgres_account
from trueup.embedded.cache import cache_folder, free_bytes
from trueup.embedded.java import find_java
from trueup.embedded.kafka_jars import JARS, KAFKA_VERSION, fetch_jars, jars_folder, missing_jars
from trueup.embedded.postgres_binaries import find_postgres
from trueup.embedded.problems import EnvironmentProblem
from trueup.embedded.servers import Say, refuse_windows, silent


def fetch(say: Say = silent) -> None:
    """No later run needs a network: the jars are cached, Java and Postgres are found.

    Raises:
        EnvironmentProblem: One of them cannot be had.
    """
    refuse_windows()
    began = time.monotonic()
    say(str(find_java()), time.monotonic() - began)

    began = time.monotonic()
    cache = cache_folder()
    fetched = fetch_jars(cache)
    say(
        f"Kafka {KAFKA_VERSION} jars ({len(JARS)}, {fetched} fetched) in {jars_folder(cache)}",
        time.monotonic() - began,
    )

    began = time.monotonic()
    say(str(find_postgres()), time.monotonic() - began)


def environment() -> dict[str, str | int | bool]:
    """What was found on this machine; what is missing is named in its place, never raised."""
    cache = cache_folder()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "uid": os.geteuid() if hasattr(os, "geteuid") else -1,
        "java": _found(lambda: str(find_java())),
        "kafka": KAFKA_VERSION,
        "kafka_jars": len(JARS),
        "kafka_jars_missing": len(missing_jars(cache)),
        "postgres": _found(lambda: str(find_postgres())),
        "postgres_runs_as": _found(_runs_as),
        "cache": str(cache),
        "disk_free_mb": free_bytes(nearest_existing(cache)) // 1_000_000,
        "kafka_bootstrap_is_set": "KAFKA_BOOTSTRAP" in os.environ,
        "database_url_is_set": "DATABASE_URL" in os.environ,
    }


def _found(find: Callable[[], str]) -> str:
    try:
        return find()
    except EnvironmentProblem as problem:
        return problem.what


def _runs_as() -> str:
    refuse_windows()
    return "nobody" if postgres_account().is_another else "this user"


def nearest_existing(path: Path) -> Path:
    """The path or the nearest of its parents that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())

"""The cache folder: what was fetched once and is never fetched again.

Nothing in it is precious. ``TRUEUP_CACHE`` names it; otherwise it is ``trueup`` in the user's
cache folder.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from trueup.embedded.problems import EnvironmentProblem

FreeBytes = Callable[[Path], int]


def free_bytes(folder: Path) -> int:
    """How much the disk that holds the folder can still take."""
    return shutil.disk_usage(folder).free


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the cache is; it need not exist yet."""
    if named := environ.get("TRUEUP_CACHE"):
        return Path(named).expanduser().absolute()
    if xdg := environ.get("XDG_CACHE_HOME"):
        return Path(xdg).absolute() / "trueup"
    home = Path(environ.get("HOME") or Path("~").expanduser())
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "trueup"


def writable(folder: Path, fix: str) -> Path:
    """The folder, made if it was missing and tried with a file.

    Raises:
        EnvironmentProblem: Nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as problem:
        what = f"The folder {folder} cannot be written ({problem.strerror})."
        raise EnvironmentProblem(what, fix) from problem


def enough_disk(folder: Path, needed_mb: int, free: FreeBytes = free_bytes) -> None:
    """Returns if the disk of an existing folder has room.

    Raises:
        EnvironmentProblem: It has not.
    """
    free_mb = free(folder) // 1_000_000
    if free_mb < needed_mb:
        raise EnvironmentProblem(
            f"The disk of {folder} has {free_mb} MB left, and {needed_mb} MB are needed.",
            "Free some space, or name folders on another disk in TMPDIR and TRUEUP_CACHE.",
        )

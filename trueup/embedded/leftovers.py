"""Temporary folders say whose they are, so that what a killed process left can be removed.

The law: a folder is removed only if it is this user's own, says who its owner was, that process is
gone, and nobody holds a lock in it: neither its owner nor a server that is still ending.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trueup.embedded.processes import is_alive, started

if sys.platform != "win32":  # there the front door says so in a sentence; importing must not fail
    import fcntl

OWNER = "owner"
PREFIX = "trueup-"
ROOTS_OWN = Path("/var/lib/trueup")
_LOCKS = (OWNER, "kafka/lock", "postgres/lock")

_held: list[int] = []
"""The locks of this process's own folders; the system lets go of them when it ends, however."""


def own(folder: Path) -> None:
    """The folder says that it is this process's, for as long as this process lives."""
    descriptor = os.open(folder / OWNER, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # a disk without locks: its folders are never removed
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(descriptor, json.dumps({"pid": os.getpid(), "started": started(os.getpid())}).encode())
    _held.append(descriptor)


@contextmanager
def own_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder, this process's own, that goes with the block."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        own(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(among: Path | None = None) -> int:
    """How many folders of processes that are gone were removed."""
    parent = among or Path(tempfile.gettempdir())
    removed = 0
    for folder in sorted(parent.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError), _locked(folder) as is_left:
            if is_left:
                removed += _removed(folder)
    return removed


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether the folder may be removed; inside the block nobody else can think so too."""
    with contextlib.ExitStack() as undo:
        yield _is_ours(folder) and _is_orphaned(folder) and _can_lock(folder, undo)


def _is_ours(folder: Path) -> bool:
    """A folder and an owner's file, no links, both of this user."""
    found = folder.lstat()
    mark = (folder / OWNER).lstat()
    us = os.geteuid()
    return (
        stat.S_ISDIR(found.st_mode)
        and stat.S_ISREG(mark.st_mode)
        and found.st_uid == us == mark.st_uid
    )


def _is_orphaned(folder: Path) -> bool:
    try:
        told = json.loads((folder / OWNER).read_text(encoding="ascii"))
        return not is_alive(int(told["pid"]), told["started"] or "")
    except (ValueError, KeyError, TypeError):
        return False  # it is just being made


def _can_lock(folder: Path, undo: contextlib.ExitStack) -> bool:
    for name in _LOCKS:
        path = folder / name
        if name != OWNER and not path.exists():
            continue
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        undo.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino != path.stat().st_ino:
            return False  # somebody removed it, and another has its name
    return True


def _removed(folder: Path) -> bool:
    """Removes it, and what it links to where Postgres could not live inside."""
    link = folder / "postgres"
    if link.is_symlink() and (elsewhere := link.resolve()).parent == ROOTS_OWN:
        shutil.rmtree(elsewhere, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()

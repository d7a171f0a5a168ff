"""Where servers live: a home, and in it one private folder for each of them."""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trueup.embedded.accounts import Account, others_reach
from trueup.embedded.cache import writable
from trueup.embedded.leftovers import PREFIX, ROOTS_OWN, own
from trueup.embedded.problems import EnvironmentProblem

if sys.platform != "win32":  # there the front door says so in a sentence; importing must not fail
    import fcntl


def private_folder(
    path: Path,
    mode: int = 0o700,
    mode_of: Callable[[Path], int] = lambda path: stat.S_IMODE(path.stat().st_mode),
) -> Path:
    """The folder, made if it was missing, with exactly this mode.

    Raises:
        EnvironmentProblem: It cannot have the mode: not ours, or a disk without modes.
    """
    fix = "Choose a folder of your own on a local disk, not on a Windows or network share."
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        path.chmod(mode)
        has = mode_of(path)
    except OSError as problem:
        what = f"The folder {path} cannot be made private ({problem.strerror})."
        raise EnvironmentProblem(what, fix) from problem
    if has != mode:
        what = f"The folder {path} cannot hold mode {mode:04o}: its disk made {has:04o} of it."
        raise EnvironmentProblem(what, fix)
    return path


def postgres_folder(home: Path, account: Account) -> Path:
    """Where Postgres lives: in the home, or for `nobody` where that can be reached.

    A home under /root cannot. Then the folder is one of root's own elsewhere and the home links
    to it: whoever removes the home begins anew with both servers, never with one of them.
    """
    folder = home / "postgres"
    if not account.is_another:
        return private_folder(folder)
    if not (folder.is_symlink() or folder.exists() or others_reach(home)):
        private_folder(ROOTS_OWN, mode=0o711)
        folder.symlink_to(tempfile.mkdtemp(prefix="postgres-", dir=ROOTS_OWN))
    return private_folder(folder.resolve(), mode=0o711)


@contextmanager
def home_folder(folder: Path | None) -> Iterator[Path]:
    """The folder that was asked for, which stays, or a temporary one for as long as the block."""
    if folder is not None:
        home = writable(folder.absolute(), "Choose a folder that you may write.")
        with _in_use(home):
            yield home
        return
    home = temporary_home()
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _in_use(home: Path) -> Iterator[None]:
    """The home is ours alone for the block; the system frees it should we be killed in it."""
    with open(home / "in-use", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise EnvironmentProblem(
                f"The folder {home} is in use by another process ({problem.strerror}).",
                "End that one, or choose another folder.",
            ) from problem
        yield


def temporary_home() -> Path:
    """A fresh temporary folder in which servers can live; the caller removes it.

    Raises:
        EnvironmentProblem: None can be made.
    """
    try:
        home = Path(tempfile.mkdtemp(prefix=PREFIX))
        own(home)
    except OSError as problem:
        what = f"No temporary folder can be made ({problem.strerror})."
        raise EnvironmentProblem(what, "Name one that you may write in TMPDIR.") from problem
    home.chmod(0o711)  # whoever runs Postgres passes through; each server's folder is private
    return home

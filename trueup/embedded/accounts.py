"""Who runs Postgres: the user, or `nobody` where the user is root, whom Postgres refuses."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from trueup.embedded.problems import EnvironmentProblem

if sys.platform != "win32":  # there the front door says so in a sentence; importing must not fail
    import pwd

USE_ANOTHER = "or set DATABASE_URL to a Postgres that runs elsewhere."


@dataclass(frozen=True, slots=True)
class Account:
    """The user a server runs as; uid and gid are None where it is simply ourselves."""

    uid: int | None = None
    gid: int | None = None

    @property
    def is_another(self) -> bool:
        """Whether it is somebody who may not read what we may."""
        return self.uid is not None

    def own(self, path: Path) -> None:
        """The path belongs to the account afterwards."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def run(
        self, command: list[str], cwd: Path, typed: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as the account, with something typed into it."""
        return subprocess.run(
            command,
            cwd=cwd,
            user=self.uid,
            group=self.gid,
            extra_groups=[] if self.is_another else None,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            input=typed,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )


def postgres_account() -> Account:
    """Ourselves, or as root `nobody`.

    Raises:
        EnvironmentProblem: We are root and can become nobody else, or have no name.
    """
    if os.geteuid() != 0:
        return _ourselves()
    try:
        nobody = pwd.getpwnam("nobody")
        account = Account(nobody.pw_uid, nobody.pw_gid)
        account.run(["/bin/sh", "-c", ":"], cwd=Path("/"))  # no PATH has a say in it
    except (KeyError, OSError, subprocess.SubprocessError) as problem:
        raise EnvironmentProblem(
            "Postgres refuses to run as root, and this root cannot become the user nobody "
            f"({getattr(problem, 'strerror', None) or problem}).",
            f"Run as a normal user, without `unshare -r` and the like; {USE_ANOTHER}",
        ) from problem
    return account


def _ourselves() -> Account:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError as problem:
        raise EnvironmentProblem(
            f"Postgres needs a user with a name, and uid {os.geteuid()} has none.",
            f"Add it to /etc/passwd; {USE_ANOTHER}",
        ) from problem
    return Account()


def others_reach(path: Path) -> bool:
    """Whether somebody without any rights of ours can get to the path and use it."""
    path = path.resolve()
    try:
        can_pass = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
        needed = stat.S_IXOTH if path.is_dir() else stat.S_IXOTH | stat.S_IROTH
        return can_pass and path.stat().st_mode & needed == needed
    except OSError:
        return False

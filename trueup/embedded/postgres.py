"""A real Postgres on 127.0.0.1 with one database, which can be stopped, killed and started again.

Its data outlive it: whatever was committed is there after `start` again, on the same port. It is
reached over TCP with a password of its own; there is no socket file and no trusted user.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from trueup.embedded.accounts import Account
from trueup.embedded.kept import Kept, Order
from trueup.embedded.ports import LOOPBACK, asked_port, free_port
from trueup.embedded.postgres_binaries import PostgresBinaries
from trueup.embedded.problems import EnvironmentProblem

SUPERUSER = "postgres"
DATABASE = "trueup"
START_S_MAX = 60.0
STOP_S_MAX = 20.0
POLL_S = 0.02
PORT_TRIES_MAX = 5
# Safe against kill -9, not against a power cut. synchronous_commit stays on: off, a commit that was
# answered is lost with the process (a test saw it).
QUICK = ("fsync=off", "full_page_writes=off")


class EmbeddedPostgres:
    """One Postgres in one folder.

    Args:
        folder: Its own folder, made by the caller, which the account can reach.
        account: Who runs it.
        port: The port to listen on, or None for a free one, which it then keeps.
        throwaway: Its data may be lost: nothing waits for the disk, and they are removed with
            their owner.
    """

    def __init__(
        self,
        folder: Path,
        binaries: PostgresBinaries,
        account: Account,
        *,
        port: int | None = None,
        throwaway: bool = False,
        choose_port: Callable[[], int] = free_port,
    ) -> None:
        self.folder = folder
        self.binaries = binaries
        self._account = account
        self._asked_port = port
        self._throwaway = throwaway
        self._choose_port = choose_port
        self._kept: Kept | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The superuser's address of the database, password included.

        It has no TLS and says so, for a PGSSLMODE of the user's speaks of other servers.
        """
        password = (self.folder / "password").read_text(encoding="ascii").strip()
        address = f"{SUPERUSER}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"
        return f"postgresql://{address}?sslmode=disable"

    @property
    def pid(self) -> int:
        """The running server's first process."""
        assert self._kept is not None, "Postgres is not running"
        return self._kept.pid

    @property
    def is_running(self) -> bool:
        """Whether its process lives; it may be stopped by SIGSTOP all the same."""
        return self._kept is not None and self._kept.is_running

    def start(self) -> None:
        """Postgres takes connections afterwards; makes its data the first time.

        Raises:
            EnvironmentProblem: The port is taken, the folder is in use, or Postgres refuses; then
                the last line of its log is part of the sentence.
        """
        assert not self.is_running, "Postgres runs already"
        for _ in range(PORT_TRIES_MAX):
            port = self._asked_port or self._choose_port()
            if self._asked_port is not None:
                asked_port(port, "Postgres")
            self._initialise_once()
            self._order(port).log.unlink(missing_ok=True)
            kept = self._kept = Kept(self._order(port))
            self.port = port
            if self._is_ready_in_time(kept):
                self._asked_port = port  # clients know it now: a restart listens there again
                return
            kept.end(signal.SIGKILL, patience_s=STOP_S_MAX)
            if "could not bind" not in self._log_text():
                break
        raise self._refusal("did not start", self._log_text())

    def stop(self) -> None:
        """Postgres is gone afterwards and has broken off what was open; nothing is recovered."""
        if self._throwaway:
            self._end(signal.SIGQUIT)
        else:
            self.shut_down()

    def shut_down(self) -> None:
        """Postgres is gone afterwards as after `pg_ctl stop`, even where its data may be lost."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Postgres is gone afterwards as after a power cut of the process: kill -9.

        Its children see that and end themselves; `start` waits for the last of them.
        """
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._kept is not None:
            self._kept.end(number, patience_s=STOP_S_MAX)
            self._kept = None

    def _initialise_once(self) -> None:
        """Makes the data beside and renames, so that a kill in between leaves nothing half made."""
        data, new = self.folder / "data", self.folder / "data.new"
        if data.exists():
            return
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self._account.own(new)
        self._write_password()
        self._run(
            "initdb",
            *("-D", str(new), "-U", SUPERUSER, "-A", "scram-sha-256"),
            *("--pwfile", str(self.folder / "password"), "--locale=C", "-E", "UTF8"),
            *(["--no-sync"] if self._throwaway else []),
        )
        # One user and no port: the way to make a database without a client.
        create = f"CREATE DATABASE {DATABASE}\n"
        self._run("postgres", "--single", "-D", str(new), "postgres", typed=create)
        new.rename(data)

    def _write_password(self) -> None:
        path = self.folder / "password"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
        self._account.own(path)

    def _run(self, program: str, *words: str, typed: str = "") -> None:
        command = [str(self.binaries.bin / program), *words]
        done = self._account.run(command, cwd=self.folder, typed=typed)
        if done.returncode != 0:
            raise self._refusal("could not make its data folder", done.stderr)

    def _order(self, port: int) -> Order:
        settings = [
            *(f"listen_addresses={LOOPBACK}", "unix_socket_directories=", f"port={port}"),
            *("timezone=UTC", "log_timezone=UTC", "max_connections=200"),
            *(QUICK if self._throwaway else ()),
        ]
        data = self.folder / "data"
        return Order(
            name="Postgres",
            command=[
                *(str(self.binaries.bin / "postgres"), "-D", str(data)),
                *(word for setting in settings for word in ("-c", setting)),
            ],
            folder=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            orphan_signal=signal.SIGQUIT,
            uid=self._account.uid,
            gid=self._account.gid,
            # The lock says that nothing of it lives, whatever number this old file names.
            remove_first=[data / "postmaster.pid"],
            remove_after=[self.folder] if self._throwaway else [],
            remove_if_empty=[self.folder.parent] if self._throwaway else [],
        )

    def _is_ready_in_time(self, kept: Kept) -> bool:
        """Waits as pg_ctl does: the eighth line of the pid file says when clients may come."""
        status = self.folder / "data" / "postmaster.pid"
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline and kept.is_running:
            if status.exists() and status.read_text().splitlines()[7:8] == ["ready   "]:
                return True
            time.sleep(POLL_S)
        return False

    def _log_text(self) -> str:
        log = self._order(self.port).log
        return log.read_text(errors="replace") if log.exists() else ""

    def _refusal(self, what: str, said: str) -> EnvironmentProblem:
        marks = ("FATAL", "error", "could not")
        lines = [line for line in said.splitlines() if any(mark in line for mark in marks)]
        reason = lines[-1].strip()[:300] if lines else "it gave no reason"
        return EnvironmentProblem(
            f"Postgres {self.binaries.version} {what}: {reason}.",
            f"Its folder is {self.folder}; or set DATABASE_URL to a Postgres that runs elsewhere.",
        )

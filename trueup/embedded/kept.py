"""A server process held through its keeper: started, signalled and waited for, never guessed at."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trueup.embedded.problems import EnvironmentProblem

KEEPER = Path(__file__).with_name("keeper.py")


@dataclass(frozen=True, slots=True)
class Order:
    """What a keeper is to start, and what it does when its owner is gone.

    Args:
        folder: The server's own folder: working directory, log, lock and pid file live there.
        orphan_signal: What ends the server quickly and without harm.
        lock_wait_s: How long a previous server in the folder may take to be gone.
        remove_after: Folders removed when the owner died (a throwaway server's data).
    """

    name: str
    command: list[str]
    folder: Path
    env: dict[str, str]
    orphan_signal: signal.Signals
    uid: int | None = None
    gid: int | None = None
    lock_wait_s: float = 8.0
    remove_first: list[Path] = field(default_factory=list)
    remove_after: list[Path] = field(default_factory=list)
    remove_if_empty: list[Path] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """Everything the process printed."""
        return self.folder / "output.log"

    def as_line(self) -> bytes:
        """The order as the keeper reads it."""
        told = asdict(self) | {
            "cwd": self.folder,
            "log": self.log,
            "lock": self.folder / "lock",
            "pid_file": self.folder / "pid",
            "parent_pid": os.getpid(),
        }
        return json.dumps(told, default=str).encode() + b"\n"


class Kept:
    """One running server process and the keeper that watches over it."""

    def __init__(self, order: Order) -> None:
        """Starts it.

        Raises:
            EnvironmentProblem: Another process still uses the folder, or the system refuses.
        """
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # neither Ctrl-C nor a closed terminal reaches it
        )
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._to_keeper = self._keeper.stdin
        self._from_keeper = self._keeper.stdout
        self._to_keeper.write(order.as_line())
        self._to_keeper.flush()
        verb, _, rest = self._from_keeper.readline().decode().strip().partition(" ")
        if verb != "started":
            self._close()
            raise _refusal(order, verb, rest)
        self.pid = int(rest)

    @property
    def is_running(self) -> bool:
        """Whether the server process lives."""
        return self._keeper.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Signals the server; one that has ended is past hearing it."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._to_keeper.write(b"signal %d\n" % number)
            self._to_keeper.flush()

    def end(self, number: signal.Signals, *, patience_s: float) -> bool:
        """Signals the server and returns when it is gone; after the patience, by kill -9. Whether
        it went by itself.
        """
        self.send(number)
        went = True
        try:
            self._keeper.wait(patience_s)
        except subprocess.TimeoutExpired:
            went = False
            self.send(signal.SIGKILL)
            self._keeper.wait()
        self._close()
        return went

    def _close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._to_keeper.close()
        self._from_keeper.close()
        self._keeper.wait()


def _refusal(order: Order, verb: str, rest: str) -> EnvironmentProblem:
    if verb == "busy":
        return EnvironmentProblem(
            f"Another process already runs {order.name} in {order.folder}.",
            "Stop that one, or give another folder.",
        )
    return EnvironmentProblem(
        f"{order.name} could not be started: {rest or 'its keeper ended at once'}.",
        f"Check that {order.command[0]} can be run on this machine.",
    )

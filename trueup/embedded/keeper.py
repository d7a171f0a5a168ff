"""The process that stands between us and one server: when we die, the server dies.

Run as a script of its own (standard library only) with one JSON line on stdin that says what to
start. Its law: **the server never outlives the process that asked for it**, not even one ended
with kill -9, because then the pipe to us closes and the keeper ends the server. Nor does the
server outlive the keeper where Linux lets us ask for that.

The lock is held by the keeper *and inherited by the server and its children*, so it is free
exactly when nothing of that server is left. No pid is ever guessed from a file.

Spoken on stdin, after the order: ``signal N``. Spoken on stdout: ``busy``, ``failed WHY``,
``started PID``, ``exited CODE``.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

PARENT_CHECK_S = 0.25
ORPHAN_GRACE_S = 5.0
PR_SET_PDEATHSIG = 1
OWNER = "owner"  # the file in a temporary folder that says whose it is


def tell(line: str) -> None:
    """Says a line to the process that started us, if it still listens."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


def locked(path: str, wait_s: float) -> int | None:
    """The descriptor of the lock, or None if somebody still holds it after a patient wait.

    Waiting matters after kill -9: the previous server needs a moment to be gone.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except OSError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)


def dying_with_us(number: int) -> Callable[[], None] | None:
    """On Linux a function that asks the kernel to send the signal when this keeper is gone."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def started(order: dict[str, Any], lock: int) -> subprocess.Popen[bytes]:
    """Starts the server in a process group of its own, logging into its file."""
    for path in order["remove_first"]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    account: dict[str, Any] = {}
    if order["uid"] is not None:
        account = {"user": order["uid"], "group": order["gid"], "extra_groups": []}
    with open(order["log"], "ab") as log:
        return subprocess.Popen(
            order["command"],
            cwd=order["cwd"],
            env=order["env"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            process_group=0,
            preexec_fn=dying_with_us(order["orphan_signal"]),  # one thread only: safe here
            **account,
        )


def keep(server: subprocess.Popen[bytes], parent_pid: int) -> bool:
    """Passes signals on until the server has ended (True) or its owner has (False)."""
    buffered = b""
    while server.poll() is None:
        ready, _, _ = select.select([0], [], [], PARENT_CHECK_S)
        if os.getppid() != parent_pid:  # a forked sibling may hold the pipe open: ask as well
            return False
        if not ready:
            continue
        piece = os.read(0, 4096)
        if not piece:
            return False
        *lines, buffered = (buffered + piece).split(b"\n")
        for line in lines:
            server.send_signal(int(line.removeprefix(b"signal ")))
    return True


def end_orphan(server: subprocess.Popen[bytes], order: dict[str, Any]) -> None:
    """Ends a server whose owner is gone, then removes what was only kept for the owner."""
    server.send_signal(order["orphan_signal"])
    try:
        server.wait(ORPHAN_GRACE_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    for folder in order["remove_after"]:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in order["remove_if_empty"]:
        with contextlib.suppress(OSError):
            if os.listdir(folder) == [OWNER]:
                os.unlink(os.path.join(folder, OWNER))
            os.rmdir(folder)


def main() -> None:
    """Starts what the order on stdin asks for and keeps it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who then stops us
    with open(0, "rb", buffering=0, closefd=False) as orders:  # unbuffered: signals come after
        order = json.loads(orders.readline())
    lock = locked(order["lock"], order["lock_wait_s"])
    if lock is None:
        tell("busy")
        return
    try:
        server = started(order, lock)
    except (OSError, subprocess.SubprocessError) as problem:
        tell(f"failed {problem}")
        return
    with open(order["pid_file"], "w", encoding="ascii") as pid_file:
        pid_file.write(f"{server.pid}\n")
    tell(f"started {server.pid}")
    if not keep(server, order["parent_pid"]):
        end_orphan(server, order)
    with contextlib.suppress(OSError):
        os.unlink(order["pid_file"])
    tell(f"exited {server.returncode}")


if __name__ == "__main__":
    main()

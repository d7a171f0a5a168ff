"""The keeper's law, shown on servers that only sleep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from trueup.embedded.kept import Kept, Order
from trueup.embedded.problems import EnvironmentProblem

REPOSITORY = Path(__file__).parents[2]
OWNER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from trueup.embedded.kept import Kept, Order
import signal
folder = Path(sys.argv[2])
order = Order("Sleep", ["sleep", "600"], folder, {"PATH": sys.argv[3]}, signal.SIGTERM,
              remove_after=[folder])
kept = Kept(order)
sys.stdout.write(f"{kept.pid}\\n"); sys.stdout.flush()
time.sleep(600)
"""


def sleeper(folder: Path, command: tuple[str, ...] = ("sleep", "600")) -> Order:
    return Order("Sleep", list(command), folder, dict(os.environ), signal.SIGTERM)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


def test_a_server_is_ended_by_its_signal_and_leaves_no_pid_file(tmp_path: Path) -> None:
    kept = Kept(sleeper(tmp_path))
    assert (tmp_path / "pid").read_text() == f"{kept.pid}\n"

    kept.end(signal.SIGTERM, patience_s=5)

    assert not is_alive(kept.pid)
    assert not kept.is_running
    assert not (tmp_path / "pid").exists()


def test_a_server_that_ignores_its_signal_is_killed_after_the_patience(tmp_path: Path) -> None:
    kept = Kept(
        sleeper(tmp_path, ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"))
    )
    while "ready" not in (tmp_path / "output.log").read_text():
        time.sleep(0.01)

    kept.end(signal.SIGTERM, patience_s=0.2)

    assert not is_alive(kept.pid)


def test_a_server_that_ends_by_itself_is_seen_to_have_ended(tmp_path: Path) -> None:
    kept = Kept(sleeper(tmp_path, ("true",)))
    deadline = time.monotonic() + 5
    while kept.is_running and time.monotonic() < deadline:
        time.sleep(0.01)

    assert not kept.is_running
    kept.end(signal.SIGTERM, patience_s=1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_dies_with_its_owner_and_its_folder_goes(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(REPOSITORY), str(folder), os.environ["PATH"]],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert is_alive(pid)

    owner.send_signal(number)
    owner.communicate()

    assert gone_within(pid, 5)
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not folder.exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel")
def test_a_server_dies_with_its_keeper(tmp_path: Path) -> None:
    kept = Kept(sleeper(tmp_path))

    kept._keeper.kill()

    assert gone_within(kept.pid, 5)
    kept.end(signal.SIGTERM, patience_s=1)


def test_a_folder_in_use_is_refused_by_name(tmp_path: Path) -> None:
    first = Kept(sleeper(tmp_path))
    try:
        with pytest.raises(EnvironmentProblem, match="Another process already runs Sleep"):
            Kept(replace(sleeper(tmp_path), lock_wait_s=0.2))
    finally:
        first.end(signal.SIGTERM, patience_s=5)


def test_a_folder_is_free_only_when_the_last_child_of_the_old_server_is_gone(
    tmp_path: Path,
) -> None:
    """Postgres killed with -9 leaves children that need a moment; starting early would fail."""
    first = Kept(sleeper(tmp_path, ("sh", "-c", "setsid sleep 1.5 & echo ready; wait")))
    while "ready" not in (tmp_path / "output.log").read_text():
        time.sleep(0.01)
    first.end(signal.SIGKILL, patience_s=5)
    began = time.monotonic()

    second = Kept(sleeper(tmp_path))

    assert time.monotonic() - began > 0.2
    second.end(signal.SIGTERM, patience_s=5)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"Sleep could not be started: .*nowhere"):
        Kept(sleeper(tmp_path, ("/nowhere/at/all",)))

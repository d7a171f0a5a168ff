"""What a killed process left is removed; what is anybody else's is not."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trueup.embedded.leftovers import OWNER, own_folder, remove_leftovers
from trueup.embedded.processes import is_alive, started

LEAVES = """
import os, sys, tempfile
from pathlib import Path
tempfile.tempdir = sys.argv[1]
from trueup.embedded.folders import temporary_home
home = temporary_home()
(home / "kafka").mkdir()
(home / "kafka" / "lock").touch()
print(home, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A home whose process was ended by kill -9."""
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVES, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    home = Path(process.stdout.readline().strip())
    assert remove_leftovers(tmp_path) == 0
    process.kill()
    process.communicate()
    return home


def test_what_a_killed_process_left_is_removed(left: Path) -> None:
    assert remove_leftovers(left.parent) == 1
    assert not left.exists()


def test_not_while_a_server_in_it_is_still_ending(left: Path) -> None:
    with open(left / "kafka" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove_leftovers(left.parent) == 0

    assert remove_leftovers(left.parent) == 1


def test_another_process_with_the_owners_number_is_not_the_owner(left: Path) -> None:
    told = json.loads((left / OWNER).read_text())
    (left / OWNER).write_text(json.dumps({"pid": os.getpid(), "started": told["started"]}))

    assert remove_leftovers(left.parent) == 1


def test_what_a_living_process_owns_stays_even_without_its_lock(left: Path) -> None:
    us = {"pid": os.getpid(), "started": started(os.getpid())}
    (left / OWNER).write_text(json.dumps(us))

    assert remove_leftovers(left.parent) == 0
    assert left.exists()


def test_folders_that_do_not_say_whose_they_are_stay(tmp_path: Path, left: Path) -> None:
    stranger, half_made, link = (tmp_path / f"trueup-{name}" for name in ("a", "b", "c"))
    stranger.mkdir()
    half_made.mkdir()
    (half_made / OWNER).touch()
    target = tmp_path / "elsewhere"
    left.rename(target)
    link.symlink_to(target)

    assert remove_leftovers(tmp_path) == 0
    assert target.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_folder_stays(left: Path) -> None:
    os.chown(left / OWNER, 65534, 65534)
    assert remove_leftovers(left.parent) == 0

    os.chown(left / OWNER, 0, 0)
    os.chown(left, 65534, 65534)
    assert remove_leftovers(left.parent) == 0


def test_an_own_folder_goes_with_its_block(tmp_path: Path) -> None:
    with own_folder("trueup-test-") as folder:
        assert (folder / OWNER).exists()

    assert not folder.exists()


def test_a_process_is_known_by_its_number_and_its_start() -> None:
    began = started(os.getpid())
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()

    assert began
    assert is_alive(os.getpid(), began)
    assert not is_alive(os.getpid(), "another boot 1")
    assert not is_alive(ended.pid, began)

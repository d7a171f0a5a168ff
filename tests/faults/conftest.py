"""Runs of workers, each ended with its test whatever became of it."""

import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.runs import Run
from tests.faults.small_disk import SMALL_DISK
from trueup.embedded.folders import temporary_home

SEED = "TRUEUP_FAULT_SEED"


@pytest.fixture
def run_on(tmp_path):
    """Makes runs on given servers."""
    made = []

    def make(bootstrap, database_url, seed, actions):
        made.append(Run(bootstrap, database_url, tmp_path, seed, actions))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def run(servers, own_database_url, run_on):
    """Makes runs on the shared servers, which stay up."""
    return lambda seed, actions: run_on(servers.kafka_bootstrap, own_database_url, seed, actions)


@pytest.fixture
def chance():
    """The random choices of a test; the seed may be given, and is told where the test fails."""
    return random.Random(seed_now())


def seed_now():
    """The seed of whatever a test here leaves to chance."""
    return int(os.environ.get(SEED, "11"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failure here says its seed and the line that runs it again."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        again = f"{SEED}={seed_now()} {shlex.quote(sys.executable)} -m pytest -n 0"
        chosen = f'-m "soak or not soak" {shlex.quote(item.nodeid)}'
        report.sections.append(("run it again", f"{again} {chosen}"))


@pytest.fixture
def small_disk(request):
    """Makes a file system of so many megabytes, in memory, with nothing in it; or takes the one
    that `tests.faults.small_disk` gives.
    """
    with ExitStack() as undo:

        def make(size_mb):
            if given := os.environ.get(SMALL_DISK):
                return Path(tempfile.mkdtemp(dir=given))
            home = temporary_home()
            undo.callback(shutil.rmtree, home, ignore_errors=True)
            if refused := mounted(undo, home, size_mb):
                pytest.skip(
                    f"no small disk can be mounted here ({refused}); where normal users may have "
                    f"a namespace: python -m tests.faults.small_disk {size_mb} {sys.executable} -m "
                    f"pytest -n 0 -m soak {request.node.nodeid}"
                )
            return home

        yield make


def mounted(undo, home, size_mb):
    """The file system is at home, until it is undone; otherwise why it is not."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0711", "tmpfs", str(home)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as problem:
        return str(problem)
    if done.returncode:
        return (done.stderr.strip() or str(done.returncode)).splitlines()[0]
    undo.callback(subprocess.run, ["umount", str(home)], check=False, capture_output=True)
    return None

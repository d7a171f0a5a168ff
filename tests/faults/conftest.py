"""Runs of workers, each ended with its test whatever became of it."""

import os
import random
import shutil
import subprocess

import pytest

from tests.faults.runs import Run
from trueup.embedded.folders import temporary_home


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
    """The random choices of a test; the seed is printed and may be given."""
    seed = int(os.environ.get("TRUEUP_FAULT_SEED", "11"))
    print(f"TRUEUP_FAULT_SEED={seed}")  # noqa: T201
    return random.Random(seed)


@pytest.fixture
def small_disk():
    """Makes a file system of so many megabytes, in memory, with nothing in it."""
    mounted = []

    def make(size_mb):
        home = temporary_home()
        mounted.append(home)
        options = f"size={size_mb}m,mode=0711"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(home)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return home

    yield make
    for home in mounted:
        subprocess.run(["umount", str(home)], check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)

"""A fault test that fails says what it left to chance, and how it is run again."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAILING = """
import pytest

@pytest.mark.parametrize("way", ["by a kill"])
def test_it(chance, way):
    print("drew", chance.randrange(10**6))
    assert False
"""
CONFTEST = "from tests.faults.conftest import chance, pytest_runtest_makereport\n"


def failed(folder: Path, node: str, settings: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "--rootdir", folder,
         "-c", os.devnull, node],
        cwd=folder, env=os.environ | settings | {"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("seed", ["7", None])
def test_a_failure_says_its_seed_and_the_line_that_draws_the_same_again(
    tmp_path: Path, seed: str | None
) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_failing.py").write_text(FAILING)

    told = failed(tmp_path, "test_failing.py", {"TRUEUP_FAULT_SEED": seed} if seed else {})

    (line,) = (line for line in told.splitlines() if line.startswith("TRUEUP_FAULT_SEED="))
    words = shlex.split(line)
    assert words[0] == f"TRUEUP_FAULT_SEED={seed or 11}"
    assert words[-1] == "test_failing.py::test_it[by a kill]"
    again = failed(tmp_path, words[-1], dict([words[0].split("=")]))
    drawn = [line for line in told.splitlines() if line.startswith("drew ")]
    assert drawn == [line for line in again.splitlines() if line.startswith("drew ")] != []

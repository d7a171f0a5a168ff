"""What property tests try by default and in a hunt."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]


def tried():
    """The examples of a property test, in their order."""
    seen = []

    @settings(settings.get_profile("ci"))
    @given(st.lists(st.integers()))
    def anything_is_tried(numbers):
        seen.append(numbers)

    anything_is_tried()
    return seen


def test_the_same_is_tried_by_default_whatever_else_is_loaded(tmp_path, monkeypatch):
    module = tmp_path / "constants_of_its_own.py"
    module.write_text(f"NUMBERS = {[number**5 for number in range(100, 200)]}")
    before = tried()

    spec = importlib.util.spec_from_file_location("constants_of_its_own", module)
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "constants_of_its_own", loaded)
    spec.loader.exec_module(loaded)

    assert tried() == before


@pytest.mark.parametrize(
    ("environment", "told"), [({}, "True 40 100"), ({"HUNT_EXAMPLES": "3000"}, "False 1200 3000")]
)
def test_a_hunt_multiplies_every_tests_examples_and_leaves_them_to_chance(environment, told):
    code = """
from hypothesis import settings
from tests import hunt
hunt.choose_profile()
print(settings().derandomize, hunt.examples(40), settings().max_examples)
"""
    usual = {name: value for name, value in os.environ.items() if name != "HUNT_EXAMPLES"}

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=usual | environment, capture_output=True,
        text=True, check=True,
    )  # fmt: skip

    assert done.stdout == told + "\n"


def test_no_test_asks_for_a_count_that_a_hunt_cannot_multiply():
    counted = re.compile(r"max_examples=\d")

    found = [path for path in (ROOT / "tests").rglob("*.py") if counted.search(path.read_text())]

    assert found == []

"""Every place that docs/names.md maps a name to is there."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "names.md").read_text()
ROWS = [line.strip("|\n ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
PLACES = [
    place
    for _, cell in ROWS
    for place in re.findall(r"`([^`]+)`", cell)
    if re.match(r"(agents_topics|tables|streams|sinks|trueup|tests)[./]", place)
]


def is_there(place: str) -> bool:
    file, _, test = place.partition("::")
    if "/" in file:
        path = ROOT / file
        return path.is_file() and (not test or f"def {test}(" in path.read_text())
    module, *names = place.split(".")
    found = import_module(module)
    for index, name in enumerate(names, 1):
        if hasattr(found, name):
            found = getattr(found, name)
        elif name in getattr(found, "model_fields", ()):
            return index == len(names)
        elif hasattr(found, "__path__") and find_spec(f"{found.__name__}.{name}") is not None:
            found = import_module(f"{found.__name__}.{name}")
        else:
            return False
    return True


def test_every_mapped_place_is_there() -> None:
    assert [place for place in sorted(set(PLACES)) if not is_there(place)] == []


@pytest.mark.parametrize(
    "place",
    [
        "agents_topics.shapes.OutcomeRecord.nothing",
        "tables.nothing",
        "tests/nothing.py",
        "tests/oracle.py::x",
    ],
)
def test_a_place_that_is_not_there_would_be_found(place: str) -> None:
    assert not is_there(place)


def test_every_row_has_a_place() -> None:
    for name, cell in ROWS:
        assert name == "name" or "`" in cell or cell == "the same", name

    assert len(PLACES) > 150

"""Other people's data under their own licences, beside the project and never in it."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "data"

# file: rows with an outcome of 1 or 0, ambiguous ones, Brier, ECE
GOLDEN = {
    "nfl_games.csv": (1882, 7, 0.22083, 0.03230),
    "nhl_games.csv": (1401, 0, 0.23126, 0.04440),
}


def real(name: str) -> Path:
    """The file; without it the test is skipped, and says why."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"the real data are not here: {name}")
    return path

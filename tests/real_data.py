"""Other people's data under their own licences, beside the project and never in it."""

import csv
from pathlib import Path

import pytest

from tables.calibration_bins import Sums, bin_index_of, millionths_of

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


def games(name: str) -> list[tuple[int, int]]:
    """Confidence in millionths and result of each game that was no tie, by date."""
    with real(name).open(encoding="utf-8") as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: row["date"])
    read = [(millionths_of(float(row["prob1"])), float(row["prob1_outcome"])) for row in rows]
    return [(millionths, int(y)) for millionths, y in read if y in (0, 1)]


def ten_bins(pairs: list[tuple[int, int | None]]) -> list[Sums]:
    """The sums of ten bins over records of a confidence in millionths and an outcome."""
    bins = [Sums() for _ in range(10)]
    for millionths, y in pairs:
        bins[bin_index_of(millionths)].update(millionths, y)
    return bins

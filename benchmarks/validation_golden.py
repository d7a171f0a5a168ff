"""Figures on other people's data, and the same by public code: rows of docs/validation.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import log

import numpy as np
from sklearn.metrics import brier_score_loss

from benchmarks.simulated import Random, Row, bins_of, records
from tables.calibration_map import IDENTITY
from tables.debiased_error import debiased_error
from tables.evidence_increments import COUNT, increments
from tables.evidence_odds import NANO
from tables.recalibration import recalibration
from tables.scores import brier_score, expected_calibration_error
from tables.smooth_error import ResidualGrid, smooth_error
from tests.real_data import FOLDER, games

ALARM = log(20)
TARGET = 0.7
SCORES = ("brier", "ece", "ece2", "smooth")
Pairs = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Golden:
    """Figures that two codes other than this one gave, in exact fractions."""

    brier: float
    ece: float
    ece2: float
    smooth: float
    log_evidence: float
    alarm_n: int | None
    a: float
    b: float
    threshold: float
    threshold_error: float


GOLDEN = {
    "nfl_games.csv": Golden(
        0.22083, 0.03230, 0.02529, 0.03173, -2.1800, None, -0.1167, 0.9339, 0.7373, 0.0143
    ),
    "nhl_games.csv": Golden(
        0.23126, 0.04440, 0.05328, 0.04040, 3.4320, 788, -0.2381, 1.4266, 0.6815, 0.0136
    ),
}


def golden_numbers(_: Random) -> Iterator[Row]:
    """Every figure of the real files beside what it must be."""
    for name, golden in GOLDEN.items():
        if not (FOLDER / name).is_file():
            yield Row(f"golden numbers, {name}", "the file is not here", "not compared")
            continue
        pairs = games(name)
        found = figures(pairs)
        wrong = [
            f"{field} {getattr(found, field)} not {getattr(golden, field)}"
            for field in Golden.__slots__
            if not _is_near(field, getattr(found, field), getattr(golden, field))
        ]
        said = "; ".join(wrong) or "all ten as printed elsewhere, to their last digit"
        yield Row(f"golden numbers, {name}", f"{len(pairs):,} games", said)


def figures(pairs: Pairs) -> Golden:
    """The figures of a file, every row a lead record, evidence without restarts."""
    bins, fitted = bins_of(pairs), recalibration(bins_of(pairs))
    error, logs = debiased_error(bins), log_evidence(pairs)
    first = np.flatnonzero(logs >= ALARM)
    assert error
    return Golden(
        brier_score(bins) or 0, expected_calibration_error(bins) or 0, error.root,
        smooth_of(pairs), float(logs[-1]), int(first[0]) + 1 if len(first) else None,
        fitted.map.a, fitted.map.b, fitted.threshold(TARGET),
        fitted.threshold_standard_error(TARGET),
    )  # fmt: skip


def log_evidence(pairs: Pairs) -> np.ndarray:
    """Ln of the mean over all alternatives of their plain products, after each record."""
    capitals = np.cumsum([increments(p, IDENTITY)[y] for p, y in pairs], axis=0) / NANO
    return np.asarray(np.logaddexp.reduce(capitals, axis=1) - log(COUNT))


def smooth_of(pairs: Pairs) -> float:
    """The smooth calibration error."""
    grid = ResidualGrid()
    for p, y in pairs:
        grid.update(p, y)
    return smooth_error(grid) or 0


def _is_near(field: str, found: float | None, wanted: float | None) -> bool:
    """Equal to the last digit that is printed: the fifth for scores, the fourth for the rest."""
    if found is None or wanted is None:
        return found is wanted
    digits = 5 if field in SCORES else 4
    return abs(found - wanted) <= 0.5001 * 10**-digits


def other_code(random: Random) -> Iterator[Row]:
    """The greatest distance from scikit-learn and relplot, over files and simulated sources."""
    sets = [records(random, shape, 800, a) for shape in ("uniform", "mostly sure") for a in (0, -1)]
    sets += [games(name) for name in GOLDEN if (FOLDER / name).is_file()]
    how = f"{len(sets)} sets of records"
    stated = [np.array([p for p, _ in one]) / 1e6 for one in sets]
    came = [np.array([y for _, y in one]) for one in sets]
    briers = [
        abs((brier_score(bins_of(one)) or 0) - brier_score_loss(y, p))
        for one, p, y in zip(sets, stated, came, strict=True)
    ]
    yield Row("Brier score against scikit-learn", how, f"at most {max(briers):.0e} apart")
    if find_spec("relplot") is None:
        yield Row("smooth ECE against relplot", "it is not installed", "not compared")
        return
    smooth_by_relplot = import_module("relplot").smECE
    smooths = [
        abs(smooth_of(one) - float(smooth_by_relplot(p, y)))
        for one, p, y in zip(sets, stated, came, strict=True)
    ]
    yield Row("smooth ECE against relplot", how, f"at most {max(smooths):.4f} apart")

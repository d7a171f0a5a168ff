"""The smooth calibration error from a grid of residual mass (Błasiok, Nakkiran 2024).

No bins, and so no edges that a source may hide behind: residuals p - y are smoothed by a Gaussian
that is reflected at 0 and 1, and the width is the error itself. The grid is exact: 201 cells of
integers in units of 1/(5000 · 10⁶), each record shared between its two neighbours. Not debiased.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tables.calibration_bins import UNIT

CELL = 5_000
CELL_COUNT = UNIT // CELL + 1
STEPS = 20
WIDTH_MIN = 1e-3
SHOWN_MIN = 0.005
"""Below the distance of two cells the grid cannot tell: show "< .005"."""
_DIGITS = 6

Floats = NDArray[np.float64]

_CELLS = np.arange(CELL_COUNT)
_DISTANCES = np.abs(_CELLS[:, None] - _CELLS[None, :])
_MIRRORED = _CELLS[:, None] + _CELLS[None, :]
_FAR = np.arange(2 * CELL_COUNT - 1) / (CELL_COUNT - 1)
_TRAPEZOID = np.full(CELL_COUNT, 1 / (CELL_COUNT - 1))
_TRAPEZOID[[0, -1]] /= 2


@dataclass(slots=True)
class ResidualGrid:
    """Signed residual mass by cell, and how many records made it; exact, so it merges.

    >>> grid = ResidualGrid(); grid.update(702_500, 1); grid.mass[140:142], grid.n
    ([-743750000, -743750000], 1)
    """

    mass: list[int] = field(default_factory=lambda: [0] * CELL_COUNT)
    n: int = 0

    def update(self, millionths: int, y: int, sign: int = 1) -> None:
        """Counts a record, or takes it out again where the sign is -1."""
        cell, rest = divmod(millionths, CELL)
        residual = sign * (millionths - UNIT * y)
        self.n += sign
        self.mass[cell] += residual * (CELL - rest)
        if rest:
            self.mass[cell + 1] += residual * rest

    def merge(self, other: "ResidualGrid") -> None:
        """Adds another grid."""
        self.mass = [a + b for a, b in zip(self.mass, other.mass, strict=True)]
        self.n += other.n


def smooth_error(grid: ResidualGrid) -> float | None:
    """The width σ at which ∫|r_σ| is σ, r_σ being the smoothed residual; None for no record.

    Rounded to 1e-6: what is left of the sums' order in the last bits is not shown.

    >>> grid = ResidualGrid()
    >>> for y in (1, 1, 1, 0, 0): grid.update(800_000, y)
    >>> smooth_error(grid)
    0.2
    """
    if not grid.n:
        return None
    mass = np.array([float(m) for m in grid.mass]) / (CELL * UNIT * grid.n)
    low, high = WIDTH_MIN, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _smoothed_size(mass, middle) > middle:
            low = middle
        else:
            high = middle
    return round(high, _DIGITS)


def _smoothed_size(mass: Floats, width: float) -> float:
    """∫|r_σ(t)|dt over the grid's points, by the trapezoid rule."""
    bell = _bell(width)
    kernel = bell[_DISTANCES] + bell[_MIRRORED]
    return float((_TRAPEZOID * np.abs((kernel * mass).sum(axis=1))).sum())


def _bell(width: float) -> Floats:
    """The Gaussian at 0, 1, … cells of distance, with its images two units apart."""
    images = np.arange(-int(4 * width) - 2, int(4 * width) + 2)
    away = _FAR[:, None] + 2 * images[None, :]
    density: Floats = np.exp(-((away / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
    summed: Floats = density.sum(axis=1)
    return summed

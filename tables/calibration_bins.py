"""Calibration bins: exact sums of stated confidence and what came of it, ten to a stream.

A confidence p is an integer in millionths and every sum a Python integer, so that a bin adds,
subtracts and merges exactly and a replay gives the same bits (Σp² leaves int64 after nine million
records: never numpy integers here).
"""

from dataclasses import dataclass, field, fields

BIN_COUNT = 10
UNIT = 1_000_000
CELL = 5_000
"""A cell of the grid of residuals, in millionths."""
BIN_CELLS = UNIT // CELL // BIN_COUNT


def millionths_of(confidence: float) -> int:
    """A confidence in [0, 1] as an integer in millionths, halves up.

    >>> millionths_of(0.3), millionths_of(0.1234567)
    (300000, 123457)
    """
    return int(confidence * UNIT + 0.5)


def bin_index_of(millionths: int) -> int:
    """The bin of a confidence: [0, .1), [.1, .2), … [.9, 1].

    >>> [bin_index_of(millionths_of(p)) for p in (0, .3, .6, .7, 1.0)]
    [0, 3, 6, 7, 9]
    """
    return min(millionths * BIN_COUNT // UNIT, BIN_COUNT - 1)


@dataclass(slots=True)
class Sums:
    """Sums over the records of one bin: n, Σp, Σp², Σy, Σpy; and n, Σp, Σp² of those excluded.

    >>> sums = Sums(); sums.update(600_000, 1); sums.update(620_000, 0); sums.update(650_000, None)
    >>> sums.n, sums.sp, sums.sy, sums.spy, sums.excluded_n
    (2, 1220000, 1, 600000, 1)
    """

    n: int = 0
    sp: int = 0
    spp: int = 0
    sy: int = 0
    spy: int = 0
    excluded_n: int = 0
    excluded_sp: int = 0
    excluded_spp: int = 0

    def update(self, millionths: int, y: int | None, sign: int = 1) -> None:
        """Counts a record whose outcome is y, or is excluded where y is None."""
        if y is None:
            self.excluded_n += sign
            self.excluded_sp += sign * millionths
            self.excluded_spp += sign * millionths * millionths
            return
        self.n += sign
        self.sp += sign * millionths
        self.spp += sign * millionths * millionths
        self.sy += sign * y
        self.spy += sign * millionths * y

    def revert(self, millionths: int, y: int | None) -> None:
        """Takes a record out again, exactly."""
        self.update(millionths, y, -1)

    def merge(self, other: "Sums") -> None:
        """Adds another bin's sums."""
        for name in SUM_NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


SUM_NAMES = tuple(f.name for f in fields(Sums))


@dataclass(slots=True)
class StreamBin:
    """One bin of a stream: the sums of all records and of the lead ones, and counts by status.

    `residuals` holds what the bin's 20 cells of the grid of smooth ECE have: of each the mass that
    falls to its left end and to its right end. None where they are not kept, or where an earlier
    release did not keep them for a part of the records.
    """

    all: Sums = field(default_factory=Sums)
    lead: Sums = field(default_factory=Sums)
    counts: dict[str, int] = field(default_factory=dict)
    last_settled_at_ms: int = 0
    residuals: list[int] | None = None

    def update(self, millionths: int, y: int | None, status: str, is_lead: bool) -> None:
        """Counts a settled outcome, once."""
        self.all.update(millionths, y)
        if is_lead:
            self.lead.update(millionths, y)
        self.counts[status] = self.counts.get(status, 0) + 1
        if y is not None and self.residuals is not None:
            add_residual(self.residuals, millionths, y)


def no_residuals() -> list[int]:
    """The masses of a bin without records."""
    return [0] * (2 * BIN_CELLS)


def add_residual(residuals: list[int], millionths: int, y: int) -> None:
    """Shares p - y, in millionths, between the ends of its cell; 1 lies at the last one's right.

    >>> residuals = no_residuals(); add_residual(residuals, 702_500, 1); residuals[:3]
    [-743750000, -743750000, 0]
    """
    cell = min(millionths // CELL, UNIT // CELL - 1)
    rest, residual = millionths - cell * CELL, millionths - UNIT * y
    place = 2 * (cell % BIN_CELLS)
    residuals[place] += residual * (CELL - rest)
    residuals[place + 1] += residual * rest


def y_of(status: str, expired_counts: bool) -> int | None:
    """What an outcome counts as: 1, 0, or nothing (excluded).

    >>> [y_of(s, True) for s in ("positive", "negative", "expired", "ambiguous")]
    [1, 0, 0, None]
    """
    if status == "expired":
        return 0 if expired_counts else None
    return {"positive": 1, "negative": 0}.get(status)

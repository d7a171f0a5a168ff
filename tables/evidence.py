"""Evidence against a stated probability that may be looked at after every record.

Each of 34 alternatives bets against the null. R_j is its capital; every 250 records all bets are
opened anew with the weight w_b (w_0 = ½, w_b = 1/(2b(b+1))), so that a drift is found soon after
many good records: R_j ← R_j + w_b. E = mean_j R_j + the weight not yet spent. If the null holds, E
ever reaches 1/α with probability at most α (Ville's inequality; Ramdas, Grünwald, Vovk, Shafer
2023). The null: P(y = 1 | all known when the action was taken, and the outcomes of other
conversations acted on earlier) = the base's probability.

The law: capitals are whole nano-nats, rounded down; the order of the records is the caller's and
matters, so two of these never merge; where steps begin and end does not matter to any bit.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from functools import lru_cache
from math import exp, floor, log, log1p

import numpy as np

from tables.evidence_increments import COUNT, DIGITS, EXCLUDED, NANO, Nanos

BLOCK = 250
_NEAR = 1e-4
EXCLUDED_FEW = 10
"""Up to one record in ten may be excluded before its worst case is asked too."""
_MARGIN = 4
_SPENT_FIRST = Decimal("0.5")
_ONLY_SMALL = 800 * NANO
"""Capitals that many nano-nats below the greatest are nothing beside it in a float."""


class Evidence:
    """The capitals of all alternatives, with the excluded counted as nothing, and at their worst.

    >>> from tables.calibration_map import IDENTITY
    >>> from tables.evidence_increments import increments
    >>> evidence = Evidence()
    >>> for _ in range(20): evidence.update(increments(900_000, IDENTITY), 0)
    >>> evidence.n, evidence.log_nanos() // NANO
    (20, 26)
    """

    __slots__ = ("_capitals", "_robust", "excluded_n", "n")

    def __init__(self) -> None:
        self.n = 0
        self.excluded_n = 0
        self._capitals: Nanos = np.full(COUNT, _log_nanos(_SPENT_FIRST), dtype=np.int64)
        self._robust = self._capitals

    def update(self, increments: Nanos, y: int | None) -> None:
        """Takes a lead record, by what it says for each alternative; y is None if excluded."""
        is_same = self._robust is self._capitals
        if y is None:
            self.excluded_n += 1
            self._robust = self._robust + increments[EXCLUDED]
        else:
            seen = 1 if y else 0  # an index True would be another kind of index
            self._capitals = self._capitals + increments[seen]
            self._robust = self._capitals if is_same else self._robust + increments[seen]
        self.n += 1
        if self.n % BLOCK == 0:
            self._restart()

    def _restart(self) -> None:
        block = self.n // BLOCK
        is_same = self._robust is self._capitals
        self._capitals = _with_weight(self._capitals, block)
        self._robust = self._capitals if is_same else _with_weight(self._robust, block)

    @property
    def greatest_nanos(self) -> int:
        """The log of the greatest capital: E is at most that capital and ½."""
        return int(self._capitals.max())

    def log_nanos(self) -> int:
        """⌊10⁹ ln E⌋."""
        return _log_of_mean(self._capitals, self.n)

    def robust_log_nanos(self) -> int:
        """⌊10⁹ ln E⌋ if each excluded record had said the worst it could, alternative by one."""
        return _log_of_mean(self._robust, self.n)

    def is_alarm(self, alpha: float) -> bool:
        """Whether E ≥ 1/α; with more than a tenth excluded, even if they had said the worst."""
        bound = bound_nanos(alpha)
        if self.greatest_nanos < below_half(bound):
            return False
        if self.excluded_n * EXCLUDED_FEW > self.n:
            return self.robust_log_nanos() >= bound
        return self.log_nanos() >= bound

    def row(self) -> list[int | list[int]]:
        """Plain integers for the changelog."""
        robust = [] if self._robust is self._capitals else self._robust.tolist()
        return [self.n, self.excluded_n, self._capitals.tolist(), robust]

    @classmethod
    def of_row(cls, row: list[int | list[int]]) -> "Evidence":
        """The evidence whose row this is."""
        made = cls()
        made.n, made.excluded_n, capitals, robust = row  # type: ignore[assignment]
        made._capitals = np.array(capitals, dtype=np.int64)
        made._robust = np.array(robust, dtype=np.int64) if robust else made._capitals
        return made


def below_half(nanos: int) -> int:
    """A little below 10⁹ ln(x - ½), x ≥ 1: no E reaches x while all capitals are below this.

    >>> below_half(0)
    -693147185
    """
    return nanos + floor(NANO * log1p(-exp(-nanos / NANO) / 2)) - _MARGIN


@lru_cache
def bound_nanos(alpha: float) -> int:
    """⌈10⁹ ln(1/α)⌉: from here on evidence is an alarm.

    >>> bound_nanos(0.05)
    2995732274
    """
    with localcontext(prec=DIGITS):
        return int((-NANO * Decimal(str(alpha)).ln()).to_integral_value(ROUND_CEILING))


def _log_nanos(value: Decimal) -> int:
    with localcontext(prec=DIGITS):
        return int((NANO * value.ln()).to_integral_value(ROUND_FLOOR))


def _with_weight(capitals: Nanos, block: int) -> Nanos:
    """⌊10⁹ ln(R + w_b)⌋, by floats unless they are too near to a whole number to decide."""
    weight = 1 / (2 * block * (block + 1))
    log_weight = NANO * log(weight)
    is_rich = capitals >= log_weight
    distance = np.abs(capitals - log_weight) / NANO
    added = NANO * np.log1p(np.exp(-distance))
    found = np.where(is_rich, added, log_weight + added)
    floors: Nanos = np.floor(found).astype(np.int64) + np.where(is_rich, capitals, 0)
    # Something above nothing rounds down to nothing: no digit can decide otherwise.
    is_near = (np.abs(found - np.rint(found)) < _NEAR) & ~(is_rich & (added < 0.5))
    for j in np.flatnonzero(is_near):
        floors[j] = exact_with_weight(int(capitals[j]), block)
    return floors


def exact_with_weight(capital: int, block: int) -> int:
    """The same for one capital by 40 decimal digits."""
    with localcontext(prec=DIGITS):
        weight = 1 / Decimal(2 * block * (block + 1))
        return capital + _log_nanos(1 + weight * (-Decimal(capital) / NANO).exp())


def _log_of_mean(capitals: Nanos, n: int) -> int:
    """⌊10⁹ ln(mean R + 1/(2(b+1)))⌋ in block b, by floats unless they are too near to decide."""
    rest = 1 / (2 * (n // BLOCK + 1))
    greatest = max(0, int(capitals.max()))
    below = np.maximum(capitals - greatest, -_ONLY_SMALL)
    total = float(np.exp(below / NANO).sum()) / COUNT + rest * exp(-greatest / NANO)
    found = NANO * log(total)
    if abs(found - round(found)) < _NEAR:
        return _exact_log_of_mean(capitals, n)
    return greatest + floor(found)


def _exact_log_of_mean(capitals: Nanos, n: int) -> int:
    with localcontext(prec=DIGITS):
        capital = sum(((Decimal(c) / NANO).exp() for c in capitals.tolist()), Decimal()) / COUNT
        return _log_nanos(capital + 1 / Decimal(2 * (n // BLOCK + 1)))

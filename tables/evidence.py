"""Evidence against a stated probability that may be looked at after every record.

Each of 34 alternatives bets against the null. R_j is its capital; every 250 records all bets are
opened anew with the weight w_b (w_0 = ½, w_b = 1/(2b(b+1))), so that a drift is found soon after
many good records: R_j ← R_j + w_b. E = mean_j R_j + the weight not yet spent. If the null holds, E
ever reaches 1/α with probability at most α (Ville's inequality; Ramdas, Grünwald, Vovk, Shafer
2023). The null: P(y = 1 | all known when the action was taken, and the outcomes of other
conversations acted on earlier) = the base's probability.

The law: capitals are whole nano-nats, rounded down; the order of the records is the caller's and
matters, so two of these never merge; where steps begin and end does not matter to any bit, nor
whether records were foreseen: what is known to come is worked out at once, at a tenth of the cost.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from functools import lru_cache
from math import exp, floor, log, log1p
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tables.evidence_increments import COUNT, DIGITS, EXCLUDED, Nanos
from tables.evidence_odds import NANO

BLOCK = 250
_NEAR = 1e-4
EXCLUDED_FEW = 10
"""Up to one record in ten may be excluded before its worst case is asked too."""
_MARGIN = 4
_SPENT_FIRST = Decimal("0.5")
_ONLY_SMALL = 800 * NANO
"""Capitals that many nano-nats below the greatest are nothing beside it in a float."""


class _Stand(NamedTuple):
    """The capitals after a record, the greatest of them, and ⌊10⁹ ln E⌋."""

    capitals: Nanos
    greatest_nanos: int
    log_nanos: int


class Evidence:
    """The capitals of all alternatives, with the excluded counted as nothing, and at their worst.

    >>> from tables.calibration_map import IDENTITY
    >>> from tables.evidence_increments import increments
    >>> evidence = Evidence()
    >>> for _ in range(20): evidence.update(increments(900_000, IDENTITY), 0)
    >>> evidence.n, evidence.log_nanos() // NANO
    (20, 26)
    """

    __slots__ = ("_capitals", "_foreseen", "_greatest", "_log", "_robust", "excluded_n", "n")

    def __init__(self) -> None:
        self.n = 0
        self.excluded_n = 0
        self._capitals: Nanos = np.full(COUNT, _log_nanos(_SPENT_FIRST), dtype=np.int64)
        self._robust = self._capitals
        self._greatest: int | None = None
        self._log: int | None = None
        self._foreseen: list[_Stand] = []

    @property
    def foreseeable_count(self) -> int:
        """How many records may be foreseen now: the rest of a block, once none is foreseen."""
        return 0 if self._foreseen else BLOCK - self.n % BLOCK

    def foresee(self, said: Nanos) -> None:
        """Works out together where the next records lead; `update` then takes these and no others.

        Args:
            said: What each says for each alternative, a row a record: nothing where it is excluded.
        """
        assert len(said) <= self.foreseeable_count, "a block ends, or records are foreseen already"
        capitals = self._capitals + np.cumsum(said, axis=0)
        counts = np.arange(self.n + 1, self.n + 1 + len(said))
        if counts[-1] % BLOCK == 0:
            capitals[-1] = _with_weight(capitals[-1], int(counts[-1]) // BLOCK)
        stands = zip(
            # The last of them stays: a row of the table would keep all of it in memory.
            [*capitals[:-1], capitals[-1].copy()],
            capitals.max(axis=1).tolist(),
            _logs_of_means(capitals, counts),
            strict=True,
        )
        self._foreseen = [_Stand(*stand) for stand in stands][::-1]

    def update(self, increments: Nanos, y: int | None) -> None:
        """Takes a lead record, by what it says for each alternative; y is None if excluded."""
        is_same, robust = self._robust is self._capitals, self._robust
        seen = 1 if y else 0  # an index True would be another kind of index
        self.n += 1
        if self._foreseen:
            self._capitals, self._greatest, self._log = self._foreseen.pop()
        else:
            self._capitals = self._restarted(
                self._capitals if y is None else self._capitals + increments[seen]
            )
            self._greatest = self._log = None
        if y is None:
            self.excluded_n += 1
            self._robust = self._restarted(robust + increments[EXCLUDED])
        else:
            self._robust = self._capitals if is_same else self._restarted(robust + increments[seen])

    def _restarted(self, capitals: Nanos) -> Nanos:
        """The capitals after a record; at the end of a block all bets are opened anew."""
        return capitals if self.n % BLOCK else _with_weight(capitals, self.n // BLOCK)

    @property
    def greatest_nanos(self) -> int:
        """The log of the greatest capital: E is at most that capital and ½."""
        if self._greatest is None:
            self._greatest = int(np.max(self._capitals))
        return self._greatest

    def log_nanos(self) -> int:
        """⌊10⁹ ln E⌋."""
        if self._log is None:
            self._log = _log_of_mean(self._capitals, self.n)
        return self._log

    def robust_log_nanos(self) -> int:
        """⌊10⁹ ln E⌋ if each excluded record had said the worst it could, alternative by one."""
        if self._robust is self._capitals:
            return self.log_nanos()
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


@lru_cache
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
    return _logs_of_means(capitals[None], np.array([n]))[0]


def _logs_of_means(capitals: Nanos, counts: NDArray[np.int64]) -> list[int]:
    """⌊10⁹ ln(mean R + 1/(2(b+1)))⌋ in block b after each of so many records, a row a record; by
    floats unless they are too near to decide.
    """
    rest = 0.5 / (counts // BLOCK + 1)
    greatest = np.maximum(capitals.max(axis=1), 0)
    below = np.maximum(capitals - greatest[:, None], -_ONLY_SMALL)
    total = np.exp(below / NANO).sum(axis=1) / COUNT + rest * np.exp(-greatest / NANO)
    found = NANO * np.log(total)
    floors: Nanos = greatest + np.floor(found).astype(np.int64)
    for k in np.flatnonzero(np.abs(found - np.rint(found)) < _NEAR):
        floors[k] = _exact_log_of_mean(capitals[k], int(counts[k]))
    return list(map(int, floors))


def _exact_log_of_mean(capitals: Nanos, n: int) -> int:
    with localcontext(prec=DIGITS):
        capital = sum(((Decimal(c) / NANO).exp() for c in capitals.tolist()), Decimal()) / COUNT
        return _log_nanos(capital + 1 / Decimal(2 * (n // BLOCK + 1)))

"""What one record says for each way in which a source may be wrong, in whole nano-nats.

The null: the outcome comes with probability π = g₀(p); g₀ is the identity, or the map in force. An
alternative j says σ(a_j + b_j·logit π). Its increment is the log of the likelihood ratio of what
happened, rounded *down*: so the product stays a fair bet against the null, whatever the machine.
The law of the ends (c = .005): π > 1-c is tested at 1-c, and there alternatives above 1-c say
nothing; mirrored below c. Else one failure at a stated 1.0 would decide everything.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from math import log

import numpy as np
from numpy.typing import NDArray

from tables.calibration_bins import UNIT
from tables.calibration_map import CalibrationMap
from tables.evidence_odds import NANO

DIGITS = 40
ALTERNATIVES = tuple(
    (a, b)
    for a in map(Decimal, ("-1", "-.5", "-.25", "0", ".25", ".5", "1"))
    for b in map(Decimal, (".5", ".7", "1", "1.4", "2"))
    if a or b != 1
)
COUNT = len(ALTERNATIVES)
EXCLUDED = 2
"""The row of a record without an outcome: the worst it could have said."""

Nanos = NDArray[np.int64]

_TABLES_MAX = 32_768
_WORKED_OUT_AT_ONCE = 4_096
_NOTHING = np.zeros(COUNT, dtype=np.int64)
_tables: dict[tuple[int, CalibrationMap], Nanos] = {}
"""What was worked out, by confidence and base: all of it is let go where it becomes too much."""
_NEAR = 1e-4
_NEAR_END = 1e-9
_END_ODDS = 199
"""(1-c)/c."""
_END = log(_END_ODDS)
_A, _B = (np.array([float(pair[k]) for pair in ALTERNATIVES]) for k in (0, 1))


def increments(millionths: int, base: CalibrationMap) -> Nanos:
    """Rows by outcome (0, 1, EXCLUDED), columns by alternative: ⌊10⁹ ln L_j⌋.

    >>> from tables.calibration_map import IDENTITY
    >>> failed, succeeded, excluded = increments(800_000, IDENTITY)
    >>> [int(failed[0]), int(succeeded[0]), int(excluded[0])]
    [1057993198, -635153983, -635153983]
    """
    found = _tables.get((millionths, base))
    if found is None:
        prepare((millionths,), base)
        found = _tables[millionths, base]
    return found


def prepare(many_millionths: Iterable[int], base: CalibrationMap) -> None:
    """Works out the tables of many records at once, which costs a tenth of one by one."""
    missing = [p for p in set(many_millionths) if (p, base) not in _tables][:_TABLES_MAX]
    if len(_tables) + len(missing) > _TABLES_MAX:
        _tables.clear()
    for begin in range(0, len(missing), _WORKED_OUT_AT_ONCE):
        some = missing[begin : begin + _WORKED_OUT_AT_ONCE]
        found = increments_of_many(some, base)
        found.setflags(write=False)
        _tables.update(((p, base), table) for p, table in zip(some, found, strict=True))


def said_by(records: Iterable[tuple[int, int | None]], base: CalibrationMap) -> Nanos:
    """What lead records say, a row a record: nothing where y is None, so that it is excluded.

    >>> from tables.calibration_map import IDENTITY
    >>> said_by([(800_000, 0), (800_000, None)], IDENTITY)[:, 0].tolist()
    [1057993198, 0]
    """
    known = list(records)
    prepare((millionths for millionths, _ in known), base)
    return np.array(
        [_NOTHING if y is None else increments(p, base)[1 if y else 0] for p, y in known],
        dtype=np.int64,
    )


def increments_of_many(many_millionths: Sequence[int], base: CalibrationMap) -> Nanos:
    """The same for many records at once, one table after the other."""
    found_logits = [_base_logit(millionths, base) for millionths in many_millionths]
    logits = np.array([logit for logit, _ in found_logits])[:, None]
    alternatives = _A + _B * logits
    failed = np.logaddexp(0, logits) - np.logaddexp(0, alternatives)
    found = NANO * np.stack((failed, failed + (alternatives - logits)), axis=1)
    rows = np.empty((len(found), EXCLUDED + 1, COUNT), dtype=np.int64)
    rows[:, :EXCLUDED] = np.floor(found)
    for k, y, j in np.argwhere(np.abs(found - np.rint(found)) < _NEAR).tolist():
        rows[k, y, j] = exact_increment(many_millionths[k], base, y, j)
    for k, (_, end) in enumerate(found_logits):
        if end:
            rows[k][:, end * alternatives[k] > _END] = 0
    np.minimum(rows[:, 0], rows[:, 1], out=rows[:, EXCLUDED])
    return rows


def _base_logit(millionths: int, base: CalibrationMap) -> tuple[float, int]:
    """Logit g₀(p) moved into the ends, and the end it was moved to: -1, 0 or 1."""
    if millionths in (0, UNIT):
        end = 1 if millionths else -1
        return end * _END, end
    logit = base.a + base.b * log(millionths / (UNIT - millionths))
    if abs(abs(logit) - _END) < _NEAR_END:
        with localcontext(prec=DIGITS):
            is_beyond = abs(_exact_logit(millionths, base)) > Decimal(_END_ODDS).ln()
    else:
        is_beyond = abs(logit) > _END
    end = (1 if logit > 0 else -1) if is_beyond else 0
    return end * _END if end else logit, end


def exact_increment(millionths: int, base: CalibrationMap, y: int, j: int) -> int:
    """The same by 40 decimal digits: what decides where floats are too near to a whole number."""
    with localcontext(prec=DIGITS):
        limit = Decimal(_END_ODDS).ln()
        if millionths in (0, UNIT):
            logit = limit if millionths else -limit
        else:
            logit = max(-limit, min(limit, _exact_logit(millionths, base)))
        a, b = ALTERNATIVES[j]
        sign = -1 if y else 1  # ln(1-π) is minus the softplus of π's logit, ln π that of its minus
        found = _softplus(sign * logit) - _softplus(sign * (a + b * logit))
        return int((NANO * found).to_integral_value("ROUND_FLOOR"))


def _exact_logit(millionths: int, base: CalibrationMap) -> Decimal:
    odds = (Decimal(UNIT - millionths), Decimal(millionths))
    stated = (max(odds) / min(odds)).ln()
    signed = stated if 2 * millionths >= UNIT else -stated
    return (base.a_millionths + base.b_millionths * signed) / UNIT


def _softplus(x: Decimal) -> Decimal:
    return (1 + x.exp()).ln()

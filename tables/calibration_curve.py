"""The reliability diagram of an action type, from the exact sums of its bins."""

from collections.abc import Sequence

from agents_topics.shapes import CalibrationCurve
from tables.calibration_bins import BIN_COUNT, Sums
from tables.scores import brier_score


def calibration_curve(action_type: str, bins: Sequence[Sums]) -> CalibrationCurve:
    """The curve of ten bins: midpoints, actual rates (None where unobserved) and counts.

    >>> ten = [Sums() for _ in range(10)]; ten[8].update(800_000, 1); ten[8].update(820_000, 0)
    >>> curve = calibration_curve("send_email", ten)
    >>> curve.midpoints[8], curve.actual_rates[7:9], curve.counts[8], curve.brier_score
    (0.85, [None, 0.5], 2, 0.3562)
    """
    return CalibrationCurve(
        action_type=action_type,
        midpoints=[(2 * index + 1) / (2 * BIN_COUNT) for index in range(BIN_COUNT)],
        actual_rates=[b.sy / b.n if b.n else None for b in bins],
        counts=[b.n for b in bins],
        brier_score=brier_score(bins),
    )

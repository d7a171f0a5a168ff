"""Verdict and errors in words and in plain values, the same of a file and of a stream."""

from collections.abc import Sequence

from tables.calibration_bins import Sums
from tables.debiased_error import DebiasedError
from tables.direction import direction
from tables.recalibration import recalibration
from tables.smooth_error import SHOWN_MIN
from tables.verdict import MISCALIBRATED, Verdict


def verdict_words(said: Verdict, bins: Sequence[Sums]) -> str:
    """The verdict, and how it is miscalibrated where it is."""
    return f"verdict: {said}{f' ({names(bins)})' if said.word == MISCALIBRATED else ''}"


def names(bins: Sequence[Sums]) -> str:
    """The direction on average, and the shape if it is sure.

    >>> one = Sums(); one.update(800_000, 1); one.update(600_000, 0); names([one])
    'over-confident on average'
    """
    found = direction(bins, recalibration(bins))
    return ", ".join(filter(None, (f"{found.on_average} on average", found.shape)))


def error_words(error: DebiasedError | None, smooth: float | None, ascii_only: bool) -> str:
    """Both errors; what there is none of is left out.

    >>> error_words(DebiasedError(0.0004, 0.0001, 0.0), 0.0021, ascii_only=True)
    'ECE2 0.0200 (0.0143-0.0244), smooth ECE < 0.005'
    """
    dash, name = ("-", "ECE2") if ascii_only else ("–", "ECE₂")
    told = []
    if error is not None:
        told.append(f"{name} {error.root:.4f} ({error.low:.4f}{dash}{error.high:.4f})")
    if smooth is not None:
        told.append(f"smooth ECE {smooth:.4f}" if smooth >= SHOWN_MIN else _TOO_SMALL)
    return ", ".join(told)


_TOO_SMALL = f"smooth ECE < {SHOWN_MIN:g}"


def error_json(error: DebiasedError | None) -> dict[str, float] | None:
    """ECE₂ in plain values."""
    if error is None:
        return None
    return {
        "value": error.root,
        "low": error.low,
        "high": error.high,
        "square": error.square,
        "lone_share": error.lone_share,
    }

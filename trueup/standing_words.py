"""Evidence, and where a stream stands, in words and in plain values; light to load."""

from typing import Any

from agents_topics.calibration import StreamCalibration
from tables.calibration_bins import UNIT
from tables.evidence_odds import evidence_odds


def evidence_words(log_nanos: int, n: int) -> str:
    """The odds, and after how many.

    >>> evidence_words(5_828_945_617, 212)
    'evidence 1 : 330 after 212 settled actions'
    """
    return f"evidence {evidence_odds(log_nanos)} after {n:,} settled actions"


def standing_words(standing: StreamCalibration, first_threshold: float) -> str:
    """What the calibrator says of a stream: verdict, evidence, and how far its threshold went."""
    word = "calibrated within 0.05" if standing.is_calibrated else standing.verdict
    alarm = ", alarm open" if standing.alarm_at_ms is not None else ""
    now, evidence = standing.threshold_millionths / UNIT, standing.log_evidence_nanos
    stays = now == first_threshold
    moved = f"stays at {now:.2f}" if stays else f"{first_threshold:.2f} → {now:.2f}"
    return f"verdict: {word}{alarm}; {evidence_words(evidence, standing.n)}; threshold {moved}"


def standing_json(standing: StreamCalibration, first_threshold: float) -> dict[str, Any]:
    """The same in plain values; `evidence` in odds."""
    return {
        "verdict": standing.verdict,
        "is_alarmed": standing.alarm_at_ms is not None,
        "evidence": evidence_odds(standing.log_evidence_nanos),
        "n": standing.n,
        "first_threshold": first_threshold,
        "threshold": standing.threshold_millionths / UNIT,
    }

"""One full example of each record that tells of a stream's calibration."""

from typing import Any

from agents_topics.calibration import (
    CalibrationAlarm,
    CalibrationMap,
    DaySums,
    DelaySums,
    SegmentSums,
    StreamCalibration,
    StreamTrend,
    ThresholdAdjustment,
)

_STREAM = {
    "tenant_id": "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5",
    "action_type": "send_email",
    "outcome_type": "email_engagement",
    "window_ms": 86_400_000,
    "confidence_source": "self_report",
}
_AT_MS = 1_770_022_800_000
_SUMS = {
    "n": 2,
    "sp": 1_640_000,
    "spp": "1344800000000",
    "sy": 1,
    "spy": 820_000,
    "excluded_n": 0,
    "excluded_sp": 0,
    "excluded_spp": "0",
}
_PART = {"all": _SUMS, "lead": _SUMS, "counts": {"positive": 1, "expired": 1}}
_MAP = {"map_a_millionths": -778_660, "map_b_millionths": 791_622}

CALIBRATION_EXAMPLES: dict[type[Any], dict[str, dict[str, Any]]] = {
    StreamCalibration: {
        "full": {
            "kind": "stream",
            **_STREAM,
            "policy_version": "5d1f3c0a9be27764",
            "tested_since_ms": 1_768_000_000_000,
            "n": 240,
            "excluded_n": 0,
            "log_evidence_nanos": 12_408_000_000,
            "worst_log_evidence_nanos": 12_408_000_000,
            "peak_log_evidence_nanos": 13_000_000_000,
            "alarm_at_ms": _AT_MS,
            "verdict": "miscalibrated",
            "is_calibrated": False,
            "error": 0.21,
            "error_low": 0.15,
            "error_high": 0.26,
            **_MAP,
            "map_adopted_at_ms": _AT_MS,
            "map_log_evidence_nanos": 0,
            "threshold_millionths": 800_000,
            "threshold_changed_at_ms": _AT_MS,
            "is_threshold_held": False,
            "reason": "map a -0.779, b 0.792; evidence 1 : 240,000 after 240 lead records",
            "last_settled_at_ms": _AT_MS,
        }
    },
    DaySums: {
        "full": {
            "kind": "day",
            **_STREAM,
            "bin_index": 8,
            "action_day": 20_485,
            "known_day": 20_486,
            **_PART,
        }
    },
    SegmentSums: {
        "full": {
            "kind": "segment",
            **_STREAM,
            "bin_index": 8,
            "dimension": "model",
            "segment": "small-1",
            **_PART,
        }
    },
    DelaySums: {
        "full": {
            "kind": "delay",
            **_STREAM,
            "positive": [[0] * 48, [0] * 48, [3, 1] + [0] * 46],
            "negative": [[0] * 48, [0] * 48, [0] * 48],
            "counts": [0, 1, 2, 1, *[0] * 9],
            "sum_ms": 4_200_000,
        }
    },
    CalibrationAlarm: {
        "full": {
            "kind": "alarm",
            **_STREAM,
            "number": 1,
            "opened_at_ms": _AT_MS,
            "n": 58,
            "log_evidence_nanos": 3_010_000_000,
            "direction": "over-confident",
            "direction_at_threshold": "over-confident",
            "shape": None,
            "closed_at_ms": None,
            "closed_by": None,
        }
    },
    ThresholdAdjustment: {
        "full": {
            "kind": "adjustment",
            **_STREAM,
            "number": 1,
            "at_ms": _AT_MS,
            "cause": "evidence",
            "direction": "increase",
            "magnitude": 0.1,
            "old_threshold": 0.7,
            "new_threshold": 0.8,
            "reason": "map a -0.779, b 0.792; evidence 1 : 240,000 after 240 lead records",
            **_MAP,
            "n": 240,
            "log_evidence_nanos": 12_408_000_000,
            "expected_before": None,
            "expected_after": 0.579076,
            "observed_before": 0.6,
            "observed_after": None,
            "observed_n_before": 240,
            "observed_n_after": 0,
        }
    },
    CalibrationMap: {
        "full": {
            "kind": "map",
            **_STREAM,
            "number": 1,
            "adopted_at_ms": _AT_MS,
            "n": 240,
            "form": "logistic",
            "a_millionths": -778_660,
            "b_millionths": 791_622,
            "rates": [None, None, None, None, None, None, None, None, 0.6, None],
        }
    },
    StreamTrend: {
        "full": {
            "kind": "trend",
            **_STREAM,
            "metric": "success_rate",
            "n": 200,
            "previous_mean": 0.74,
            "current_mean": 0.55,
            "change_percent": -25.675675675675677,
            "direction": "declining",
            "evidence": "supported",
            "supported_direction": "declining",
            "low": -0.3294,
            "high": -0.0381,
            "compared_count": 1,
            "half_size": 100,
            "compared_at_ms": _AT_MS,
        }
    },
}

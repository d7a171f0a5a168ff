"""One record of each kind that `calibration-updates` carries, of one stream of a tenant."""

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
from agents_topics.events import BinSums, CalibrationUpdate
from agents_topics.label_rates import LabelCounts, LabelRate

START_MS = 1_767_571_200_001
DAY = 20_458


def stream(tenant_id):
    return {
        "tenant_id": tenant_id,
        "action_type": "send_email",
        "outcome_type": "email_engagement",
        "window_ms": 86_400_000,
        "confidence_source": "judge",
    }


def sums(n=2):
    return BinSums(n=n, sp=1_500_000, spp=str(10**37), sy=1, spy=800_000)


def every_kind(tenant_id, n=2):
    """By table; `n` is in each, for another version of the same key."""
    of, lead = stream(tenant_id), BinSums(n=1, sp=700_000, spp="490000000000", excluded_n=4)
    both = {"all": sums(n), "lead": lead, "counts": {"positive": 1, "expired": 1}}
    return {
        "calibration_stream_bins": CalibrationUpdate(
            **of, **both, bin_index=7, last_settled_at_ms=START_MS, residuals=["-5", str(10**30)]
        ),
        "calibration_label_rates": LabelRate(
            **of, confidence_label="high", last_settled_at_ms=START_MS,
            all=LabelCounts(n=n, positive=1, negative=1), lead=LabelCounts(),
        ),
        "calibration_days": DaySums(
            **of, **both, bin_index=7, action_day=DAY, known_day=DAY + 1
        ),
        "calibration_segments": SegmentSums(
            **of, **both, bin_index=7, dimension="model", segment='"kind":"day"',
        ),
        "calibration_delays": DelaySums(
            **of, positive=[[n, 2], [3, 4], [5, 6]], negative=[[0, 0]] * 3,
            counts=[1, 0, 9], sum_ms=10**20,
        ),
        "calibration_streams": StreamCalibration(
            **of, policy_version="0123456789abcdef", tested_since_ms=START_MS, n=n, excluded_n=1,
            log_evidence_nanos=2_995_732_274, worst_log_evidence_nanos=-7,
            peak_log_evidence_nanos=10**14, alarm_at_ms=None, verdict="no evidence",
            is_calibrated=False, error=0.1, error_low=0.0, error_high=0.2,
            map_a_millionths=-778_660, map_b_millionths=791_622, map_adopted_at_ms=START_MS + 1,
            map_log_evidence_nanos=0, threshold_millionths=700_000, threshold_changed_at_ms=None,
            is_threshold_held=False, reason="not moved: too little evidence",
            last_settled_at_ms=START_MS + 2,
        ),
        "calibration_alarms": CalibrationAlarm(
            **of, number=1, opened_at_ms=START_MS, n=n, log_evidence_nanos=3_000_000_001,
            direction="over-confident", direction_at_threshold="even", shape="too extreme",
            closed_at_ms=START_MS + 9, closed_by="person",
        ),
        "threshold_adjustments": ThresholdAdjustment(
            **of, number=1, at_ms=START_MS, cause="evidence", direction="increase",
            magnitude=0.05, old_threshold=0.7, new_threshold=0.75, reason="n=200: ō < f̄",
            map_a_millionths=1, map_b_millionths=None, n=n, log_evidence_nanos=4,
            expected_before=0.6, expected_after=None, observed_before=None, observed_after=0.71,
            observed_n_before=0, observed_n_after=100,
        ),
        "calibration_maps": CalibrationMap(
            **of, number=1, adopted_at_ms=START_MS, n=n, form="monotone", a_millionths=-1,
            b_millionths=2_000_000, rates=[None, 0.25] + [None] * 8,
        ),
        "calibration_trends": StreamTrend(
            **of, metric="calibration_gap", n=n, previous_mean=0.1, current_mean=-0.25,
            change_percent=None, direction="declining", evidence="supported",
            supported_direction="stable", low=-0.5, high=-0.2, compared_count=3, half_size=100,
            compared_at_ms=START_MS + 3,
        ),
    }  # fmt: skip

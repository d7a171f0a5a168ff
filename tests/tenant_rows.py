"""A row of a tenant in every table that has tenants."""

import uuid
from typing import Any

ROWS = {
    "outcome_records": (
        "id, tenant_id, conversation_state_id, conversation_id, action_type, predicted_confidence,"
        " confidence_source, outcome_type, created_at, settled_at, revision, is_settled,"
        " calibrates, expired_counts, policy_version, lineage, output_partition, output_offset",
        "$1, $2, $1, 'c', 'a', .5, 'unknown', 'o', 'epoch', 'epoch', 0, false, true, true, 'v',"
        " 0, 0, 0",
    ),
    "feedback_entries": (
        "id, tenant_id, conversation_state_id, target_type, target_id, source, rating,"
        " reviewer_id, reviewer_role, created_at",
        "$1, $2, $1, 'message', 'm', 'inline', 1, $1, 'rep', 'epoch'",
    ),
    "calibration_stream_bins": (
        "tenant_id, action_type, outcome_type, window_ms, confidence_source, bin_index,"
        " record_set, curve, n, sp, spp, sy, spy, excluded_n, excluded_sp, excluded_spp,"
        " last_settled_at, lineage, output_partition, output_offset",
        "$2, $1::uuid::text, 'o', 1, 'unknown', 0, 'all', 'settled', 0, 0, 0, 0, 0, 0, 0, 0,"
        " 'epoch', 0, 0, 0",
    ),
    "calibration_label_rates": (
        "tenant_id, action_type, outcome_type, window_ms, confidence_source, confidence_label,"
        " record_set, n, positive_count, negative_count, ambiguous_count, expired_count,"
        " last_settled_at, lineage, output_partition, output_offset",
        "$2, $1::uuid::text, 'o', 1, 'unknown', 'high', 'all', 0, 0, 0, 0, 0, 'epoch', 0, 0, 0",
    ),
    "calibration_bins": (
        "id, tenant_id, action_type, bin_index, bin_lower, bin_upper, created_at",
        "$1, $2, $1::uuid::text, 0, 0, .1, 'epoch'",
    ),
    "conversation_states": (
        "id, tenant_id, account_id, contact_id, contact_email, created_at",
        "$1, $2, $1::uuid::text, 'c', 'c@example.org', 'epoch'",
    ),
    "calibration_corrections": (
        "tenant_id, action_type, outcome_type, window_ms, confidence_source, bin_index,"
        " record_set, curve, n, sp, spp, sy, spy, excluded_n, excluded_sp, excluded_spp",
        "$2, $1::uuid::text, 'o', 1, 'unknown', 0, 'all', 'settled', 0, 0, 0, 0, 0, 0, 0, 0",
    ),
}
ROWS["shadow_outcome_records"] = tuple(
    f"{first}, {rest}"
    for first, rest in zip(("shadow", "'s'"), ROWS["outcome_records"], strict=True)
)
STREAM = (
    "tenant_id, action_type, outcome_type, window_ms, confidence_source",
    "$2, $1::uuid::text, 'o', 1, 'judge'",
)
SUMS = ("n, sp, spp, sy, spy, excluded_n, excluded_sp, excluded_spp", "0, 0, 0, 0, 0, 0, 0, 0")
DAY = ("action_day, known_day, bin_index, record_set", "'epoch', 'epoch', 0, 'all'")
SEGMENT = ("dimension, segment, bin_index, record_set", "'model', 'm', 0, 'lead'")
DELAYS = ("positive, negative, counts, sum_ms", "'{}', '{}', '{}', 0")
VERSION = ("lineage, output_partition, output_offset", "0, 0, 0")
OF_STREAMS = {
    "calibration_streams": (
        STREAM,
        (
            "policy_version, tested_since_at, n, excluded_n, log_evidence, worst_log_evidence,"
            " peak_log_evidence, verdict, is_calibrated, map_log_evidence, threshold,"
            " is_threshold_held, reason, last_settled_at",
            "'v', 'epoch', 0, 0, 0, 0, 0, 'insufficient', false, 0, .7, false, 'r', 'epoch'",
        ),
        VERSION,
    ),
    "calibration_days": (STREAM, DAY, SUMS, VERSION),
    "calibration_day_corrections": (STREAM, DAY, SUMS),
    "calibration_segments": (STREAM, SEGMENT, SUMS, VERSION),
    "calibration_segment_corrections": (STREAM, SEGMENT, SUMS),
    "calibration_delays": (STREAM, DELAYS, VERSION),
    "calibration_delay_corrections": (STREAM, DELAYS),
    "calibration_label_corrections": (
        STREAM,
        (
            "confidence_label, record_set, n, positive_count, negative_count, ambiguous_count,"
            " expired_count",
            "'high', 'all', 0, 0, 0, 0, 0",
        ),
    ),
    "calibration_alarms": (
        STREAM,
        (
            "number, opened_at, n, log_evidence, direction, direction_at_threshold",
            "1, 'epoch', 0, 0, 'even', 'even'",
        ),
        VERSION,
    ),
    "threshold_adjustments": (
        STREAM,
        (
            "number, adjusted_at, cause, direction, magnitude, old_threshold, new_threshold,"
            " reason, n, log_evidence, observed_n_before, observed_n_after",
            "1, 'epoch', 'evidence', 'none', 0, .7, .7, 'r', 0, 0, 0, 0",
        ),
        VERSION,
    ),
    "calibration_forecasts": (
        STREAM,
        (
            "as_of_day, waiting, expected, low, high, settles_at",
            "'epoch', 9, 5, 3, 7, 'epoch'",
        ),
        VERSION,
    ),
    "calibration_trends": (
        STREAM,
        (
            "metric, n, previous_mean, current_mean, direction, evidence, supported_direction,"
            " compared_count, half_size",
            "'success_rate', 1, 0, 1, 'stable', 'insufficient', 'stable', 0, 100",
        ),
        VERSION,
    ),
    "calibration_maps": (
        STREAM,
        (
            "number, adopted_at, n, form, map_a, map_b, rates",
            "1, 'epoch', 0, 'logistic', 0, 1, '{}'",
        ),
        VERSION,
    ),
}
ROWS |= {
    table: tuple(", ".join(part) for part in zip(*parts, strict=True))
    for table, parts in OF_STREAMS.items()
}


async def fill(connection: Any, *tenants: str) -> None:
    """A row of each of the tenants in every table."""
    for tenant in tenants:
        for table, (columns, values) in ROWS.items():
            await connection.execute(
                f"INSERT INTO tenant.{table} ({columns}) VALUES ({values})", uuid.uuid4(), tenant
            )

"""METRICS: the list that operators see: name, help, labels. Units stand in the names."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family."""

    name: str
    help: str
    labels: tuple[str, ...]
    kind: Literal["counter", "gauge", "histogram"] = "counter"


RECORDS = Metric(
    "trueup_records",
    "Input records by what became of them: admitted, ignored, duplicate, late or dead.",
    ("partition", "topic", "result"),
)
OUTCOMES = Metric("trueup_outcomes", "Settled outcomes by status.", ("partition", "status"))
UNMATCHED = Metric(
    "trueup_unmatched_interactions",
    "Interactions that were forgotten without having met an action.",
    ("partition",),
)
OPEN = Metric("trueup_open_outcomes", "Outcomes not settled yet.", ("partition",), "gauge")
WATERMARK_LAG = Metric(
    "trueup_watermark_lag_seconds",
    "Wall clock less the settle time up to which everything has settled.",
    ("partition",),
    "gauge",
)
GRACE = Metric(
    "trueup_grace_seconds",
    "The longest grace of a joined topic: with live input the watermark lags by so much.",
    ("partition",),
    "gauge",
)
QUEUED = Metric(
    "trueup_queued_records",
    "Records fetched and not applied yet.",
    ("agent", "partition", "topic"),
    "gauge",
)
CONSUMER_LAG = Metric(
    "trueup_consumer_lag_records",
    "Offsets between the last stable one and the next one to apply.",
    ("agent", "partition", "topic"),
    "gauge",
)
UNSTABLE = Metric(
    "trueup_unstable_records",
    "Offsets after the last stable one: in the log, held back by a producer's open transaction.",
    ("agent", "partition", "topic"),
    "gauge",
)
UNSTABLE_SECONDS = Metric(
    "trueup_unstable_seconds",
    "For how long the last stable offset has stood while records wait behind it.",
    ("agent", "partition", "topic"),
    "gauge",
)
APPLIED_LAG = Metric(
    "trueup_applied_lag_seconds",
    "Since when a task may lack records; of the publisher: how old Postgres is.",
    ("agent", "partition"),
    "gauge",
)
PARTITIONS = Metric(
    "trueup_partitions", "So many partitions every topic has, and tasks every agent.", (), "gauge"
)
TASK_READY = Metric(
    "trueup_task_ready", "1 while the task runs, 0 otherwise.", ("agent", "partition"), "gauge"
)
TASK_REOPENED = Metric(
    "trueup_task_reopened", "How often the task began anew.", ("agent", "partition")
)
TASK_RESTORES = Metric(
    "trueup_task_restores",
    "How often this worker read a task's state from its changelog.",
    ("agent", "partition"),
)
TRANSACTIONS = Metric("trueup_transactions", "Transactions of this worker by result.", ("result",))
CHECK_LAST_RUN = Metric(
    "trueup_check_last_run_timestamp_seconds",
    "When this worker last ran a check, by the wall clock.",
    ("check", "interval"),
    "gauge",
)
CHECK_HANDLED = Metric(
    "trueup_check_handled", "Outcomes that a check has settled or entered.", ("check", "interval")
)
CHECK_FAILURES = Metric(
    "trueup_check_failures",
    "How often a task of a check began anew or stopped.",
    ("check", "interval"),
)
LABEL_DELAY = Metric(
    "trueup_label_delay_seconds",
    "From an action to the interaction that decided it, of settled outcomes.",
    ("partition", "action_type"),
    "histogram",
)
LOG_EVIDENCE = Metric(
    "trueup_calibration_log_evidence",
    "Greatest ln E against the stated confidences, over the streams of all tenants.",
    ("partition", "action_type"),
    "gauge",
)
ALARM = Metric(
    "trueup_calibration_alarm",
    "How many streams have an open alarm: they were found to be miscalibrated.",
    ("partition", "action_type"),
    "gauge",
)
THRESHOLD = Metric(
    "trueup_threshold",
    "Mean confidence from which on agents should act, over the streams of all tenants.",
    ("partition", "action_type"),
    "gauge",
)
SUPPORTED_TRENDS = Metric(
    "trueup_supported_trends",
    "How many streams of all tenants were shown to get better, or worse, by their last comparison.",
    ("partition", "action_type", "metric", "direction"),
    "gauge",
)
BIN_RECORDS = Metric(
    "trueup_calibration_bin_records",
    "Calibrating records of a bin.",
    ("partition", "tenant", "action_type", "bin"),
    "gauge",
)
BIN_CONFIDENCE = Metric(
    "trueup_calibration_bin_confidence_sum",
    "Sum of the stated confidences of a bin.",
    ("partition", "tenant", "action_type", "bin"),
    "gauge",
)
BIN_CONFIDENCE_SQUARES = Metric(
    "trueup_calibration_bin_confidence_squares_sum",
    "Sum of the squared stated confidences of a bin.",
    ("partition", "tenant", "action_type", "bin"),
    "gauge",
)
BIN_POSITIVES = Metric(
    "trueup_calibration_bin_positives",
    "Positive records of a bin.",
    ("partition", "tenant", "action_type", "bin"),
    "gauge",
)
BIN_POSITIVE_CONFIDENCE = Metric(
    "trueup_calibration_bin_positive_confidence_sum",
    "Sum of the stated confidences of a bin's positive records.",
    ("partition", "tenant", "action_type", "bin"),
    "gauge",
)

"""What `calibration-updates` says of a stream beside its bins: test, days, decisions, trends.

A stream is (tenant, action type, outcome type, window length, confidence source). All values are
absolute, so that reading a record twice changes nothing; confidences in sums, maps and thresholds
are integers in millionths, evidence is in whole nano-nats (10⁹ ln E). A reader tells the records
apart by `kind`, which a bin and a label's rate have not.
"""

from dataclasses import dataclass, field
from math import exp, log
from typing import Literal

from agents_topics.events import BinSums

UNIT = 1_000_000
END = 5_000
"""A map is not followed nearer to 0 and 1 than it was tested."""


@dataclass(slots=True, kw_only=True)
class StreamCalibration:
    """Where a stream stands: evidence, verdict, the map in force and the threshold."""

    kind: Literal["stream"] = "stream"
    """What the record is."""
    tenant_id: str
    """Whose it is."""
    action_type: str
    """What was done."""
    outcome_type: str
    """Which outcome."""
    window_ms: int
    """How long its window is."""
    confidence_source: str
    """Where the confidences come from."""
    policy_version: str
    """The version of the policy of the last outcome: its target and first threshold hold."""
    tested_since_ms: int
    """The settle time at which the test began."""
    n: int
    """The lead records of the test."""
    excluded_n: int
    """How many of these say nothing."""
    log_evidence_nanos: int
    """10⁹ ln E, E the evidence against the stated probabilities."""
    worst_log_evidence_nanos: int
    """The same if what says nothing had said the worst."""
    peak_log_evidence_nanos: int
    """The greatest it has been."""
    alarm_at_ms: int | None
    """The settle time of the record that opened the alarm; null where none is open."""
    verdict: Literal["miscalibrated", "insufficient", "calibrated", "no evidence"]
    """What may be said, on lead records."""
    is_calibrated: bool
    """Whether the error is shown to be small."""
    error: float | None
    """ECE₂: the debiased calibration error, a root."""
    error_low: float | None
    """The lower end of its interval."""
    error_high: float | None
    """The upper end."""
    map_a_millionths: int | None
    """The map in force is σ(a + b·logit p); null where none was adopted."""
    map_b_millionths: int | None
    """Its slope."""
    map_adopted_at_ms: int | None
    """The settle time from which on it is in force."""
    map_log_evidence_nanos: int
    """10⁹ ln E against the map in force; without one that against the stated probabilities."""
    threshold_millionths: int
    """From which confidence on an agent should act."""
    threshold_changed_at_ms: int | None
    """The settle time of the last change; null where there was none."""
    is_threshold_held: bool
    """Whether a person holds it where it is."""
    reason: str
    """Why the threshold stands where it is."""
    last_settled_at_ms: int
    """The latest settle time of an outcome of the stream."""


@dataclass(slots=True, kw_only=True)
class DaySums:
    """What of a bin happened on one day and was known on another: sums for any span of days."""

    kind: Literal["day"] = "day"
    """What the record is."""
    tenant_id: str
    """Whose it is."""
    action_type: str
    """What was done."""
    outcome_type: str
    """Which outcome."""
    window_ms: int
    """How long its window is."""
    confidence_source: str
    """Where the confidences come from."""
    bin_index: int
    """0 for [0, 0.1) to 9 for [0.9, 1]."""
    action_day: int
    """The day of the actions, in days since 1970-01-01, UTC."""
    known_day: int
    """The day of their settle times."""
    all: BinSums
    """Over all settled outcomes."""
    lead: BinSums
    """Over the one that leads each conversation and window."""
    counts: dict[str, int]
    """The settled outcomes by status."""


@dataclass(slots=True, kw_only=True)
class SegmentSums:
    """The part of a bin that one model, agent or other segment of the policy has."""

    kind: Literal["segment"] = "segment"
    """What the record is."""
    tenant_id: str
    """Whose it is."""
    action_type: str
    """What was done."""
    outcome_type: str
    """Which outcome."""
    window_ms: int
    """How long its window is."""
    confidence_source: str
    """Where the confidences come from."""
    bin_index: int
    """0 for [0, 0.1) to 9 for [0.9, 1]."""
    dimension: str
    """The field of the action that tells the segments apart."""
    segment: str
    """Its value; `other` beyond the greatest number of segments, `` where it is not said."""
    all: BinSums
    """Over all settled outcomes."""
    lead: BinSums
    """Over the one that leads each conversation and window."""
    counts: dict[str, int]
    """The settled outcomes by status."""


@dataclass(slots=True, kw_only=True)
class DelaySums:
    """How soon signals come in a stream, from windows that have closed."""

    kind: Literal["delay"] = "delay"
    """What the record is."""
    tenant_id: str
    """Whose it is."""
    action_type: str
    """What was done."""
    outcome_type: str
    """Which outcome."""
    window_ms: int
    """How long its window is."""
    confidence_source: str
    """Where the confidences come from."""
    positive: list[list[int]]
    """Positive outcomes by third of confidence and 48th of the window."""
    negative: list[list[int]]
    """Outcomes with a negative signal, likewise."""
    counts: list[int]
    """Outcomes with a signal by delay, up to 1, 5, 15 minutes … 30 days, and longer."""
    sum_ms: int
    """The sum of all their delays."""


@dataclass(slots=True, kw_only=True)
class CalibrationAlarm:
    """A stream was found to be miscalibrated; it stays open until something new is tested."""

    kind: Literal["alarm"] = "alarm"
    """What the record is."""
    tenant_id: str
    """Whose it is."""
    action_type: str
    """What was done."""
    outcome_type: str
    """Which outcome."""
    window_ms: int
    """How long its window is."""
    confidence_source: str
    """Where the confidences come from."""
    number: int
    """1 for the stream's first alarm, then rising."""
    opened_at_ms: int
    """The settle time of the record that opened it."""
    n: int
    """The lead records of the test up to then."""
    log_evidence_nanos: int
    """10⁹ ln E at that moment."""
    direction: Literal["over-confident", "under-confident", "even"]
    """On average over the lead records."""
    direction_at_threshold: Literal["over-confident", "under-confident", "even"]
    """Where the agent decides."""
    shape: Literal["too extreme", "too timid"] | None
    """Whether stated confidences lie too far from, or too near to, the middle; null if unsure."""
    closed_at_ms: int | None
    """The settle time at which it was closed; null while it is open."""
    closed_by: Literal["agent version", "policy", "person"] | None
    """What closed it."""


@dataclass(slots=True, kw_only=True)
class ThresholdAdjustment:
    """A threshold moved. Also, by stream, in the topic `threshold-adjustments`, for agents."""

    kind: Literal["adjustment"] = "adjustment"
    """What the record is."""
    tenant_id: str
    """Whose it is."""
    action_type: str
    """What was done."""
    outcome_type: str
    """Which outcome."""
    window_ms: int
    """How long its window is."""
    confidence_source: str
    """Where the confidences come from."""
    number: int
    """1 for the stream's first adjustment, then rising."""
    at_ms: int
    """The settle time from which on it holds."""
    cause: Literal["evidence", "set", "roll_back", "release"]
    """Evidence moved it, or a person."""
    direction: Literal["increase", "decrease", "none"]
    """Where it moved."""
    magnitude: float
    """By how much."""
    old_threshold: float
    """From where."""
    new_threshold: float
    """To where."""
    reason: str
    """Why, in words."""
    map_a_millionths: int | None
    """The map that it follows; null where a person chose."""
    map_b_millionths: int | None
    """Its slope."""
    n: int
    """The lead records behind it."""
    log_evidence_nanos: int
    """10⁹ ln E against the map that was in force before."""
    expected_before: float | None
    """The success that the map expects at the old threshold; null where its bin is unobserved."""
    expected_after: float | None
    """The success that it expects at the new one; null likewise."""
    observed_before: float | None
    """The success of what was acted on before, at the old threshold; null until enough is seen."""
    observed_after: float | None
    """The success of what was acted on since."""
    observed_n_before: int
    """How many lead records tell of before."""
    observed_n_after: int
    """How many tell of after."""


@dataclass(slots=True, kw_only=True)
class CalibrationMap:
    """How to correct a stated confidence. Also, by stream, in the topic `calibration-maps`."""

    kind: Literal["map"] = "map"
    """What the record is."""
    tenant_id: str
    """Whose it is."""
    action_type: str
    """What was done."""
    outcome_type: str
    """Which outcome."""
    window_ms: int
    """How long its window is."""
    confidence_source: str
    """Where the confidences come from."""
    number: int
    """1 for the stream's first map, then rising."""
    adopted_at_ms: int
    """The settle time from which on it is in force."""
    n: int
    """The lead records that it was fitted to."""
    form: Literal["logistic", "monotone"]
    """σ(a + b·logit p), or the rates of the bins where that does not fit them."""
    a_millionths: int
    """Where the logistic map lies."""
    b_millionths: int
    """How steep it is."""
    rates: list[float | None] = field(default_factory=lambda: [None] * 10)
    """By bin the success to expect, never falling; null where nothing was observed."""


@dataclass(slots=True, kw_only=True)
class StreamTrend:
    """Is a stream getting better or worse. Also, where it is shown, in the topic `trend-changes`.

    Over lead records that say something, in the order of their settle times.
    """

    kind: Literal["trend"] = "trend"
    """What the record is."""
    tenant_id: str
    """Whose it is."""
    action_type: str
    """What was done."""
    outcome_type: str
    """Which outcome."""
    window_ms: int
    """How long its window is."""
    confidence_source: str
    """Where the confidences come from."""
    metric: Literal["success_rate", "calibration_gap"]
    """The rate of success; or the mean confidence less that, above 0 where it is over-confident."""
    n: int
    """How many samples the two means are over: the newest ones, at most twice `half_size`."""
    previous_mean: float
    """The mean of the older half of them; 0 where there is none."""
    current_mean: float
    """The mean of the newer half, which has the odd one."""
    change_percent: float | None
    """From the one to the other; null from 0, and of a gap, of which no percentage makes sense."""
    direction: Literal["improving", "stable", "declining"]
    """What lies beyond 5 %, or .05 nearer to 0 or farther. By chance alone there mostly is one."""
    evidence: Literal["supported", "unsupported", "insufficient"]
    """Whether the last comparison of full halves shows a difference, all of them together being
    wrong in one stream of twenty at most; `insufficient` before the first.
    """
    supported_direction: Literal["improving", "stable", "declining"]
    """Where it is supported, what it shows; `stable` if not, or if a gap has gone across 0 and is
    not shown to lie nearer or farther.
    """
    low: float | None
    """The lower end of the interval of newer less older mean in the last comparison."""
    high: float | None
    """The upper end."""
    compared_count: int
    """How many comparisons there were."""
    half_size: int
    """The samples of a half: so many come between two comparisons."""
    compared_at_ms: int | None
    """The settle time of the last comparison."""


RECORDS = (
    StreamCalibration,
    DaySums,
    SegmentSums,
    DelaySums,
    CalibrationAlarm,
    ThresholdAdjustment,
    CalibrationMap,
    StreamTrend,
)
"""Every kind."""


def calibrated_confidence(found: CalibrationMap, confidence: float) -> float | None:
    """The success to expect where an agent states this confidence; None where none was observed.

    >>> rates = [None] * 7 + [0.6, 0.64, 0.7]
    >>> one = CalibrationMap(tenant_id="t", action_type="qualify", outcome_type="deal_progression",
    ...     window_ms=60000, confidence_source="judge", number=1, adopted_at_ms=0, n=200,
    ...     form="logistic", a_millionths=-778660, b_millionths=791622, rates=rates)
    >>> round(calibrated_confidence(one, 0.82), 3), calibrated_confidence(one, 0.2)
    (0.604, None)

    Raises:
        ValueError: not a confidence.
    """
    if not 0 <= confidence <= 1:
        raise ValueError(f"a confidence is from 0 to 1, not {confidence}")
    rate = found.rates[min(int(confidence * UNIT + 0.5) * 10 // UNIT, 9)]
    if rate is None or found.form == "monotone":
        return rate
    stated = min(max(confidence, END / UNIT), 1 - END / UNIT)
    logit = log(stated / (1 - stated))
    return 1 / (1 + exp(-(found.a_millionths + found.b_millionths * logit) / UNIT))

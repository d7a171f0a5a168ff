"""The fold of a stream the slow, obvious way: lists of records, summed anew for each question.

Fits, verdicts and decisions are those of `tables`, which have oracles of their own; what is asked,
when, over which records, and what follows from it, is written here a second time.
"""

from collections import Counter
from dataclasses import dataclass, field, replace

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
from tables.calibration_map import IDENTITY
from tables.direction import direction
from tables.evidence import Evidence
from tables.evidence_increments import increments
from tables.map_form import map_form
from tables.miscalibration_test import Epoch, MiscalibrationTest
from tables.recalibration import recalibration
from tables.stream_calibration import Override
from tables.thresholds import Seen, Threshold, ThresholdRule, decide, weak_evidence
from tables.trends import NO_TREND_EVIDENCE, Half, Metric, trend_evidence
from tables.verdict import has_enough, verdict
from tests.real_data import ten_bins

DAY_MS = 86_400_000
BOUNDS_S = (60, 300, 900, 3600, 10800, 21600, 43200, 86400, 259200, 604800, 1209600, 2592000)


@dataclass
class Story:
    """What has happened to a stream so far."""

    key: str
    stream: object
    threshold: Threshold
    since_tested_ms: int
    test: MiscalibrationTest = field(default_factory=MiscalibrationTest)
    leads: list = field(default_factory=list)
    tested: list = field(default_factory=list)
    alarms: list = field(default_factory=list)
    adjustments: list = field(default_factory=list)
    maps: list = field(default_factory=list)
    begun_ms: int | None = None
    effect_told: int = 0
    reason: str = ""
    ask_again_at: int = 0


def expected(stream, inputs, rules):
    """By key every record that readers end up with; `inputs` in order, rules by policy version."""
    records = [one for one in inputs if not isinstance(one, Override)]
    told = dict(sums_of(stream, records))
    told.update(decisions_of(stream, inputs, rules))
    trends = {f"{'/'.join(map(str, stream))}/trend/{m}": t for m, t in trends_of(stream, records)}
    told.update(trends)
    return told


# ---- sums --------------------------------------------------------------------------------------


def bin_of(record):
    return min(record.millionths // 100_000, 9)


def bin_sums(records):
    counted = [r for r in records if r.y is not None]
    excluded = [r for r in records if r.y is None]
    return BinSums(
        n=len(counted),
        sp=sum(r.millionths for r in counted),
        spp=str(sum(r.millionths**2 for r in counted)),
        sy=sum(r.y for r in counted),
        spy=sum(r.millionths for r in counted if r.y),
        excluded_n=len(excluded),
        excluded_sp=sum(r.millionths for r in excluded),
        excluded_spp=str(sum(r.millionths**2 for r in excluded)),
    )


def three(records):
    return {
        "all": bin_sums(records),
        "lead": bin_sums([r for r in records if r.is_lead]),
        "counts": dict(Counter(r.status for r in records)),
    }


def grouped(records, key_of):
    groups = {}
    for record in records:
        groups.setdefault(key_of(record), []).append(record)
    return groups


def sums_of(stream, records):
    key, of = "/".join(map(str, stream)), stream._asdict()
    for index, held in grouped(records, bin_of).items():
        yield (
            f"{key}/{index}",
            CalibrationUpdate(
                **of,
                bin_index=index,
                **three(held),
                last_settled_at_ms=max(r.settled_at_ms for r in held),
                residuals=[str(mass) for cell in range(20) for mass in masses(held, index, cell)],
            ),
        )
    days = grouped(
        records, lambda r: (bin_of(r), r.created_at_ms // DAY_MS, r.settled_at_ms // DAY_MS)
    )
    for (index, done, known), held in days.items():
        record = DaySums(**of, bin_index=index, action_day=done, known_day=known, **three(held))
        yield f"{key}/day/{index}/{done}/{known}", record
    yield from segments_of(key, of, records)
    signalled = [r for r in records if r.delay_ms is not None]
    if signalled:
        yield f"{key}/delay", delays_of(of, signalled)


def masses(records, index, cell):
    """What falls to the left and to the right end of a cell, by the definition of the grid."""
    start = 100_000 * index + 5_000 * cell
    inside = [r for r in records if r.y is not None and start <= r.millionths < start + 5_000]
    last = [r for r in records if r.y is not None and r.millionths == start + 5_000 == 10**6]
    both = [(r.millionths - 10**6 * r.y, r.millionths - start) for r in inside + last]
    return sum(p_y * (5_000 - rest) for p_y, rest in both), sum(p_y * rest for p_y, rest in both)


def segments_of(key, of, records):
    found = {}
    for number, record in enumerate(records):
        for dimension, value in record.segments:
            earlier = [v for r in records[: number + 1] for d, v in r.segments if d == dimension]
            first_50 = [v for v in dict.fromkeys(earlier) if v not in ("", "other")][:50]
            segment = value if value in first_50 or not value else "other"
            found.setdefault((dimension, bin_of(record), segment), []).append(record)
    for (dimension, index, segment), held in found.items():
        record = SegmentSums(
            **of, bin_index=index, dimension=dimension, segment=segment, **three(held)
        )
        yield f"{key}/segment/{dimension}/{index}/{segment}", record


def delays_of(of, records):
    def curve(status):
        counts = [[0] * 48 for _ in range(3)]
        for r in records:
            if r.status == status:
                counts[bin_of(r) * 3 // 10][min(r.delay_ms * 48 // of["window_ms"], 47)] += 1
        return counts

    counts = [0] * 13
    for r in records:
        counts[sum(r.delay_ms > 1000 * bound for bound in BOUNDS_S)] += 1
    return DelaySums(
        **of,
        positive=curve("positive"),
        negative=curve("negative"),
        counts=counts,
        sum_ms=sum(r.delay_ms for r in records),
    )


# ---- trends ------------------------------------------------------------------------------------


def trends_of(stream, records):
    """Both trends as they stand after these records."""
    for metric in (Metric.SUCCESS_RATE, Metric.CALIBRATION_GAP):
        samples = samples_of(metric, records)
        if samples:
            yield metric, trend_of(stream, metric, samples)


def samples_of(metric, records):
    """Settle times with the samples, in millionths."""
    return [
        (r.settled_at_ms, 10**6 * r.y if metric == "success_rate" else r.millionths - 10**6 * r.y)
        for r in records
        if r.is_lead and r.y is not None
    ]


def trend_of(stream, metric, samples):
    """The halves of the newest 200; and the evidence of the last full hundred and that before."""
    newest = [x for _, x in samples[-200:]]
    older, newer = newest[: len(newest) // 2], newest[len(newest) // 2 :]
    previous = sum(older) / (10**6 * len(older)) if older else 0.0
    current = sum(newer) / (10**6 * len(newer))
    compared = [evidence_at(metric, samples[: 100 * k], k - 1) for k in halves(samples)]
    shown = compared[-1] if compared else NO_TREND_EVIDENCE
    return StreamTrend(
        **stream._asdict(),
        metric=str(metric),
        n=len(newest),
        previous_mean=previous,
        current_mean=current,
        change_percent=percent_of(metric, previous, current, bool(older)),
        direction=direction_of(metric, previous, current, bool(older)),
        evidence=shown.word,
        supported_direction=shown.direction,
        low=shown.low,
        high=shown.high,
        compared_count=len(compared),
        half_size=100,
        compared_at_ms=samples[100 * (1 + len(compared)) - 1][0] if compared else None,
    )


def halves(samples):
    """After which full hundreds there is a comparison."""
    return range(2, len(samples) // 100 + 1)


def evidence_at(metric, samples, k):
    """The k-th comparison: of the last hundred with the one before."""
    older, newer = Half(), Half()
    for half, some in ((older, samples[-200:-100]), (newer, samples[-100:])):
        half.n, half.total = 100, sum(x for _, x in some)
        half.square = sum(x * x for _, x in some)
    return trend_evidence(metric, older, newer, 0.05 / (k * (k + 1)))


def percent_of(metric, previous, current, has_older):
    if metric == "calibration_gap":
        return None
    if not has_older or previous == current == 0:
        return 0.0
    return 100 * (current - previous) / previous if previous else None


def direction_of(metric, previous, current, has_older):
    if not has_older:
        return "stable"
    if metric == "calibration_gap":
        nearer, limit = round(abs(previous) - abs(current), 9), 0.05
    else:
        nearer = (current - previous) / previous if previous else current
        limit = 0.05 if previous else 0.0
    return "improving" if nearer > limit else "declining" if nearer < -limit else "stable"


def trend_changes_of(stream, records):
    """By settle time and metric what is said: each supported comparison, and what ends one."""
    for metric in (Metric.SUCCESS_RATE, Metric.CALIBRATION_GAP):
        samples, before = samples_of(metric, records), "insufficient"
        for k in halves(samples):
            trend = trend_of(stream, metric, samples[: 100 * k])
            if "supported" in (before, trend.evidence):
                yield trend
            before = trend.evidence


# ---- decisions ---------------------------------------------------------------------------------


def decisions_of(stream, inputs, rules):
    if not inputs:
        return {}
    last, key = None, "/".join(map(str, stream))
    first = inputs[0]
    rule = rules[""] if isinstance(first, Override) else rules[first.policy_version]
    at_ms = first.at_ms if isinstance(first, Override) else first.settled_at_ms
    it = Story(key, stream, Threshold(rule.first_threshold), at_ms)
    for one in inputs:
        if isinstance(one, Override):
            on_override(it, one)
            continue
        last, rule = one, rules[one.policy_version]
        if one.is_lead:
            on_lead(it, one, rule)
    told = {f"{key}/{e.kind}/{e.number}": e for e in (*it.alarms, *it.adjustments, *it.maps)}
    return told | {f"{key}/stream": stand(it, rule, last)}


def on_lead(it, record, rule):
    if it.alarms and it.alarms[-1].closed_at_ms is None:
        versions = {r.agent_version for r in it.tested} | {None}
        if record.policy_version not in {r.policy_version for r in it.tested}:
            close(it, "policy", record.settled_at_ms)
        elif record.agent_version not in versions:
            close(it, "agent version", record.settled_at_ms)
    it.leads.append(record)
    is_open = bool(it.alarms) and it.alarms[-1].closed_at_ms is None
    it.tested.append(record)
    it.test.update(record.millionths, record.y, record.created_at_ms)
    if not is_open and it.test.raw.is_alarm(0.05):
        it.alarms.append(alarm(it, record.settled_at_ms))
    tell_effect(it, 100)
    move(it, record.settled_at_ms, rule)


def pairs(records):
    return [(r.millionths, r.y) for r in records]


def alarm(it, at_ms):
    lead = ten_bins(pairs(it.tested))
    named = direction(lead, recalibration(lead), it.threshold.value / 1e6)
    return CalibrationAlarm(
        **it.stream._asdict(),
        number=len(it.alarms) + 1,
        opened_at_ms=at_ms,
        n=len(it.tested),
        log_evidence_nanos=it.test.raw.log_nanos(),
        direction=named.on_average,
        direction_at_threshold=named.at_threshold,
        shape=named.shape,
        closed_at_ms=None,
        closed_by=None,
    )


def close(it, closed_by, at_ms):
    it.alarms[-1] = replace(it.alarms[-1], closed_at_ms=at_ms, closed_by=closed_by)
    epoch, it.test = it.test.epoch, MiscalibrationTest()
    it.test.epoch = epoch
    it.tested, it.since_tested_ms, it.ask_again_at = [], at_ms, 0


def acted_on(it):
    """Lead records at or above the threshold, of actions since the last adjustment."""
    since = it.adjustments[-1].at_ms if it.adjustments else None
    return [
        r
        for r in it.leads
        if r.y is not None
        and r.millionths >= it.threshold.value
        and (since is None or r.created_at_ms >= since)
    ]


def rate(records):
    return round(sum(r.y for r in records) / len(records), 6) if records else None


def tell_effect(it, least):
    if not it.adjustments or it.effect_told == len(it.adjustments):
        return
    acted = acted_on(it)
    if len(acted) >= least:
        it.effect_told = len(it.adjustments)
        it.adjustments[-1] = replace(
            it.adjustments[-1], observed_after=rate(acted), observed_n_after=len(acted)
        )


def since(it):
    return [r for r in it.leads if it.begun_ms is None or r.created_at_ms >= it.begun_ms]


def epoch_of(it):
    if it.test.epoch is None:
        return it.tested
    return [r for r in it.leads if r.created_at_ms >= it.test.epoch.adopted_at_ms]


def move(it, at_ms, rule):
    asked = ThresholdRule(rule.target, it.stream.window_ms)
    recent = since(it)
    below = [r for r in recent if r.y is not None and r.millionths < it.threshold.value]
    epoch = ten_bins(pairs(epoch_of(it)))
    decision = decide(
        it.threshold,
        asked,
        it.test,
        Seen(epoch, ten_bins(pairs(recent)), ten_bins(pairs(it.leads)), len(below) >= 30),
        at_ms,
    )
    is_moved = decision.adopted is not None or decision.threshold != it.threshold
    n, in_force = it.test.of_map.n, it.test.epoch
    wants = in_force and in_force.map.inverse_millionths(rule.target) != it.threshold.value
    is_shown = it.test.of_map.is_alarm(0.05) and has_enough(epoch)
    if n < it.ask_again_at or "held" in decision.reason or "cool-down" in decision.reason:
        return
    assert wants or is_shown or not is_moved, "nothing moves without evidence or a map"
    if not wants and not is_shown:
        return
    it.reason = decision.reason
    if not is_moved:
        it.ask_again_at = n + max(1, n // 20)
        return
    log_nanos = it.test.of_map.log_nanos()
    if decision.adopted:
        adopt(it, decision.adopted, epoch, at_ms)
    if decision.threshold != it.threshold:
        change(it, decision.threshold, "evidence", at_ms, it.test.epoch.map, n, log_nanos)
    it.begun_ms, it.ask_again_at = at_ms, 0


def adopt(it, found, epoch, at_ms):
    form, rates = map_form(epoch, found)
    it.maps.append(
        CalibrationMap(
            **it.stream._asdict(),
            number=len(it.maps) + 1,
            adopted_at_ms=at_ms,
            n=sum(sums.n for sums in epoch),
            form=form,
            a_millionths=found.a_millionths,
            b_millionths=found.b_millionths,
            rates=[None if r is None else r / 1e6 for r in rates],
        )
    )
    it.test.epoch = Epoch(found, at_ms)


def change(it, changed, cause, at_ms, found, n, log_nanos):
    tell_effect(it, 0)
    before = acted_on(it)
    old, new = it.threshold.value, changed.value
    it.threshold = changed
    it.adjustments.append(
        ThresholdAdjustment(
            **it.stream._asdict(),
            number=len(it.adjustments) + 1,
            at_ms=at_ms,
            cause=cause,
            direction="none" if old == new else "increase" if new > old else "decrease",
            magnitude=abs(new - old) / 1e6,
            old_threshold=old / 1e6,
            new_threshold=new / 1e6,
            reason=it.reason,
            map_a_millionths=found.a_millionths if found else None,
            map_b_millionths=found.b_millionths if found else None,
            n=n,
            log_evidence_nanos=log_nanos,
            expected_before=expected_at(it, found, old),
            expected_after=expected_at(it, found, new),
            observed_before=rate(before),
            observed_after=None,
            observed_n_before=len(before),
            observed_n_after=0,
        )
    )


def expected_at(it, found, threshold):
    """The map's success at a threshold, if any lead record with an outcome lies in its bin."""
    low = min(threshold // 100_000, 9) * 100_000
    high = 1_000_001 if low == 900_000 else low + 100_000
    if found is None or not any(low <= r.millionths < high for r in it.leads if r.y is not None):
        return None
    return round(found.of(threshold / 1e6), 6)


def on_override(it, override):
    is_open = bool(it.alarms) and it.alarms[-1].closed_at_ms is None
    if override.cause == "close_alarm":
        if is_open:
            close(it, "person", override.at_ms)
        return
    words = {"set": "set", "roll_back": "taken back", "release": "released"}[override.cause]
    if override.cause == "set":
        changed = it.threshold.overridden(override.value, override.at_ms)
    elif override.cause == "roll_back":
        if not it.threshold.earlier:
            words = "not moved: no change to take back, asked"
        changed = it.threshold.rolled_back(override.at_ms)
    else:
        changed = it.threshold.released(override.at_ms)
    it.reason = f"{words} by {override.reviewer}"
    of_map = it.test.of_map
    change(it, changed, override.cause, override.at_ms, None, of_map.n, of_map.log_nanos())
    it.begun_ms, it.ask_again_at = override.at_ms, 0


def peak_of(records):
    """The greatest E of a test's records, each evidence made anew from the first on."""
    evidence, peak = Evidence(), 0
    for record in records:
        evidence.update(increments(record.millionths, IDENTITY), record.y)
        peak = max(peak, evidence.log_nanos())
    return peak


def stand(it, rule, last):
    found = verdict(ten_bins(pairs(it.tested)), it.test.raw)
    epoch, is_open = it.test.epoch, bool(it.alarms) and it.alarms[-1].closed_at_ms is None
    asked = ThresholdRule(rule.target, it.stream.window_ms)
    return StreamCalibration(
        **it.stream._asdict(),
        policy_version=last.policy_version if last else "",
        tested_since_ms=it.since_tested_ms,
        n=len(it.tested),
        excluded_n=sum(r.y is None for r in it.tested),
        log_evidence_nanos=it.test.raw.log_nanos(),
        worst_log_evidence_nanos=it.test.raw.robust_log_nanos(),
        peak_log_evidence_nanos=peak_of(it.tested),
        alarm_at_ms=it.alarms[-1].opened_at_ms if is_open else None,
        verdict=found.word,
        is_calibrated=found.word == "calibrated",
        error=found.error and found.error.root,
        error_low=found.error and found.error.low,
        error_high=found.error and found.error.high,
        map_a_millionths=epoch and epoch.map.a_millionths,
        map_b_millionths=epoch and epoch.map.b_millionths,
        map_adopted_at_ms=epoch and epoch.adopted_at_ms,
        map_log_evidence_nanos=it.test.of_map.log_nanos(),
        threshold_millionths=it.threshold.value,
        threshold_changed_at_ms=it.threshold.changed_at_ms,
        is_threshold_held=it.threshold.is_held,
        reason=it.reason or f"not moved: {weak_evidence(it.test, asked)}",
        last_settled_at_ms=last.settled_at_ms if last else 0,
    )

"""Day rows and delays of records, the slow obvious way."""

from collections import Counter
from dataclasses import replace

from agents_topics.calibration import DaySums
from agents_topics.events import BinSums
from tables.calibration_bins import SUM_NAMES, Sums, bin_index_of
from tables.day_curve import sums_of
from tables.delay_curve import age_bucket, third_of
from tables.open_actions import DayDelays

DAY = 86_400_000
STREAM = {
    "tenant_id": "t",
    "action_type": "qualify",
    "outcome_type": "deal_progression",
    "window_ms": 3 * DAY,
    "confidence_source": "judge",
}


def told(sums):
    values = {name: getattr(sums, name) for name in SUM_NAMES}
    return BinSums(**values | {name: str(values[name]) for name in ("spp", "excluded_spp")})


def day_rows(records):
    """Rows of records (confidence in millionths, y, action day, known day, whether it leads)."""
    held = {}
    for millionths, y, action_day, known_day, is_lead in records:
        key = (bin_index_of(millionths), action_day, known_day)
        every, lead, counts = held.setdefault(key, (Sums(), Sums(), {}))
        every.update(millionths, y)
        if is_lead:
            lead.update(millionths, y)
        status = {1: "positive", 0: "negative", None: "ambiguous"}[y]
        counts[status] = counts.get(status, 0) + 1
    return [
        DaySums(
            **STREAM, bin_index=index, action_day=action_day, known_day=known_day,
            all=told(every), lead=told(lead), counts=counts,
        )
        for (index, action_day, known_day), (every, lead, counts) in held.items()
    ]  # fmt: skip


def records_of(followed):
    """The settled ones, each a lead record, an expired one counted as 0."""
    y_of = {"positive": 1, "negative": 0, "expired": 0}
    return [
        (f.millionths, y_of.get(f.status), f.created_at_ms // DAY, f.settled_at_ms // DAY, True)
        for f in followed
        if f.is_settled
    ]


def delays_of(followed, window_ms):
    """Their delays by the day of their settle times."""
    counts = Counter()
    for f in followed:
        if f.is_settled and f.status in ("positive", "negative"):
            third = third_of(bin_index_of(f.millionths))
            bucket = age_bucket(f.signal_at_ms - f.created_at_ms, window_ms)
            counts[f.settled_at_ms // DAY, third, bucket, f.status] += 1
    return [
        DayDelays(*key, counts[*key, "positive"], counts[*key, "negative"])
        for key in {key[:3] for key in counts}
    ]


def earlier_days(rows, last_day, tested_since):
    """The rows of later days, and the sums of those up to the last one that is not kept."""
    kept, groups = [], {}
    for row in rows:
        if row.known_day > last_day:
            kept.append(row)
        else:
            groups.setdefault((row.bin_index, row.known_day < tested_since), []).append(row)
    earlier = []
    for group in groups.values():
        every, lead, counts = Sums(), Sums(), Counter()
        for row in group:
            every.merge(sums_of(row.all))
            lead.merge(sums_of(row.lead))
            counts.update(row.counts)
        latest = {name: max(getattr(row, name) for row in group) for name in DAYS}
        own = {"all": told(every), "lead": told(lead), "counts": dict(counts)}
        earlier.append(replace(group[0], **latest, **own))
    return kept, earlier


DAYS = ("action_day", "known_day")

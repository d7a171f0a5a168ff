"""What was open at a moment, and what of it had been heard of, from what became of each action.

An action's times say what was known of it at any moment: it is open from its own time up to its
settle time, and silent until its deciding signal. So the past need not be kept: it is recomputed.
What a person's label has decided counts from the label's time, and what stood before is forgotten.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tables.calibration_bins import bin_index_of
from tables.delay_curve import BUCKET_COUNT, THIRD_COUNT, DelayCurve, age_bucket
from tables.provisional import (
    Cohort,
    DelayCheck,
    ProvisionalRate,
    delay_check,
    provisional_rate,
    rate_given_signal,
)

POSITIVE, NEGATIVE, AMBIGUOUS = "positive", "negative", "ambiguous"


class Followed(NamedTuple):
    """An action of a stream and what is known of it by now; without a signal its time is None."""

    millionths: int
    created_at_ms: int
    settled_at_ms: int
    signal_at_ms: int | None
    status: str
    is_settled: bool

    def is_open(self, at_ms: int) -> bool:
        """Whether it had begun before this moment and not settled; what waits for grace is open."""
        is_due = self.settled_at_ms < at_ms and self.is_settled
        return self.created_at_ms < at_ms and not is_due

    def status_at(self, at_ms: int) -> str | None:
        """What its signal had said before this moment; None while it was silent."""
        if self.signal_at_ms is None or self.signal_at_ms >= at_ms:
            return None
        return self.status


class DayDelays(NamedTuple):
    """How many signals came after a delay, of actions whose settle times lie on one day."""

    known_day: int
    third: int
    bucket: int
    positive: int
    negative: int


class Delays(NamedTuple):
    """F̂ of positive and of negative signals, and how many failures there were in all."""

    positive: DelayCurve
    negative: DelayCurve
    failure_count: int

    def silence(self, bin_index: int) -> list[float] | None:
        """By bucket of age the F of an action that no signal has reached: 1 - (1-F₊)/(1-F₋).

        Who fails may be heard of too, and then silence tells less against success; F₋ is the share
        of failures that have shown by this age. None while too little is known of good news.

        >>> good, bad = DelayCurve(), DelayCurve()
        >>> for bucket in (0, 1, 1, 2) * 25: good.update(9, bucket); bad.update(9, bucket)
        >>> Delays(good, DelayCurve(), 400).silence(9)[1], Delays(good, bad, 100).silence(9)[1]
        (0.5, 0.0)
        >>> round(Delays(good, bad, 400).silence(9)[1], 3)
        0.429
        """
        good, bad = self.positive.shares(bin_index), self.negative.shares(bin_index)
        if good is None:
            return None
        if bad is None or not self.failure_count:
            return [1 - (1 - share) for share in good]
        told = min(sum(map(sum, self.negative.counts)) / self.failure_count, 1.0)
        return [_unheard(share, told * shown) for share, shown in zip(good, bad, strict=True)]


def _unheard(good: float, shown: float) -> float:
    return 1 - (1 - good) / (1 - shown) if shown < 1 else 1.0


def delays_known(rows: Iterable[DayDelays], known_by_day: int, failure_count: int) -> Delays:
    """The delays of what had settled by the end of a day.

    >>> rows = [DayDelays(3, 2, 5, 60, 1), DayDelays(4, 2, 5, 40, 0), DayDelays(5, 2, 5, 9, 0)]
    >>> delays_known(rows, 4, 7).positive.counts[2][5]
    100
    """
    good, bad = DelayCurve(), DelayCurve()
    for row in rows:
        if row.known_day <= known_by_day:
            good.counts[row.third][row.bucket] += row.positive
            bad.counts[row.third][row.bucket] += row.negative
    return Delays(good, bad, failure_count)


def delays_of(positive: Sequence[Sequence[int]], negative: Sequence[Sequence[int]]) -> Delays:
    """The delays from counts by third and bucket, as a stream tells them."""
    assert len(positive) == len(negative) == THIRD_COUNT
    assert all(len(counts) == BUCKET_COUNT for counts in (*positive, *negative))
    return Delays(
        DelayCurve([list(counts) for counts in positive]),
        DelayCurve([list(counts) for counts in negative]),
        0,
    )


def provisional_rates(
    actions: Iterable[Followed],
    at_ms: int,
    window_ms: int,
    delays: Delays,
    expired_counts: bool,
) -> tuple[list[ProvisionalRate | None], ProvisionalRate | None]:
    """The rates of the actions that were open at a moment: by bin, and all together.

    Those that an ambiguous signal has reached say nothing. Where expired ones do not count, the
    rate is that among signals.
    """
    groups: Counter[tuple[int, int, str | None]] = Counter()
    for one in actions:
        if one.is_open(at_ms) and (status := one.status_at(at_ms)) != AMBIGUOUS:
            bucket = age_bucket(at_ms - one.created_at_ms, window_ms)
            groups[bin_index_of(one.millionths), bucket, status] += 1

    def rate_of(bins: Iterable[int]) -> ProvisionalRate | None:
        positive = provisional_rate(_cohorts(groups, bins, POSITIVE, delays.positive))
        if expired_counts:
            return positive
        negative = provisional_rate(_cohorts(groups, bins, NEGATIVE, delays.negative))
        return rate_given_signal(positive, negative)

    every = range(10)
    return [rate_of([index]) for index in every], rate_of(every)


def _cohorts(
    groups: "Counter[tuple[int, int, str | None]]",
    bins: Iterable[int],
    status: str,
    curve: DelayCurve,
) -> list[Cohort]:
    found = []
    for index in bins:
        shares = curve.shares(index)
        if shares is None:
            continue
        counts: Counter[int] = Counter()
        seen: Counter[int] = Counter()
        for (at, bucket, said), count in groups.items():
            if at == index:
                counts[bucket] += count
                seen[bucket] += count * (said == status)
        found += [Cohort(shares[bucket], n, seen[bucket]) for bucket, n in counts.items()]
    return found


def closed_cohort_at(actions: Iterable[Followed], at_ms: int) -> int:
    """The latest moment of which all that was open then has settled: the oldest open one's time."""
    return min((a.created_at_ms for a in actions if a.is_open(at_ms)), default=at_ms)


def last_check(
    actions: Sequence[Followed],
    at_ms: int,
    window_ms: int,
    delays: Delays,
    expired_counts: bool,
) -> DelayCheck:
    """What was open together and has all settled: its provisional rate then, over what it came to.

    Args:
        actions: At least those of the last two windows.
        at_ms: The moment at which the cohort was open, from `closed_cohort_at`.
        window_ms: The stream's window.
        delays: As they were known at that moment.
        expired_counts: Whether an expired one counts as 0.
    """
    _, pooled = provisional_rates(actions, at_ms, window_ms, delays, expired_counts)
    left_out = (AMBIGUOUS,) if expired_counts else (AMBIGUOUS, "expired")
    counted = [a for a in actions if a.is_open(at_ms) and a.status not in left_out]
    if pooled is None or not counted:
        return DelayCheck(None)
    return delay_check(pooled.rate, sum(a.status == POSITIVE for a in counted) / len(counted))

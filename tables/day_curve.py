"""A curve from day rows: of any span of days, with any decay, and as it was known on a day.

A row holds the exact sums of what happened in a bin on one day and was known on another, so that
every such curve is a sum over rows. Of days that are no longer kept there are sums, each with the
latest of its days: they count in every curve that holds all or nothing of them. With decay a day's
sums are taken times a whole number, its weight: every score that is a ratio of sums holds for them
as it stands, and how many records such sums are worth is n_eff = (Σwn)²/Σw²n. Decayed figures hold
at one fixed time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agents_topics.calibration import DaySums
from agents_topics.events import BinSums
from tables.calibration_bins import BIN_COUNT, SUM_NAMES, UNIT, Sums
from tables.debiased_error import DebiasedError, debiased_error
from tables.rate_intervals import wilson_interval
from tables.watched_interval import watched_interval

ALPHA = 0.05
DAY_MS = 86_400_000
WEIGHT_UNIT = 1 << 30
"""The weight of the last day; one that lost more than thirty halves counts for nothing."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which rows count, each end included, in days since 1970-01-01; None leaves it open.

    `since_day` and `until_day` are days of actions, `known_since_day` and `known_by_day` of settle
    times; a day counts half as much as the one `half_life_days` after it.
    """

    since_day: int | None = None
    until_day: int | None = None
    known_by_day: int | None = None
    half_life_days: float | None = None
    known_since_day: int | None = None

    @property
    def is_of_one_moment(self) -> bool:
        """Whether figures hold at one fixed time: a span that ends, or moves, is not watched."""
        ends = (self.until_day, self.known_by_day, self.half_life_days)
        return any(end is not None for end in ends)

    def holds(self, row: DaySums) -> bool:
        """Whether a row counts."""
        return (
            (self.since_day is None or row.action_day >= self.since_day)
            and (self.until_day is None or row.action_day <= self.until_day)
            and (self.known_by_day is None or row.known_day <= self.known_by_day)
            and (self.known_since_day is None or row.known_day >= self.known_since_day)
        )

    def can_tell(self, earlier: DaySums, last_day: int) -> bool:
        """Whether all or nothing counts of what is summed in a row up to its days.

        Such sums do not straddle the day on which a test began: `known_since_day` never parts one.

        Args:
            earlier: The sum.
            last_day: The last day of actions that counts.

        >>> sums = DaySums(tenant_id="t", action_type="qualify", outcome_type="deal_progression",
        ...     window_ms=60_000, confidence_source="judge", bin_index=8, action_day=10,
        ...     known_day=12, all=BinSums(n=40), lead=BinSums(n=40), counts={})
        >>> [Span(since_day=day).can_tell(sums, 90) for day in (10, 11)]
        [False, True]
        >>> [Span(known_by_day=day).can_tell(sums, 90) for day in (11, 12)]
        [False, True]
        >>> [Span(half_life_days=days).can_tell(sums, 90) for days in (2, 3)]
        [True, False]
        """
        if self.since_day is not None and self.since_day > earlier.action_day:
            return True
        return (
            self.since_day is None
            and (self.until_day is None or self.until_day >= earlier.action_day)
            and (self.known_by_day is None or self.known_by_day >= earlier.known_day)
            and (self.half_life_days is None or not self.weight(last_day - earlier.action_day))
        )

    def weight(self, days: int) -> int:
        """The weight of what happened so many days before the last one."""
        if self.half_life_days is None:
            return 1
        return round(WEIGHT_UNIT * 2 ** (-days / self.half_life_days))


ALL_DAYS = Span()


@dataclass(slots=True)
class WeightedSums:
    """Sums of days times their weights, how many records they are of, and Σw²n."""

    sums: Sums = field(default_factory=Sums)
    n: int = 0
    square_n: int = 0

    def update(self, day: Sums, weight: int) -> None:
        """Adds a day."""
        for name in SUM_NAMES:
            setattr(self.sums, name, getattr(self.sums, name) + weight * getattr(day, name))
        self.n += day.n
        self.square_n += weight * weight * day.n

    @property
    def n_effective(self) -> float:
        """How many records of equal weight would tell as much.

        >>> held = WeightedSums(); held.update(Sums(n=100), 2); held.update(Sums(n=100), 1)
        >>> held.n_effective
        180.0
        """
        return self.sums.n**2 / self.square_n if self.square_n else 0.0

    def interval(self, is_of_one_moment: bool, alpha: float = 0.05) -> tuple[float, float]:
        """The interval of the rate: Wilson's at one moment, else one that may be watched."""
        if is_of_one_moment:
            return self.wilson_interval(alpha)
        return watched_interval(self.sums.sy, self.sums.n, alpha)

    def wilson_interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """The interval of the rate at one fixed time; (0, 1) for nothing seen."""
        if not self.sums.n:
            return 0.0, 1.0
        count = self.n_effective
        return wilson_interval(min(count * self.sums.sy / self.sums.n, count), count, alpha)


@dataclass(slots=True)
class DayBin:
    """One bin of a span: over all records, over lead ones, and how many by status."""

    all: WeightedSums = field(default_factory=WeightedSums)
    lead: WeightedSums = field(default_factory=WeightedSums)
    counts: dict[str, int] = field(default_factory=dict)


def day_bins(rows: Iterable[DaySums], span: Span) -> list[DayBin]:
    """The ten bins of a span, from the rows of one stream.

    >>> def row(action_day, known_day, n, sy):
    ...     sums = BinSums(n=n, sp=820_000 * n, sy=sy)
    ...     return DaySums(tenant_id="t", action_type="qualify", outcome_type="deal_progression",
    ...         window_ms=60_000, confidence_source="judge", bin_index=8, action_day=action_day,
    ...         known_day=known_day, all=sums, lead=sums, counts={"positive": sy})
    >>> rows = [row(10, 12, 40, 30), row(11, 13, 20, 10), row(12, 14, 5, 1)]
    >>> for span in (Span(), Span(since_day=11), Span(known_by_day=13)):
    ...     held = day_bins(rows, span)[8]
    ...     held.all.sums.n, held.all.sums.sy, held.counts
    (65, 41, {'positive': 41})
    (25, 11, {'positive': 11})
    (60, 40, {'positive': 40})
    >>> held = day_bins(rows, Span(half_life_days=1))[8].all
    >>> round(held.sums.sy / held.sums.n, 4), held.n, round(held.n_effective, 1)
    (0.54, 65, 50.0)
    """
    kept = [row for row in rows if span.holds(row)]
    last_day = max((row.action_day for row in kept), default=0)
    bins = [DayBin() for _ in range(BIN_COUNT)]
    for row in kept:
        held, weight = bins[row.bin_index], span.weight(last_day - row.action_day)
        held.all.update(sums_of(row.all), weight)
        held.lead.update(sums_of(row.lead), weight)
        for status, count in row.counts.items():
            held.counts[status] = held.counts.get(status, 0) + count
    return bins


def sums_of(told: BinSums) -> Sums:
    """The sums that a record tells.

    >>> sums_of(BinSums(n=1, sp=3, spp="9")).spp
    9
    """
    return Sums(*(int(getattr(told, name)) for name in SUM_NAMES))


def bin_to_name(bins: Sequence[WeightedSums], is_of_one_moment: bool) -> int | None:
    """The bin of which a sentence may say that it is off: the one that adds most to the error.

    Of those whose mean stated confidence lies outside the interval for one of ten bins; None where
    it lies inside all of them.

    >>> said = [WeightedSums() for _ in range(10)]
    >>> said[6].update(Sums(n=100, sp=65_000_000, sy=40), 1)
    >>> said[8].update(Sums(n=900, sp=738_000_000, sy=630), 1)
    >>> bin_to_name(said, is_of_one_moment=False)
    8
    """
    found = {}
    for index, held in enumerate(bins):
        if held.sums.n:
            low, high = held.interval(is_of_one_moment, ALPHA / BIN_COUNT)
            if not low <= held.sums.sp / (UNIT * held.sums.n) <= high:
                found[index] = abs(held.sums.sp - UNIT * held.sums.sy)
    return max(found, key=found.__getitem__, default=None)


def weighted_error(bins: Sequence[WeightedSums]) -> DebiasedError | None:
    """ECE₂ of weighted sums, each bin's noise that of as many records as it is worth."""
    return debiased_error([held.sums for held in bins], [held.n_effective for held in bins])


def day_of(at_ms: int) -> int:
    """The day of a time, in days since 1970-01-01, UTC.

    >>> day_of(86_399_999), day_of(86_400_000)
    (0, 1)
    """
    return at_ms // DAY_MS

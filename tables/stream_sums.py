"""What of a stream is sums: bins, days, segments and delays. They commute and are exact.

A record counts once in its bin, once in the row of the day of its action and the day on which it
was known (that of its settle time), once for each dimension of its policy's segments, and with its
delay where a signal decided it.

References:
    Gray, J. et al. (1997). Data Cube: A Relational Aggregation Operator Generalizing Group-By,
    Cross-Tab, and Sub-Totals. Data Mining and Knowledge Discovery 1. Sums are distributive
    aggregates: of any parts they are the sums of the parts' sums.
"""

from typing import NamedTuple

from tables.calibration_bins import BIN_COUNT, StreamBin, Sums, bin_index_of, no_residuals
from tables.delay_curve import DelayCurve, age_bucket
from tables.label_delay import LabelDelay

DAY_MS = 86_400_000
SEGMENTS_MAX = 50
"""So many values of a dimension are told apart, in the order of their entry."""
OTHER = "other"
DAYS_KEPT = 1
"""Settle times never go back, so that only rows known on the stream's last day can still change."""


class Settled(NamedTuple):
    """A settled outcome of a stream: the fold's input, in the order of its settle time.

    `y` is None where it says nothing; `delay_ms` where no signal decided it; `segments` are the
    dimensions of its policy with their values, `` where the action does not say one.
    """

    settled_at_ms: int
    created_at_ms: int
    millionths: int
    y: int | None
    status: str
    is_lead: bool
    policy_version: str
    delay_ms: int | None = None
    agent_version: str | None = None
    segments: tuple[tuple[str, str], ...] = ()


class DayKey(NamedTuple):
    """The row of a bin for what was done on one day and known on another, in days since 1970."""

    bin_index: int
    action_day: int
    known_day: int


class SegmentKey(NamedTuple):
    """The row of a bin for one value of a dimension."""

    dimension: str
    bin_index: int
    segment: str


class StreamSums:
    """The sums of one stream, and which of them have changed since they were last told.

    >>> held, day = StreamSums(days_kept=10), DAY_MS
    >>> for number, y in enumerate((1, 1, 0)):
    ...     status = "positive" if y else "expired"
    ...     known_ms = number * day + day
    ...     held.update(Settled(known_ms, number * day, 820_000, y, status, True, "5d1f"), day)
    >>> held.bins[8].all.n, held.bins[8].all.sy, held.bins[8].counts
    (3, 2, {'positive': 2, 'expired': 1})
    >>> [(key.action_day, key.known_day, row.all.sy) for key, row in held.days.items()]
    [(0, 1, 1), (1, 2, 1), (2, 3, 0)]
    """

    def __init__(self, days_kept: int = DAYS_KEPT) -> None:
        self.bins: dict[int, StreamBin] = {}
        self.lead = [Sums() for _ in range(BIN_COUNT)]
        self.days: dict[DayKey, StreamBin] = {}
        self.segments: dict[SegmentKey, StreamBin] = {}
        self.positive = DelayCurve()
        self.negative = DelayCurve()
        self.delays = LabelDelay()
        self.changed = Changed()
        self._days_kept = days_kept
        self._values: dict[str, set[str]] = {}
        self._last_day: int | None = None

    def update(self, settled: Settled, window_ms: int) -> None:
        """Counts a settled outcome, once."""
        index = bin_index_of(settled.millionths)
        held = self.bins.get(index)
        if held is None:
            held = self.bins[index] = StreamBin(lead=self.lead[index], residuals=no_residuals())
        _count(held, settled)
        held.last_settled_at_ms = settled.settled_at_ms
        self.changed.bins.add(index)
        self._update_day(index, settled)
        for dimension, value in settled.segments:
            key = SegmentKey(dimension, index, self._segment_of(dimension, value))
            _count(self.segments.setdefault(key, StreamBin()), settled)
            self.changed.segments.add(key)
        if settled.delay_ms is not None:
            self._update_delay(index, settled.status, settled.delay_ms, window_ms)

    def _update_day(self, index: int, settled: Settled) -> None:
        known_day = settled.settled_at_ms // DAY_MS
        if known_day != self._last_day:
            self._drop_days(known_day)
        key = DayKey(index, settled.created_at_ms // DAY_MS, known_day)
        held = self.days.get(key)
        if held is None:
            held = self.days[key] = StreamBin()
            self.changed.new_days.add(key)
        _count(held, settled)
        self.changed.days[key] = held

    def _drop_days(self, known_day: int) -> None:
        """What was known too many days before can change no more; its readers have it."""
        self._last_day = known_day
        for key in [key for key in self.days if key.known_day <= known_day - self._days_kept]:
            del self.days[key]
            if key not in self.changed.new_days:
                self.changed.dropped_days.append(key)

    def _segment_of(self, dimension: str, value: str) -> str:
        values = self._values.setdefault(dimension, set())
        if value in values or not value:
            return value
        if value == OTHER or len(values) >= SEGMENTS_MAX:
            return OTHER
        values.add(value)
        return value

    def _update_delay(self, index: int, status: str, delay_ms: int, window_ms: int) -> None:
        self.delays.update(delay_ms)
        curve = {"positive": self.positive, "negative": self.negative}.get(status)
        if curve is not None:
            curve.update(index, age_bucket(delay_ms, window_ms))
        self.changed.has_delays = True

    def restore_bin(self, index: int, held: StreamBin) -> None:
        """Takes back a bin."""
        self.bins[index] = held
        self.lead[index] = held.lead

    def restore_day(self, key: DayKey, held: StreamBin) -> None:
        """Takes back a day's row."""
        self.days[key] = held
        self._last_day = max(key.known_day, self._last_day or key.known_day)

    def restore_segment(self, key: SegmentKey, held: StreamBin) -> None:
        """Takes back a segment's row."""
        self.segments[key] = held
        if key.segment not in ("", OTHER):
            self._values.setdefault(key.dimension, set()).add(key.segment)


class Changed:
    """What has changed since it was last told; a day's row is held, for it may be dropped then."""

    def __init__(self) -> None:
        self.bins: set[int] = set()
        self.days: dict[DayKey, StreamBin] = {}
        self.new_days: set[DayKey] = set()
        self.dropped_days: list[DayKey] = []
        self.segments: set[SegmentKey] = set()
        self.has_delays = False


def _count(held: StreamBin, settled: Settled) -> None:
    held.update(settled.millionths, settled.y, settled.status, settled.is_lead)

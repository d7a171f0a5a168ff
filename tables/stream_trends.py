"""Is a stream getting better or worse: its success, and how far that is from what it states.

The law: both trends are over the lead records that say something, in settle order. Nothing begins
them anew, so that what a new version of the agent changes is seen. The direction slides over the
newest `WINDOW_SAMPLES`; each `HALF_SAMPLES` are compared once with those before. Each trend has an
α of its own.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, cast

from agents_topics.calibration import StreamTrend
from tables.calibration_bins import UNIT
from tables.stream import Stream
from tables.stream_sums import Settled
from tables.trends import SUPPORTED, Half, Metric, TrendEvidence, TrendTest, change_of_means

HALF_SAMPLES = 100
WINDOW_SAMPLES = 2 * HALF_SAMPLES
METRICS = (Metric.SUCCESS_RATE, Metric.CALIBRATION_GAP)
SAMPLE_BYTES = 3
"""A packed sample is at most 2·10⁶ + 1."""

Row = Sequence[Any]
_CAME = (1).__and__


class StreamTrends:
    """The trends of one stream.

    >>> trends = StreamTrends(Stream("t", "qualify", "deal_progression", 3_600_000, "judge"))
    >>> for n in range(200):
    ...     y = int(n % 10 < (8 if n < 100 else 4))
    ...     told = trends.update(Settled(n, 0, 800_000, y, "positive", True, "5d1f"))
    >>> [(one.metric, one.supported_direction, round(one.high, 3)) for one in told]
    [('success_rate', 'declining', -0.248), ('calibration_gap', 'declining', 0.543)]
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.tests = {metric: TrendTest(metric, HALF_SAMPLES) for metric in METRICS}
        self.compared_at_ms: int | None = None
        self.is_changed = False
        """Whether there is something that was not told yet."""
        self._window: deque[int] = deque(maxlen=WINDOW_SAMPLES)

    def update(self, settled: Settled) -> list[StreamTrend]:
        """Counts a lead record; returns the trends whose comparison is news.

        A supported one always is: the newer half differs from the one that was compared before.
        What is not supported is where the one before was.
        """
        if settled.y is None:
            return []
        packed = 2 * settled.millionths + settled.y
        self._window.append(packed)
        self.is_changed = True
        told = []
        for metric, test in self.tests.items():
            compared_count, before = test.compared_count, test.evidence
            test.update(_sample(metric, packed) / UNIT)
            if test.compared_count > compared_count:
                self.compared_at_ms = settled.settled_at_ms
                if SUPPORTED in (before.word, test.evidence.word):
                    told.append(metric)
        return [self.record(metric) for metric in told]

    def records(self) -> Iterator[StreamTrend]:
        """How each trend stands."""
        return map(self.record, self.tests)

    def record(self, metric: Metric) -> StreamTrend:
        """How a trend stands."""
        test, window = self.tests[metric], list(self._window)
        n = len(window)
        older, newer = window[: n // 2], window[n // 2 :]
        previous = _mean(metric, older) if older else None
        change = change_of_means(metric, previous, _mean(metric, newer))
        shown = test.evidence
        return StreamTrend(
            **self.stream._asdict(),
            metric=cast(Any, metric.value),
            n=n,
            previous_mean=change.previous_mean,
            current_mean=change.current_mean,
            change_percent=change.change_percent,
            direction=cast(Any, change.direction),
            evidence=cast(Any, shown.word),
            supported_direction=cast(Any, shown.direction),
            low=shown.low,
            high=shown.high,
            compared_count=test.compared_count,
            half_size=test.half_size,
            compared_at_ms=self.compared_at_ms,
        )

    def row(self) -> Row:
        """The state, exact."""
        window = b"".join(packed.to_bytes(SAMPLE_BYTES) for packed in self._window)
        return window, self.compared_at_ms, [_test_row(test) for test in self.tests.values()]

    def restore(self, row: Row) -> None:
        """Takes back a state."""
        window, self.compared_at_ms, tests = row
        places = range(0, len(window), SAMPLE_BYTES)
        self._window.extend(int.from_bytes(window[at : at + SAMPLE_BYTES]) for at in places)
        for metric, compared_count, filling, full, evidence in tests:
            test = self.tests[Metric(metric)]
            test.compared_count = compared_count
            test.filling, test.full = Half(*filling), full and Half(*full)
            test.evidence = TrendEvidence(*evidence)


def _sample(metric: Metric, packed: int) -> int:
    """In millionths: what came of it, or what was stated less that."""
    came = UNIT * (packed & 1)
    return came if metric == Metric.SUCCESS_RATE else (packed >> 1) - came


def _mean(metric: Metric, packed: Sequence[int]) -> float:
    """Of the samples, which are added up together: each step tells both trends of each stream."""
    if not packed:
        return 0.0
    came = sum(map(_CAME, packed))
    total = UNIT * came
    if metric == Metric.CALIBRATION_GAP:
        total = (sum(packed) - came) // 2 - total
    return total / (UNIT * len(packed))


def _test_row(test: TrendTest) -> Row:
    full, shown = test.full, test.evidence
    return (
        test.metric.value,
        test.compared_count,
        _half_row(test.filling),
        None if full is None else _half_row(full),
        (shown.word, shown.direction, shown.low, shown.high),
    )


def _half_row(half: Half) -> Row:
    return half.n, half.total, half.square

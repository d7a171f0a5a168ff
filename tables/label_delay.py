"""Label delay: from an action to the interaction that decided it, as a mergeable histogram."""

from bisect import bisect_left
from dataclasses import dataclass, field

BOUNDS_S = (
    60,
    300,
    900,
    3_600,
    10_800,
    21_600,
    43_200,
    86_400,
    259_200,
    604_800,
    1_209_600,
    2_592_000,
)


@dataclass(slots=True)
class LabelDelay:
    """Counts by bucket, the last for what is longer than every bound, and the exact sum.

    >>> delay = LabelDelay(); delay.update(61_000); delay.update(60_000)
    >>> delay.counts[:2], delay.sum_ms
    ([1, 1], 121000)
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_ms: int = 0

    def update(self, delay_ms: int) -> None:
        """Counts one delay."""
        self.counts[bisect_left(BOUNDS_S, delay_ms / 1000)] += 1
        self.sum_ms += delay_ms

    def merge(self, other: "LabelDelay") -> None:
        """Adds another histogram."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.sum_ms += other.sum_ms

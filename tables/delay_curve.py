"""How soon good news comes: F̂(u) = P(delay ≤ u | it comes), from windows that have closed.

Open windows would favour short delays, so only closed ones count; with fewer than 100 there is no
curve. A window has 48 buckets of age. By thirds of confidence where each third has 100 of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tables.calibration_bins import BIN_COUNT

BUCKET_COUNT = 48
THIRD_COUNT = 3
RECORDS_MIN = 100


def age_bucket(age_ms: int, window_ms: int) -> int:
    """The bucket of an age or delay in a window: 0 to 47.

    >>> [age_bucket(age_ms, 48_000) for age_ms in (0, 999, 1_000, 47_999, 60_000)]
    [0, 0, 1, 47, 47]
    """
    return min(max(age_ms, 0) * BUCKET_COUNT // window_ms, BUCKET_COUNT - 1)


def third_of(bin_index: int) -> int:
    """The third of confidence that a bin lies in.

    >>> [third_of(index) for index in range(10)]
    [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    """
    return bin_index * THIRD_COUNT // BIN_COUNT


@dataclass(slots=True)
class DelayCurve:
    """Counts of delays by third of confidence and bucket; exact, so it merges.

    >>> curve = DelayCurve()
    >>> for bucket in (0, 1, 1, 2) * 25: curve.update(9, bucket)
    >>> [curve.shares(9)[bucket] for bucket in (0, 1, 2, 47)]
    [0.125, 0.5, 0.875, 1.0]
    """

    counts: list[list[int]] = field(
        default_factory=lambda: [[0] * BUCKET_COUNT for _ in range(THIRD_COUNT)]
    )

    def update(self, bin_index: int, bucket: int, sign: int = 1) -> None:
        """Counts the delay of a closed window's signal."""
        self.counts[third_of(bin_index)][bucket] += sign

    def merge(self, other: "DelayCurve") -> None:
        """Adds the counts of another curve."""
        self.counts = [
            [a + b for a, b in zip(*pair, strict=True)]
            for pair in zip(self.counts, other.counts, strict=True)
        ]

    def shares(self, bin_index: int) -> list[float] | None:
        """F̂ in the middle of each bucket of age; None while too little has closed."""
        counts = self.counts[third_of(bin_index)]
        if min(map(sum, self.counts)) < RECORDS_MIN:
            counts = [sum(column) for column in zip(*self.counts, strict=True)]
        return _middle_shares(counts) if sum(counts) >= RECORDS_MIN else None


def _middle_shares(counts: Sequence[int]) -> list[float]:
    shares, before, total = [], 0, sum(counts)
    for count in counts:
        shares.append((2 * before + count) / (2 * total))
        before += count
    return shares

"""Records behind the last stable offset: in the log, and unreadable while a transaction is open.

An offset that stands is what tells a transaction that hangs from the many that come and go.
"""

from dataclasses import dataclass

from streams.batches import Position


@dataclass(frozen=True, slots=True)
class Unstable:
    """How many offsets lie behind a last stable one, and since when it was seen to stand there."""

    stable_end: int
    count: int
    since_ms: int


def unstable_at(position: Position, before: Unstable | None, now_ms: int) -> Unstable | None:
    """What a fetch shows; None where all that is in the log may be read.

    >>> seen = unstable_at(Position(5, 5, 5, 7), None, 1_000)
    >>> unstable_at(Position(5, 5, 5, 9), seen, 3_000)
    Unstable(stable_end=5, count=4, since_ms=1000)
    """
    stable_end, end = position.stable_end, position.high_watermark
    if stable_end is None or end is None or end <= stable_end:
        return None
    stands = before is not None and before.stable_end == stable_end
    since_ms = before.since_ms if before is not None and stands else now_ms
    return Unstable(stable_end, end - stable_end, since_ms)

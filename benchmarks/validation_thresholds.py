"""Agents that act by their threshold: rows of docs/validation.md."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from benchmarks.simulated import Random, Row, records
from benchmarks.simulated_streams import WINDOW_MS
from tables.calibration_map import CalibrationMap
from tables.stream import Stream
from tables.stream_calibration import StreamFold
from tables.stream_sums import Settled
from tables.stream_threshold import StreamRule

TARGET = 700_000
RECORDS = 6_000
DRAWN_AT_ONCE = 500
ACTION_EVERY_MS = WINDOW_MS // 100
STREAM = Stream("t", "send_email", "email_engagement", WINDOW_MS, "judge")
Truth = Callable[[int], tuple[float, float]]
"""a and b of σ(a + b·logit p) by the number of the candidate."""


@dataclass(frozen=True, slots=True)
class Loop:
    """What came of 6,000 records."""

    adoptions: int
    threshold: float
    success: float
    """The true rate at the last threshold."""
    acted_on: float
    """The share of successes at or above the threshold over the last thousand actions."""


def candidates(random: Random, shape: str, truth: Truth) -> Iterator[tuple[int, int]]:
    """What might be acted on, and what would come of it; never ends."""
    for number in count(0, DRAWN_AT_ONCE):
        yield from records(random, shape, DRAWN_AT_ONCE, *truth(number))


def loop(
    random: Random,
    truth: Truth,
    share_below: float,
    records_made: int = RECORDS,
    shape: str = "uniform",
) -> Loop:
    """An agent whose records settle a window later; of what is below τ it acts on a share."""
    fold, rule = StreamFold(STREAM), StreamRule(TARGET, TARGET)
    waiting: deque[Settled] = deque()
    threshold, made, hits = TARGET, 0, deque[int](maxlen=1_000)
    for number, (p, y) in enumerate(candidates(random, shape, truth)):
        if made == records_made:
            break
        at_ms = number * ACTION_EVERY_MS
        while waiting and waiting[0].settled_at_ms <= at_ms:
            fold.update(waiting.popleft(), rule)
            threshold = fold.acting.threshold.value if fold.acting else TARGET
        if p >= threshold:
            hits.append(y)
        if p < threshold and not acts_below(random, share_below):
            continue
        made += 1
        status = "positive" if y else "expired"
        waiting.append(Settled(at_ms + WINDOW_MS, at_ms, p, y, status, True, "v"))
    for one in waiting:
        fold.update(one, rule)
    assert fold.acting
    last = fold.acting.threshold.value / 1e6
    a, b = truth(records_made)
    there = CalibrationMap(round(a * 1e6), round(b * 1e6)).of(last)
    return Loop(fold.acting.map_count, last, there, sum(hits) / len(hits))


def acts_below(random: Random, share: float) -> bool:
    """Whether an action below τ is taken; nothing is drawn where that is sure."""
    return share == 1 or (share > 0 and bool(random.random() < share))


def steady(a: float, b: float) -> Truth:
    """A source that stays as it is."""
    return lambda _: (a, b)


def drifting(number: int) -> tuple[float, float]:
    """Calibrated for half of the records, over-confident from then on."""
    return (0.0, 1.0) if number < RECORDS // 2 else (-0.6, 1.0)


def threshold_loops(random: Random) -> Iterator[Row]:
    """Thresholds that follow the maps, for success .70; then where only p ≥ τ is acted on."""
    for name, truth, is_selective, runs in (
        ("calibrated (at most .10 adoptions)", steady(0.0, 1.0), False, 60),
        ("a -0.6", steady(-0.6, 1.0), False, 24),
        ("a +0.6", steady(0.6, 1.0), False, 24),
        ("a -0.24, b 1.4", steady(-0.24, 1.4), False, 24),
        ("a -0.6 after 3,000 good ones", drifting, False, 24),
        ("calibrated", steady(0.0, 1.0), True, 12),
        ("a -0.6", steady(-0.6, 1.0), True, 12),
        ("a +0.6", steady(0.6, 1.0), True, 12),
    ):
        loops = [loop(random, truth, 0 if is_selective else 1) for _ in range(runs)]
        where = "only p ≥ τ acted on" if is_selective else "all acted on"
        yield Row(f"threshold loop, {where}, {name}", f"{runs} × {RECORDS:,}", told(loops))


def blind_loops(random: Random) -> Iterator[Row]:
    """Under-confident agents whose confidences are round, where only p ≥ τ is acted on, or a
    twentieth of what is below as well.
    """
    runs, made = 12, 3_000
    for where, share_below in (("only p ≥ τ", 0), ("p ≥ τ and 5 % of the rest", 0.05)):
        loops = [
            loop(random, steady(0.6, 1.0), share_below, made, "in twentieths") for _ in range(runs)
        ]
        name = f"threshold loop, {where} acted on, a +0.6, stated in twentieths"
        yield Row(name, f"{runs} × {made:,}", told(loops))


def told(loops: Sequence[Loop]) -> str:
    """The means of some loops, and the extremes of the success."""
    successes = [one.success for one in loops]
    return (
        f"adoptions {np.mean([one.adoptions for one in loops]):.2f},"
        f" τ {np.mean([one.threshold for one in loops]):.3f},"
        f" success there {np.mean(successes):.3f} ({min(successes):.3f} to {max(successes):.3f}),"
        f" of those acted on {np.mean([one.acted_on for one in loops]):.3f}"
    )

"""What the statistics promise, against simulated sources whose truth is known; prints a page.

python -m benchmarks.validation SEED > docs/validation.md

With names of parts behind the seed it prints their rows alone.
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.simulated import SHAPES, Random, Row, bins_of, records, share, watched_test
from benchmarks.validation_fixed import (
    rate_differences,
    rates_at_one_moment,
    sentences,
    thresholds_wanted,
)
from benchmarks.validation_golden import golden_numbers, other_code
from benchmarks.validation_intervals import (
    bands_and_means,
    error_intervals,
    forecasts,
    provisional_rates,
    stream_trends,
    watched_intervals,
)
from benchmarks.validation_order import delay_bias, follow_ups_of_agents, through_the_calibrator
from benchmarks.validation_thresholds import blind_loops, threshold_loops
from tables.evidence_odds import NANO
from tables.flags import flagged
from tables.scores import expected_calibration_error


def false_alarms(random: Random) -> Iterator[Row]:
    """Calibrated streams, looked at after every record."""
    runs, length = 130, 1_000
    total = 0
    for shape in SHAPES:
        alarms = sum(
            watched_test(records(random, shape, length)).alarm_n is not None for _ in range(runs)
        )
        total += alarms
        yield Row(f"false alarm ever, {shape}", f"{runs} × {length:,}", share(alarms, runs))
    all_runs = runs * len(SHAPES)
    yield Row(
        "false alarm ever, all (at most 5 %)", f"{all_runs:,} streams", share(total, all_runs)
    )


def delays(random: Random) -> Iterator[Row]:
    """Miscalibrated streams: how many are found, and after how many records."""
    for a, b in ((-0.3, 1.0), (-0.6, 1.0), (0.5, 1.0), (0.0, 0.6), (0.0, 1.6)):
        found = [watched_test(records(random, "uniform", 2_000, a, b)).alarm_n for _ in range(40)]
        at = [n for n in found if n is not None]
        yield Row(
            f"found, a {a:+g}, b {b:g}",
            "40 × 2,000, uniform",
            f"{share(len(at), 40)}, median at {int(np.median(at)):,}",
        )
    runs = 24
    after = []
    for _ in range(runs):
        drift = records(random, "uniform", 3_000) + records(random, "uniform", 3_000, -0.6)
        at_n = watched_test(drift).alarm_n
        after.append((at_n or 6_000) - 3_000)
    late = int(np.median([n for n in after if n > 0]))
    yield Row("a -0.6 after 3,000 good records", f"{runs} × 6,000", f"median {late:,} later")


def flags(random: Random) -> Iterator[Row]:
    """e-BH beside "ECE > .05" on 200 streams, a fifth of them miscalibrated."""
    repeats = 6
    false_shares: tuple[list[float], list[float]] = ([], [])
    powers: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        logs, large = [], []
        for index in range(200):
            a = -0.8 if index < 40 else 0.0
            pairs = records(random, "uniform", int(random.integers(150, 1_000)), a)
            logs.append(watched_test(pairs, stops=False).raw.log_nanos() / NANO)
            if (expected_calibration_error(bins_of(pairs)) or 0) > 0.05:
                large.append(index)
        for k, chosen in enumerate((flagged(logs, 0.1), large)):
            false_shares[k].append(sum(i >= 40 for i in chosen) / max(len(chosen), 1))
            powers[k].append(sum(i < 40 for i in chosen) / 40)
    for k, name in enumerate(("e-BH at .1", "ECE > .05")):
        yield Row(
            f"flags of 200 streams, {name}",
            f"{repeats} looks, 150-1,000 records",
            f"false {100 * np.mean(false_shares[k]):.1f} %, found {100 * np.mean(powers[k]):.1f} %",
        )


PARTS = (
    through_the_calibrator, follow_ups_of_agents, delay_bias, false_alarms, delays,
    threshold_loops, blind_loops, error_intervals, watched_intervals, stream_trends,
    provisional_rates, forecasts, bands_and_means, rates_at_one_moment, sentences,
    rate_differences, thresholds_wanted, flags, golden_numbers, other_code,
)  # fmt: skip


HEAD = """\
# Validation

Made by `make validate SEED={seed}` in about five minutes of one core. Sources are simulated and
their truth is known, but for those of the last rows: other people's games, against figures that
other codes gave, and public libraries (one wants `pip install relplot`). A share stands with its
standard error. a and b: the truth is σ(a + b·logit p).

The test is looked at after every record, intervals of a rate after every fifteenth. With delays and
out of order: a success is seen within its window, a failure when that closes; outcomes come from
four sources that run far ahead of each other, and the calibrator lets them in by their promises.
The interval of ECE₂ is one for a fixed time, and short of its 95 % in few bins. A threshold loop
means success .70 at the threshold. Where a row names a nominal figure or a bound, what was measured
stands behind it.

Two thousand streams through real Kafka, workers and Postgres: `make validate THROUGH=kafka`, on
[a page of its own](validation-kafka.md). The demo's agents over twenty seeds, through the resolver:
`make validate-demo`, [in words](calibration.md#the-demo-over-twenty-seeds).
"""


def page(seed: int, wanted: Sequence[str]) -> Iterator[str]:
    """The page, line by line; where parts are named, they alone."""
    yield HEAD.format(seed=seed)
    yield "| question | runs | found |"
    yield "|---|---|---|"
    for part in PARTS:
        if not wanted or part.__name__ in wanted:
            for row in part(np.random.default_rng(seed)):
                yield f"| {row.question} | {row.how} | {row.found} |"


if __name__ == "__main__":
    for line in page(int(sys.argv[1]), sys.argv[2:]):
        print(line, flush=True)

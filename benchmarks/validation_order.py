"""What delays, disorder and follow-ups do to the test: rows of docs/validation.md."""

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.simulated import SHAPES, Random, Row, share, watched_test
from benchmarks.simulated_streams import (
    GRACE_MS,
    HOUR_MS,
    WINDOW_MS,
    Played,
    alarmed,
    follow_ups,
    single_actions,
)

STREAMS_AT_ONCE = 65


def through_the_calibrator(random: Random) -> Iterator[Row]:
    """Calibrated streams with delays, from sources that run ahead of each other."""
    rounds, length, total = 8, 400, 0
    for shape in SHAPES:
        alarms = 0
        for _ in range(rounds):
            streams = [
                single_actions(random, shape, length, 6 * random.random() + 0.5)
                for _ in range(STREAMS_AT_ONCE)
            ]
            alarms += len(alarmed(random, streams))
        total += alarms
        runs = rounds * STREAMS_AT_ONCE
        yield Row(
            f"false alarm ever, delays, out of order, {shape}",
            f"{runs} × {length:,}",
            share(alarms, runs),
        )
    all_runs = rounds * STREAMS_AT_ONCE * len(SHAPES)
    yield Row(
        "false alarm ever, delays, out of order, all (at most 5 %)",
        f"{all_runs:,} streams",
        share(total, all_runs),
    )


def follow_ups_of_agents(random: Random) -> Iterator[Row]:
    """Agents that act again until a reply comes; lead records against every record."""
    conversations, rounds = 200, 4
    for every_hours, most in ((8, 6), (3, 10)):
        leads = every = count = runs = 0
        for _ in range(rounds):
            streams = [
                follow_ups(random, conversations, every_hours * HOUR_MS, most)
                for _ in range(STREAMS_AT_ONCE)
            ]
            leads += len(alarmed(random, streams))
            some = streams[:10]
            every += sum(_alarms(sorted(one, key=lambda x: x.settled_at_ms)) for one in some)
            runs += len(some)
            count += sum(map(len, streams))
        of = rounds * STREAMS_AT_ONCE
        what = f"a follow-up every {every_hours} h until a reply, {most} at most"
        how = f"{of} × {conversations} conversations, {count / of:.0f} actions"
        yield Row(f"false alarm ever, {what}, lead records (at most 5 %)", how, share(leads, of))
        yield Row(f"the same fed with every record, {what}", f"{runs} of them", share(every, runs))


def delay_bias(random: Random) -> Iterator[Row]:
    """A calibrated agent, its outcomes taken as they are seen, or when their windows close."""
    runs, length, windows = 120, 600, 4
    streams = [single_actions(random, "uniform", length, windows) for _ in range(runs)]
    as_seen = sum(_alarms(sorted(one, key=lambda x: x.resolved_at_ms)) for one in streams)
    settled = len(alarmed(random, streams))
    how = f"{runs} × {length} over {windows} windows"
    yield Row("calibrated, fed as outcomes are seen: false alarm ever", how, share(as_seen, runs))
    yield Row("the same, fed when windows have closed (at most 5 %)", how, share(settled, runs))
    for at in (1.5, 2, 4):
        seen = _excess(streams, [at * WINDOW_MS, 0])
        closed = _excess(streams, [at * WINDOW_MS - GRACE_MS, WINDOW_MS])
        yield Row(
            f"actual less stated after {at:g} windows, as seen and of closed windows",
            how,
            f"{seen:+.3f} and {closed:+.3f}",
        )


def _alarms(in_order: Sequence[Played]) -> bool:
    return watched_test([(one.millionths, one.y) for one in in_order]).alarm_n is not None


def _excess(streams: Sequence[Sequence[Played]], look: Sequence[float]) -> float:
    """Mean y - p of what has been seen by a time, of actions that are at least so old."""
    now_ms, age_ms = look
    return float(
        np.mean(
            [
                one.y - one.millionths / 1e6
                for played in streams
                for one in played
                if one.resolved_at_ms <= now_ms and one.at_ms + age_ms <= now_ms
            ]
        )
    )

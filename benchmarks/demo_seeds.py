"""Whether the calibrator tells the demo's agents apart, seed after seed, without servers.

    .venv/bin/python -m benchmarks.demo_seeds [last seed]

The demo's records of each seed through the core, its outcomes source after source into the
calibrator and let in by the promises at the end, under the demo's own policy. Then the same with
outcomes shuffled within each stream: what the agents say tells nothing any more; and with outcomes
drawn at the rate that they say: then every one of them is calibrated.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import sqrt
from random import Random
from statistics import NormalDist
from typing import Any, cast

from msgspec import structs

from agents_topics.calibration import CalibrationAlarm, StreamCalibration, ThresholdAdjustment
from agents_topics.codec import Decoder
from agents_topics.events import Action, Interaction, Outcome, Promise, to_ms
from agents_topics.identifiers import key_of
from agents_topics.policy_file import load_policy
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS
from benchmarks.recording import circumstances, record
from tables.calibration_bins import bin_index_of, millionths_of, y_of
from tables.calibrator import Calibrator
from tables.direction import OVER_CONFIDENT
from tables.miscalibration_test import MiscalibrationTest
from tables.replay import Replay, target_of
from trueup.demo_agents import AGENTS, WELL_CALIBRATED, Agent
from trueup.demo_workload import CLOCK_UNTIL_MS, GRACE_MS, Workload, workload

LAST_SEED = 20
SOURCES = 4
CHANCE = 0.05
DECODE = {
    AGENT_ACTIONS.name: Decoder(Action).decode,
    AGENT_INTERACTIONS.name: Decoder(Interaction).decode,
}
POLICY = load_policy(None)
AGENT_OF = {(agent.tenant_id, agent.action_type): agent for agent in AGENTS}


@dataclass(frozen=True, slots=True)
class Logged:
    """Where a record stands, and when the broker took it."""

    offset: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a calibrator says of an agent; `moves` are its thresholds, the first one included."""

    seed: int
    agent: str
    truth: str
    n: int
    verdict: str
    evidence_nats: float
    alarm_n: int | None
    direction: str | None
    direction_at_threshold: str | None
    moves: list[float]

    @property
    def is_named_right(self) -> bool:
        """Whether an alarm names the truth, on average and at the threshold."""
        return self.direction == self.direction_at_threshold == self.truth

    @property
    def is_moved_right(self) -> bool:
        """Whether the threshold went first, and lies at last, where the truth wants it."""
        sign = 1 if self.truth == OVER_CONFIDENT else -1
        return all(sign * (to - self.moves[0]) > 0 for to in (*self.moves[1:2], self.moves[-1]))


def settled_outcomes(world: Workload) -> list[Outcome]:
    """What settles of the demo's records by its last clock; checked against what was planted."""
    sources = [(topic, 0) for topic in DECODE]
    replay = Replay(POLICY, dict.fromkeys(DECODE, GRACE_MS), sources, {}, "live")
    for topic, number in sources:
        logged = [
            (Logged(offset, CLOCK_UNTIL_MS * 2), DECODE[topic](one.key, one.value))
            for offset, one in enumerate(world.records)
            if one.topic == topic
        ]
        replay.take((topic, number), [r for r, _ in logged], [decoded for _, decoded in logged])
    outcomes = list(replay.end(to_ms(world.clock_until) - GRACE_MS))
    settled = {agent.name: Counter[str]() for agent in AGENTS}
    for outcome in outcomes:
        settled[outcome.agent_id or ""][outcome.status] += 1
    assert settled == world.expected.settled, "something else settles than was planted"
    return outcomes


def calibrated(seed: int, outcomes: Iterable[Outcome]) -> list[Found]:
    """What the calibrator says once all sources have promised that nothing more will come."""
    calibrator = Calibrator(SOURCES, POLICY)
    for _, own in groupby(sorted(outcomes, key=_source_of), _source_of):
        for outcome in own:
            calibrator.on_settled(outcome)
    for source in range(SOURCES):
        calibrator.on_promise(Promise(source=source, until_ms=CLOCK_UNTIL_MS))
    calibrator.enter()
    told = [record for _, record in calibrator.finish().updates]
    assert not calibrator.waiting_count, "an outcome did not enter"
    found = {agent.name: _found(seed, agent, told) for agent in AGENTS}
    return list(found.values())


def _source_of(outcome: Outcome) -> int:
    return target_of(key_of(outcome.tenant_id, outcome.conversation_id), SOURCES)


def _found(seed: int, agent: Agent, told: Sequence[object]) -> Found:
    opened: list[CalibrationAlarm] = []
    moves: list[float] = []
    standing: StreamCalibration | None = None
    for one in told:
        if not isinstance(one, CalibrationAlarm | ThresholdAdjustment | StreamCalibration):
            continue
        if AGENT_OF[one.tenant_id, one.action_type] is not agent:
            continue
        if isinstance(one, CalibrationAlarm):
            opened.append(one)
        elif isinstance(one, ThresholdAdjustment):
            moves += [one.new_threshold] if moves else [one.old_threshold, one.new_threshold]
        else:
            assert standing is None, f"{agent.name} has more than one stream"
            standing = one
    assert standing, f"nothing of {agent.name} has settled"
    first = opened[0] if opened else None
    return Found(
        seed,
        agent.name,
        agent.truth,
        standing.n,
        standing.verdict,
        round(standing.log_evidence_nanos / 1e9, 2),
        first.n if first else None,
        first.direction if first else None,
        first.direction_at_threshold if first else None,
        moves or [standing.threshold_millionths / 1e6],
    )


# ---- the same records with other outcomes ------------------------------------------------------


def by_agent(outcomes: Iterable[Outcome]) -> list[list[Outcome]]:
    """The outcomes of each agent, which are a stream."""
    streams: dict[str | None, list[Outcome]] = {}
    for outcome in outcomes:
        streams.setdefault(outcome.agent_id, []).append(outcome)
    return list(streams.values())


def shuffled(random: Random, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """What became of the actions of a stream is dealt out among them anew."""
    for stream in by_agent(outcomes):
        dealt = random.sample(stream, len(stream))
        for outcome, other in zip(stream, dealt, strict=True):
            shift_ms = outcome.created_at_ms - other.created_at_ms
            resolved_ms = other.resolved_at_ms
            yield structs.replace(
                cast(Any, outcome),
                status=other.status,
                decided_by=other.decided_by,
                resolved_at_ms=None if resolved_ms is None else resolved_ms + shift_ms,
            )


def redrawn(random: Random, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """What says something comes true at the rate that its action stated."""
    for outcome in outcomes:
        is_true = random.random() < (outcome.predicted_confidence or 0)
        drawn = "positive" if is_true else "expired"
        status = "ambiguous" if outcome.status == "ambiguous" else drawn
        yield structs.replace(cast(Any, outcome), status=status)


def lead_pairs(stream: Iterable[Outcome]) -> list[tuple[int, int]]:
    """Stated confidence and outcome of a stream's lead records that say something, in order."""
    in_turn = sorted(stream, key=lambda o: (o.settled_at_ms, o.created_at_ms, o.action_id))
    told = (
        (o.predicted_confidence, y_of(o.status, o.expired_counts)) for o in in_turn if o.is_lead
    )
    return [(millionths_of(p), y) for p, y in told if p is not None and y is not None]


def has_resolution(pairs: Sequence[tuple[int, int]]) -> bool:
    """Whether rates differ between bins by more than a chance of 5 % (chi-square)."""
    rate = sum(y for _, y in pairs) / len(pairs)
    bins: dict[int, list[int]] = {}
    for p, y in pairs:
        bins.setdefault(bin_index_of(p), []).append(y)
    large = [ys for ys in bins.values() if len(ys) * min(rate, 1 - rate) >= 5]
    chi = sum((sum(ys) - rate * len(ys)) ** 2 / len(ys) for ys in large) / (rate * (1 - rate))
    freedom = len(large) - 1
    third = 2 / (9 * freedom)  # Wilson and Hilferty 1931
    normal = NormalDist().inv_cdf(1 - CHANCE)
    return chi > freedom * (1 - third + normal * sqrt(third)) ** 3


def has_drift(pairs: Sequence[tuple[int, int]]) -> bool:
    """Whether the test gives an alarm where each record states the stream's own rate."""
    rate = round(1e6 * sum(y for _, y in pairs) / len(pairs))
    test = MiscalibrationTest()
    for at_ms, (_, y) in enumerate(pairs):
        test.update(rate, y, at_ms)
    return test.alarm_n is not None


# ---- all of it ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Seen:
    """What was found over seeds; but for `found` they are counts of streams.

    Shuffled outcomes have no resolution, by chance in one stream of twenty, and no drift from the
    stream's own rate. That the stated rates give an alarm there is right: they tell nothing.
    """

    found: list[Found]
    alarms_redrawn: int = 0
    alarms_shuffled: int = 0
    resolution: int = 0
    resolution_shuffled: int = 0
    drift_shuffled: int = 0


def look(seeds: Iterable[int], actions: int | None = None) -> Seen:
    """Plays each seed, as it is and with other outcomes; by default as large as the demo."""
    seen = Seen([])
    for seed in seeds:
        random = Random(seed)
        world = workload(seed) if actions is None else workload(seed, actions)
        outcomes = settled_outcomes(world)
        seen.found += calibrated(seed, outcomes)
        dealt = list(shuffled(random, outcomes))
        seen.alarms_redrawn += alarms(calibrated(seed, redrawn(random, outcomes)))
        seen.alarms_shuffled += alarms(calibrated(seed, dealt))
        streams = [lead_pairs(stream) for stream in by_agent(dealt)]
        seen.resolution += sum(has_resolution(lead_pairs(one)) for one in by_agent(outcomes))
        seen.resolution_shuffled += sum(map(has_resolution, streams))
        seen.drift_shuffled += sum(map(has_drift, streams))
    return seen


def alarms(found: Iterable[Found]) -> int:
    """How many streams have an alarm."""
    return sum(one.alarm_n is not None for one in found)


def tally(found: Sequence[Found]) -> dict[str, Any]:
    """An agent over its seeds."""
    alarmed = [one for one in found if one.alarm_n is not None]
    is_calibrated = found[0].truth == WELL_CALIBRATED
    return {
        "agent": found[0].agent,
        "truth": found[0].truth,
        "seeds": len(found),
        "lead_records_fewest": min(one.n for one in found),
        "alarmed": len(alarmed),
        "alarm_at_n_latest": max((one.alarm_n or 0 for one in alarmed), default=None),
        "named_right": None if is_calibrated else sum(one.is_named_right for one in alarmed),
        "moved": sum(len(one.moves) > 1 for one in found),
        "moved_right": None if is_calibrated else sum(one.is_moved_right for one in found),
        "verdicts": dict(Counter(one.verdict for one in found)),
    }


def tallies(found: Iterable[Found]) -> list[dict[str, Any]]:
    """Every agent over the seeds."""
    names: dict[str, list[Found]] = {agent.name: [] for agent in AGENTS}
    for one in found:
        names[one.agent].append(one)
    return [tally(own) for own in names.values()]


def main() -> None:
    """Looks at the seeds from 1 on and writes the result."""
    last = int(sys.argv[1]) if len(sys.argv) > 1 else LAST_SEED
    seen = look(range(1, last + 1))
    rest = {name: value for name, value in asdict(seen).items() if name != "found"}
    runs = [" ".join(f"{value}" for value in asdict(one).values()) for one in seen.found]
    said = {"agents": tallies(seen.found), "streams": len(runs), **rest, "runs": runs}
    record("demo_seeds", {**circumstances(f"demo_seeds {last}"), **said})


if __name__ == "__main__":
    main()

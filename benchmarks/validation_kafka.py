"""The test's promises where everything goes through Kafka, workers and Postgres; prints a page.

    python -m benchmarks.validation_kafka SEED [ROUNDS] > docs/validation-kafka.md

Ends with 1 where false alarms are more than alpha and its binomial error allow, where a stream is
not what the core in memory makes of it, or where the audit is not exact.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from agents_topics.label_rates import LabelRate
from benchmarks.kafka_results import Known
from benchmarks.kafka_round import PARTITIONS, WORKERS, Round, play
from benchmarks.kafka_streams import GOOD, Agent, agents, round_of
from benchmarks.simulated import Row, share
from trueup.embedded.servers import servers

ROUNDS = 4
AGENTS = agents(plain=130, follow_up=32, other=5)
ALPHA = 0.05
FAMILIES = ("plain", "follow-up")
"""The agents that are right."""

HEAD = """\
# Validation through Kafka

Made by `make validate THROUGH=kafka SEED={seed}` in ten to thirty minutes of two cores. Sources
are simulated and their truth is known, as in [validation](validation.md); here what they do is sent
to Kafka, settled and judged by {workers} workers over {partitions} partitions, and read back from
Postgres. A stream is a tenant and an action type; of {rounds} rounds each is an installation of its
own. A share stands with its standard error. a and b: the truth is σ(a + b·logit p).

Replies come within a day; records reach the log up to 55 minutes after they happened, out of order
in each topic, and some come twice. Late replies, each to an action that failed, and late actions at
.99 would make another stream of theirs if they counted. A clock record closes the last windows. The
test looks at every lead record, and delays are counted in these.

*Equal* means: all that is told of a stream is to the last bit what the calibrator's core makes in
memory of the same actions, where the simulation itself says what became of each. Compared are the
last record of every key in `calibration-updates`, of whatever kind (bins, days, segments by model,
delays, where the stream stands, alarms, threshold adjustments, maps, rates of labels), and of every
stream in `threshold-adjustments` and `calibration-maps`; every row of the tables that these are
written to, with what the publisher's writer makes of the core's records in an empty database; and,
as people read them, evidence, verdict, threshold and its reason, alarms, adjustments and bins.
"""


class Tally:
    """What came of each agent's streams."""

    def __init__(self) -> None:
        self.known: dict[Agent, list[Known]] = {agent: [] for agent in AGENTS}
        self.actions: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.different = self.exact = self.rounds = 0

    def take(self, played: Round) -> None:
        """Counts a round."""
        for agent, place, own in played.streams:
            self.known[agent].append(played.known[place])
            self.actions[agent.name] += len(own)
        self.sent += played.sent
        self.classes += played.classes
        self.outcomes += Counter(played.audit["outcomes"])
        for known in played.known.values():
            self.told.update(map(kind_of, known.told.values()))
            self.rows.update({table: len(rows) for table, rows in known.rows.items()})
        self.different += len(played.different)
        self.exact += played.audit["is_exact"]
        self.rounds += 1

    def of(self, *families: str) -> list[Known]:
        """The streams of some families of agents."""
        known = (own for agent, own in self.known.items() if agent.family in families)
        return [one for own in known for one in own]

    def how(self, agent: Agent) -> str:
        """How many streams of an agent there were, and how long they are."""
        streams = len(self.known[agent])
        return f"{streams:,} × {self.actions[agent.name] / streams:,.0f} actions"


def kind_of(told: Any) -> str:
    """What a record is: its own word, which bins and labels' rates have not."""
    kind: str = getattr(told, "kind", "label" if isinstance(told, LabelRate) else "bin")
    return kind


def alarms_at(known: Iterable[Known]) -> list[int]:
    """After how many lead records those that alarm do so first."""
    return [one.alarms[1].n for one in known if one.alarms]


def false_alarms(tally: Tally) -> Iterator[Row]:
    """Agents that are right."""
    for agent, known in tally.known.items():
        if agent.family in FAMILIES:
            alarms = len(alarms_at(known))
            yield Row(
                f"false alarm ever, {agent.name}", tally.how(agent), share(alarms, len(known))
            )
    for what, families in (
        ("all of one action a conversation", ("plain",)),
        ("all that follow up", ("follow-up",)),
        ("all", FAMILIES),
    ):
        known = tally.of(*families)
        found = f"{share(len(alarms_at(known)), len(known))}, {allowed(len(known))}"
        yield Row(f"false alarm ever, {what}", f"{len(known):,} streams", found)


def allowed(streams: int) -> str:
    """What a share of so many streams may be."""
    return f"at most 5 %, with twice its error {100 * bound(streams):.1f} %"


def bound(streams: int) -> float:
    """Alpha and twice its binomial error."""
    return ALPHA + 2 * sqrt(ALPHA * (1 - ALPHA) / streams)


def detections(tally: Tally) -> Iterator[Row]:
    """Agents that are wrong: how many are found, when, and what they are called."""
    for agent, known in tally.known.items():
        if agent.family != "wrong":
            continue
        at, count = alarms_at(known), len(known)
        named = sum(agent.wrong_in in names_of(one) for one in known)
        found = f"{share(len(at), count)}{median(at)}; named {agent.wrong_in} {named} of {len(at)}"
        yield Row(f"found, {agent.name}", tally.how(agent), found)


def drifts(tally: Tally) -> Iterator[Row]:
    """Agents that are right at first: alarms before they drift, and after."""
    for agent, known in tally.known.items():
        if agent.family == "drift":
            at, how = alarms_at(known), tally.how(agent)
            early = sum(n <= GOOD for n in at)
            later = [n - GOOD for n in at if n > GOOD]
            yield Row(f"before the drift, {agent.name}", how, share(early, len(known)))
            yield Row(
                f"found after it, {agent.name}",
                how,
                f"{share(len(later), len(known) - early)}{median(later)} later",
            )


def names_of(known: Known) -> tuple[str | None, ...]:
    """What the first alarm says: direction on average, and shape."""
    return (known.alarms[1].direction, known.alarms[1].shape) if known.alarms else ()


def median(at: Sequence[int]) -> str:
    """The median delay, where there is one."""
    return f", median {int(np.median(at)):,}" if at else ""


def thresholds(tally: Tally) -> Iterator[Row]:
    """How many thresholds of agents that are right moved."""
    known = tally.of(*FAMILIES)
    moved = sum(bool(one.adjustments) for one in known)
    yield Row("threshold ever moved, agents that are right", f"{len(known):,} streams",
              share(moved, len(known)))  # fmt: skip


def exactness(tally: Tally) -> Iterator[Row]:
    """What must be equal, and the classes of what was sent."""
    streams = sum(map(len, tally.known.values()))
    yield Row("equal to the core in memory", f"{streams:,} streams",
              f"{streams - tally.different:,} equal, {tally.different} not")  # fmt: skip
    yield Row("`trueup audit`", f"{tally.rounds} installations", f"{tally.exact} exact")
    for question, counts in (
        ("records sent, by class", tally.classes),
        ("outcomes, by status", tally.outcomes),
        ("last records compared, by kind", tally.told),
        ("rows compared, by table", tally.rows),
    ):
        yield Row(question, f"{counts.total():,}", listed(counts))


def listed(counts: Counter[str]) -> str:
    """What was counted, by name."""
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


def broken(tally: Tally) -> Iterator[str]:
    """Which promises do not hold."""
    for families in (["plain"], ["follow-up"]):
        known = tally.of(*families)
        if len(alarms_at(known)) > bound(len(known)) * len(known):
            yield f"more false alarms than alpha allows: {families[0]}"
    if tally.classes != tally.sent:
        yield f"records are not of the class that was sent: {tally.sent}"
    if tally.different:
        yield "streams differ from the core in memory"
    if tally.exact < tally.rounds:
        yield "the audit is not exact"


PARTS = (false_alarms, detections, drifts, thresholds, exactness)


def page(seed: int, tally: Tally) -> Iterator[str]:
    """The page, line by line."""
    yield HEAD.format(seed=seed, workers=WORKERS, partitions=PARTITIONS, rounds=tally.rounds)
    yield "| question | how | found |"
    yield "|---|---|---|"
    for part in PARTS:
        for row in part(tally):
            yield f"| {row.question} | {row.how} | {row.found} |"


def rounds(seed: int, count: int) -> Tally:
    """So many rounds, each told when it has ended."""
    tally, random = Tally(), np.random.default_rng(seed)
    with servers() as embedded, tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            began_s = time.monotonic()
            streams = round_of(random, AGENTS)
            played = play(random, streams, embedded, Path(folder) / f"validation{number}")
            tally.take(played)
            said = f"{len(played.different)} differ, audit exact: {played.audit['is_exact']}"
            print(f"round {number + 1} of {count}, {time.monotonic() - began_s:.0f} s: {said}",
                  file=sys.stderr)  # fmt: skip
    return tally


def main(seed: int, count: int = ROUNDS) -> int:
    """Prints the page; 1 where a promise does not hold."""
    tally = rounds(seed, count)
    for line in page(seed, tally):
        print(line)
    problems = list(broken(tally))
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))

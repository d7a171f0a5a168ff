"""What a tenth of poison costs the outcome resolver.

    .venv/bin/python -m benchmarks.poison [scale]

The peers' workload as it is, and with a tenth of its records mutated at random (a byte changed,
cut short, a field gone, a field of a wrong type, an unknown word) until the codec refuses them,
each twice, by turns and in topics of its own. The ratio is of the CPU seconds of the workers'
process trees, less what one takes to start with nothing to do: the machine's other work disturbs
these least. The same ratio by the clock, start included, stands beside it.
"""

import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from random import Random

from agents_topics.codec import Decoded, Malformed
from agents_topics.connection import connection_of
from benchmarks.loading import installation, load
from benchmarks.peers_workload import Workload, generate
from benchmarks.recording import circumstances, record
from benchmarks.resolver import (
    PARTITIONS,
    POLICY,
    Measured,
    running,
    wait_for,
)
from streams.fast_decoder import joined_decoders
from streams.topic_admin import create_topics
from trueup.embedded.servers import servers

POISONED_ONE_IN = 10
TURNS = 2

Record = tuple[bytes, bytes]
Decode = Callable[[bytes, bytes], Decoded | Malformed]


def poisoned(records: list[Record], decode: Decode, random: Random) -> list[Record]:
    """The records, of which a tenth is no event any more."""
    mixed = list(records)
    for at in random.sample(range(len(records)), -(-len(records) // POISONED_ONE_IN)):
        key, value = records[at]
        # One mutation in four leaves an event: it would be no poison.
        while isinstance(decode(key, poison := _mutated(value, random)), Decoded):
            pass
        mixed[at] = (key, poison)
    return mixed


def _mutated(value: bytes, random: Random) -> bytes:
    kind = random.randrange(5)
    if kind == 0:
        at = random.randrange(len(value))
        return value[:at] + bytes([random.randrange(256)]) + value[at + 1 :]
    if kind == 1:
        return value[: random.randrange(len(value))]
    body = json.loads(value)
    name = random.choice(list(body))
    if kind == 2:
        del body[name]
    else:
        body[name] = random.choice(([], {}, -1, None, True)) if kind == 3 else "\u0000no word"
    return json.dumps(body).encode()


def applied(measured: Measured) -> Counter[str]:
    """How many records of the inputs are applied, by what became of them."""
    found: Counter[str] = Counter()
    for task in measured.tasks:
        for name, count in task.get("counts", {}).items():
            topic, _, result = name.rpartition("/")
            if topic.startswith("agent-"):
                found[result] += count
    return found


def cost(settings: dict[str, str], prefix: str, workload: Workload) -> dict[str, float]:
    """Loads topics of their own, and lets a worker apply them."""
    settings = {**settings, "TRUEUP_PREFIX": prefix}
    connection = connection_of(settings)
    count = len(workload.actions) + len(workload.interactions)
    asyncio.run(create_topics(connection, PARTITIONS))
    load(connection, workload)
    with running(settings, "outcome-resolver") as worker:
        wait_for(count, lambda: applied(worker).total())
        found = worker.cost(max(count, 1))
        return {
            "seconds": found["seconds"],
            "cpu_s": round(found["cpu_s_per_million"] * max(count, 1) / 1e6, 2),
            "dead": applied(worker)["dead"],
        }


def measure(settings: dict[str, str], scale: float) -> dict[str, object]:
    """By turns without and with poison."""
    plain, random = generate(scale), Random(1)
    actions, interactions = (decoder.decode for decoder in joined_decoders().values())
    mixed = Workload(
        poisoned(plain.actions, actions, random),
        poisoned(plain.interactions, interactions, random),
        {},
    )
    start_s = cost(settings, "nothing-", Workload([], [], {}))["cpu_s"]
    runs: dict[str, list[dict[str, float]]] = {"plain": [], "poison": []}
    for turn in range(TURNS):
        for name, workload in (("plain", plain), ("poison", mixed)):
            runs[name].append(cost(settings, f"{name}{turn}-", workload))
    spent = {name: sum(run["cpu_s"] - start_s for run in found) for name, found in runs.items()}
    events = len(plain.actions) + len(plain.interactions)
    seconds = {name: sum(run["seconds"] for run in found) for name, found in runs.items()}
    return {
        "events": events,
        "dead_share": round(min(run["dead"] for run in runs["poison"]) / events, 4),
        "cpu_s_to_start": start_s,
        **runs,
        "speed_with_poison_of_without": round(spent["plain"] / spent["poison"], 3),
        "the_same_by_the_clock": round(seconds["plain"] / seconds["poison"], 3),
    }


def main() -> None:
    """Runs once and writes a result."""
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 0.2
    with servers() as embedded, tempfile.TemporaryDirectory() as folder:
        settings = installation(embedded, folder, TRUEUP_POLICY=str(POLICY))
        measured = measure(settings, scale)
    result = {
        **circumstances(f"poison {scale}"),
        **measured,
    }
    record("poison", result)


if __name__ == "__main__":
    main()

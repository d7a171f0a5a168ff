"""What a soak does to its workers and servers, all of it known from the seed."""

from dataclasses import dataclass
from itertools import cycle
from random import Random

from tests.faults.crashing_worker import POINTS

KILL, CRASH, STAND, STOP = "kill -9", "crash point", "stand still", "SIGTERM"
SERVER_KILL = "server kill -9"
KAFKA, POSTGRES = "kafka", "postgres"
WORKERS = ("a", "b")
RARE_EVERY = 25
"""Per so many kills of workers there is one of each server, one SIGTERM, one worker that stands."""
CRASH_SHARE = 0.3
"""Of the kills of workers: so many at a named point."""
SAME_AGAIN = 0.2


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault: its kind, whom it hits, how long after the one before.

    `away_s` is how long a server stays away or a worker stands still. A worker dies at the passing
    of its `point` with this number.
    """

    kind: str
    target: str
    after_s: float
    away_s: float = 0.0
    point: str | None = None
    passing: int = 0


def blows_of(seed, kills):
    """So many kill -9 of workers, and what is rarer in between, in an order of the seed's."""
    chance = Random(seed)
    points = cycle(chance.sample(POINTS, len(POINTS)))
    at_points = max(1, round(kills * CRASH_SHARE))
    rare = max(1, kills // RARE_EVERY)
    kinds = [CRASH] * at_points + [KILL] * (kills - at_points) + [STOP, STAND] * rare
    kinds += [KAFKA, POSTGRES] * rare
    chance.shuffle(kinds)
    blows, target = [], chance.choice(WORKERS)
    for kind in kinds:
        # Mostly the other one, while the one that was struck last is still on its way.
        target = target if chance.random() < SAME_AGAIN else _other(target)
        blows.append(_blow(chance, kind, target, points))
    return blows


def _other(worker):
    return WORKERS[1 - WORKERS.index(worker)]


def _blow(chance, kind, worker, points):
    after_s = chance.uniform(0.1, 1.5)
    match kind:
        case "kafka" | "postgres":
            return Blow(SERVER_KILL, kind, after_s, away_s=chance.uniform(0, 4))
        case "crash point":
            return Blow(kind, worker, after_s, point=next(points), passing=chance.randint(1, 6))
        case "stand still":
            return Blow(kind, worker, after_s, away_s=chance.uniform(7, 11))
        case _:
            return Blow(kind, worker, after_s)

"""Simulated agents whose truth is known, and a round of their streams: one a tenant and type."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from agents_topics.calibration import UNIT
from agents_topics.identifiers import tenant_id_of
from benchmarks.simulated import SHAPES, Random, records
from benchmarks.simulated_streams import (
    HOUR_MS,
    Place,
    Played,
    follow_ups,
    played_over,
    single_actions,
)
from trueup.demo_workload import START_MS

TYPES = ("send_email", "send_chat", "process_reply")
"""Those of the default policy whose outcome is `email_engagement` within a day."""
CONVERSATIONS_MAX = 10_000
PLAIN, CONVERSATIONS, WRONG, GOOD, DRIFTED = 150, 100, 1_000, 800, 1_200
SHIFT = -0.6
WORDS = ("low", "medium", "high")
WRONG_TRUTHS = (
    (-0.3, 1.0, "over-confident"),
    (-0.6, 1.0, "over-confident"),
    (0.5, 1.0, "under-confident"),
    (0.0, 0.6, "too extreme"),
    (0.0, 1.6, "too timid"),
)
"""a and b of σ(a + b·logit p), and how an alarm should name them."""
FOLLOW_UPS = ((8, 6), (3, 10))
"""Hours between an agent's actions in a conversation, and how many there are at most."""


@dataclass(frozen=True, slots=True)
class Agent:
    """What a stream's actions are drawn from; `streams` of it are in a round.

    `wrong_in` is how an alarm should name it.
    """

    name: str
    family: str
    streams: int
    draw: Callable[[Random], list[Played]]
    wrong_in: str = ""


class Stream(NamedTuple):
    """One stream: who acts, where, and what comes of it."""

    agent: Agent
    place: Place
    played: list[Played]


def windows_of(random: Random) -> float:
    """Over so many windows a stream's actions are spread."""
    return 6 * random.random() + 0.5


def calibrated(shape: str, random: Random) -> list[Played]:
    """An agent that is right, one action a conversation."""
    return single_actions(random, shape, PLAIN, windows_of(random))


def following_up(every_hours: int, most: int, random: Random) -> list[Played]:
    """An agent that is right and acts again until it gets a reply."""
    return follow_ups(random, CONVERSATIONS, every_hours * HOUR_MS, most)


def wrong(a: float, b: float, random: Random) -> list[Played]:
    """An agent whose truth is σ(a + b·logit p)."""
    return played_over(random, records(random, "uniform", WRONG, a, b), windows_of(random))


def drifting(random: Random) -> list[Played]:
    """An agent that is right, and from some record on over-confident."""
    good = records(random, "uniform", GOOD)
    drifted = records(random, "uniform", DRIFTED, SHIFT)
    return played_over(random, [*good, *drifted], windows_of(random))


def labelled(random: Random) -> list[Played]:
    """An agent that says a word for how sure it is, and no number."""
    return [
        one._replace(label=WORDS[one.millionths * len(WORDS) // UNIT])
        for one in calibrated("uniform", random)
    ]


def agents(plain: int, follow_up: int, other: int) -> list[Agent]:
    """Every agent; so many streams a round of each shape, way to follow up, or other truth."""
    return [
        *(
            Agent(f"calibrated, {shape}", "plain", plain, partial(calibrated, shape))
            for shape in SHAPES
        ),
        *(
            Agent(
                f"calibrated, a follow-up every {hours} h until a reply, {most} at most",
                "follow-up",
                follow_up,
                partial(following_up, hours, most),
            )
            for hours, most in FOLLOW_UPS
        ),
        *(
            Agent(f"a {a:+g}, b {b:g}", "wrong", other, partial(wrong, a, b), name)
            for a, b, name in WRONG_TRUTHS
        ),
        Agent(
            f"a {SHIFT:+g} after {GOOD} good records", "drift", other, drifting, "over-confident"
        ),
        Agent("words for a confidence", "words", other, labelled),
    ]


def round_of(random: Random, some: Sequence[Agent]) -> list[Stream]:
    """The streams of a round; three types share a tenant, no two streams a conversation."""
    drawn = [(agent, agent.draw(random)) for agent in some for _ in range(agent.streams)]
    return [
        Stream(agent, place_of(number), placed(played, number))
        for number, (agent, played) in enumerate(drawn)
    ]


def place_of(number: int) -> Place:
    """The tenant and action type of a round's stream.

    >>> place_of(4).action_type, place_of(4).tenant_id == place_of(5).tenant_id
    ('send_chat', True)
    """
    return Place(tenant_id_of(f"validation-{number // len(TYPES)}"), TYPES[number % len(TYPES)])


def placed(played: Sequence[Played], number: int) -> list[Played]:
    """The actions in conversations of their own and, since a broker's clock caps event time, in a
    past that does not move.
    """
    first = number * CONVERSATIONS_MAX
    return [
        one._replace(at_ms=START_MS + one.at_ms, conversation=first + one.conversation)
        for one in played
    ]

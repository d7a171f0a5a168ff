"""The shortest run that still fails: stories, faults and delays are left out while it does."""

from dataclasses import replace

from tests.simulation.judge import judge
from tests.simulation.world import SOUND, World

TRIES_MAX = 150


def shortened(plan, plant=SOUND):
    """A failing plan of which nothing more can be left out, as far as so many tries tell."""
    tries = 0

    def fails(stories, faults, is_calm):
        nonlocal tries
        tries += 1
        return tries <= TRIES_MAX and bool(
            judge(World(_cut(plan, stories, faults, is_calm), plant).run())
        )

    stories, faults = list(plan.workload.stories), list(plan.faults)
    is_calm = fails(stories, faults, True)
    faults = _fewest(faults, lambda some: fails(stories, some, is_calm))
    stories = _fewest(stories, lambda some: fails(some, faults, is_calm))
    faults = _fewest(faults, lambda some: fails(stories, some, is_calm))
    return _cut(plan, stories, faults, is_calm)


def _cut(plan, stories, faults, is_calm):
    workload = replace(plan.workload, stories=stories)
    return replace(plan, workload=workload, faults=tuple(faults), is_calm=is_calm)


def _fewest(things, fails):
    """The things without which it does not fail: ever smaller parts are left out."""
    size = len(things)
    while size and things:
        begin = 0
        while begin < len(things):
            fewer = things[:begin] + things[begin + size :]
            if fails(fewer):
                things = fewer
            else:
                begin += size
        size //= 2
    return things


def report(plan, plant=SOUND):
    """What a person needs of a failing plan: its seed, what is wrong, and the event log."""
    world = World(plan, plant).run()
    problems = judge(world)
    return "\n".join(
        [
            f"seed {plan.seed} fails; the shortest run that still does:",
            *(f"  story: {story.name}" for story in plan.workload.stories),
            *(f"  fault: {fault}" for fault in plan.faults),
            "events:",
            *(f"  {line}" for line in world.told),
            "wrong:",
            *(f"  {problem}" for problem in problems),
            f"again: make simulate SEED={plan.seed}",
        ]
    )

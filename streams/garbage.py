"""When Python's cyclic garbage collector looks at a worker's state: seldom, and never at what was
restored.

Whoever drops a state opens the circles in it (`StatefulWork.drop_state`): the collector would not.
"""

import gc

YOUNG, MIDDLE_EVERY, ALL_EVERY = 100_000, 5, 1_000


def collect_seldom() -> None:
    """Much live state makes the collector costly, and next to nothing of it is ever garbage.

    All of it is looked through after half a billion allocations; in between less than a million
    objects at a stretch, for nothing else happens meanwhile: ten million cost two seconds, and on a
    busy core the worker's session and its transactions.
    """
    gc.set_threshold(YOUNG, MIDDLE_EVERY, ALL_EVERY)


def leave_alone() -> None:
    """What is there now the collector never looks at again; costs nothing, however much it is.

    Without it a tenth of a large restore's CPU goes into looking through what it makes.
    """
    gc.freeze()

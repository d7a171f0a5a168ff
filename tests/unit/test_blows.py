"""What a soak does is known from its seed."""

from collections import Counter

import pytest

from tests.faults.blows import CRASH, KAFKA, KILL, POSTGRES, STAND, STOP, blows_of
from tests.faults.crashing_worker import POINTS


def test_the_same_seed_strikes_the_same_blows() -> None:
    assert blows_of(3, 40) == blows_of(3, 40)
    assert blows_of(3, 40) != blows_of(4, 40)


@pytest.mark.parametrize("kills", [1, 5, 100])
def test_so_many_workers_are_killed_and_every_other_fault_is_among_them(kills: int) -> None:
    blows = blows_of(1, kills)

    kinds = Counter(blow.kind for blow in blows)
    assert kinds[KILL] + kinds[CRASH] == kills
    assert kinds[STOP] == kinds[STAND] >= 1
    assert {KAFKA, POSTGRES} < {blow.target for blow in blows}


def test_a_hundred_kills_reach_every_crash_point() -> None:
    assert {blow.point for blow in blows_of(1, 100)} - {None} == set(POINTS)

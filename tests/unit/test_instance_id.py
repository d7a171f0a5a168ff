"""When a worker concludes that another one has its instance id."""

import pytest

from streams.instance_id import CHANGES_MAX, WITHIN_S, MembershipWatch


@pytest.mark.parametrize(("apart_s", "is_contested"), [(1, True), (WITHIN_S, False)])
def test_a_member_id_that_changes_again_and_again_of_late_is_contested(apart_s, is_contested):
    now_s = 0.0
    watch = MembershipWatch(lambda: now_s)
    found = []
    for number in range(CHANGES_MAX + 1):
        found.append(watch.is_contested(f"slot-{number}"))
        assert not watch.is_contested(f"slot-{number}")
        now_s += apart_s

    assert found == [False] * CHANGES_MAX + [is_contested]


def test_a_worker_that_is_not_a_member_for_a_while_has_not_changed():
    watch = MembershipWatch(lambda: 0.0)

    assert not any(watch.is_contested(name) for name in ("slot-1", "") * CHANGES_MAX)

"""Label delays: a histogram of them, merged in any split, is that of all."""

import copy
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tables.label_delay import BOUNDS_S, LabelDelay

at_bounds = st.sampled_from([1000 * bound + off for bound in BOUNDS_S for off in (-1, 0, 1)])
delays = st.lists(st.integers(0, 10**11) | at_bounds, max_size=60)


def of(delays_ms):
    made = LabelDelay()
    for delay_ms in delays_ms:
        made.update(delay_ms)
    return made


@given(delays)
def test_a_delay_is_counted_up_to_the_first_bound_that_holds_it(delays_ms):
    edges = [-1, *(1000 * bound for bound in BOUNDS_S), 10**12]

    found = of(delays_ms)

    assert found.counts == [
        sum(low < ms <= high for ms in delays_ms) for low, high in pairwise(edges)
    ]
    assert found.sum_ms == sum(delays_ms)


@given(delays, st.integers(1, 5), st.data())
def test_merging_in_any_split_and_order_is_updating_one(delays_ms, count, data):
    parts = [[] for _ in range(count)]
    for delay_ms in delays_ms:
        parts[data.draw(st.integers(0, count - 1))].append(delay_ms)
    merged, *others = map(of, data.draw(st.permutations(parts)))
    before = copy.deepcopy(others)

    for other in others:
        merged.merge(other)

    assert merged == of(delays_ms)
    assert others == before
    merged.update(1)
    assert others == before, "a merged histogram shares nothing"

"""The rates that never fall and lie nearest to what was seen: isotonic regression.

Neighbours that would fall are pooled until none does (pool adjacent violators; Ayer and others
1955). In exact fractions: the same rates on every machine.
"""

from collections.abc import Sequence
from fractions import Fraction


def isotonic_rates(counts: Sequence[tuple[int, int]]) -> list[Fraction | None]:
    """By group of (n, how many came true) the pooled rate; None where nothing was observed.

    >>> [str(rate) for rate in isotonic_rates([(4, 1), (4, 3), (0, 0), (4, 2), (2, 2)])]
    ['1/4', '5/8', 'None', '5/8', '1']
    """
    pools: list[list[int]] = []
    """n, how many came true, and of how many observed groups."""
    for n, successes in counts:
        if not n:
            continue
        pools.append([n, successes, 1])
        while len(pools) > 1 and _falls(pools[-2], pools[-1]):
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last, strict=True)]
    rates = [Fraction(successes, n) for n, successes, size in pools for _ in range(size)]
    observed = iter(rates)
    return [next(observed) if n else None for n, _ in counts]


def _falls(before: Sequence[int], after: Sequence[int]) -> bool:
    return before[1] * after[0] >= after[1] * before[0]

"""Which of many streams to flag, so that few flags are false (e-BH; Wang, Ramdas 2022).

The evidence of any streams, of any ages and however dependent, may be compared as it stands. Of the
flags of *one* look at most a share q is false on average. For a flag that stays once it was raised,
give `sticky_log_evidence` of the running maximum instead of the current evidence.
"""

from collections.abc import Sequence
from math import expm1, log

FALSE_SHARE = 0.1
_SERIES_BELOW = 1e-6
_HUGE = 700.0


def flagged(log_evidence: Sequence[float], false_share: float = FALSE_SHARE) -> list[int]:
    """The indices with the k* greatest ln E, k* = max{k: E_(k) ≥ m/(kq)}, in rising order.

    Args:
        log_evidence: ln E of all streams that have a lead record, in nats.
        false_share: q, the share of flags that may be false on average.

    >>> flagged([log(35), 0.0, log(14), log(400)])
    [0, 2, 3]
    """
    count = len(log_evidence)
    order = sorted(range(count), key=lambda index: -log_evidence[index])
    taken = 0
    for k, index in enumerate(order, 1):
        if log_evidence[index] >= log(count / (k * false_share)):
            taken = k
    return sorted(order[:taken])


def sticky_log_evidence(peak_log_evidence: float) -> float:
    """Ln A(M), A(M) = (M - 1 - ln M)/(ln M)², of a running maximum M ≥ 1 given as ln M; A(1) = ½.

    >>> round(sticky_log_evidence(log(20)), 3)
    0.578
    """
    x = peak_log_evidence
    if x < _SERIES_BELOW:
        return log(0.5)
    if x > _HUGE:
        return x - 2 * log(x)
    return log(expm1(x) - x) - 2 * log(x)

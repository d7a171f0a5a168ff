"""Evidence in the words of a bet, for whoever only reads it."""

from math import floor, log

NANO = 10**9
PLAIN_DECADES_MAX = 8
_ROUNDING = 1e-9
"""A whole number of digits that came out a trifle too small is still whole."""


def evidence_odds(log_nanos: int) -> str:
    """E as odds, to two digits and downwards.

    >>> [evidence_odds(int(nats * 1e9)) for nats in (-2.2, 0, 3.44, 12.1, 2500)]
    ['1 : 0.11', '1 : 1', '1 : 31', '1 : 170,000', '1 : 5.4e1085']
    """
    decades = log_nanos / NANO / log(10)
    exponent = floor(decades)
    digits = floor(10 ** (decades - exponent + 1) + _ROUNDING)
    if exponent > PLAIN_DECADES_MAX:
        return f"1 : {digits / 10:.1f}e{exponent}"
    return f"1 : {digits * 10.0 ** (exponent - 1):,.12g}"

"""Which of the three checks for signals an outcome belongs to, by the length of its window."""

_DAY_MS = 86_400_000
IMMEDIATE = "check_immediate_signals"
ENGAGEMENT = "check_engagement_signals"
DEAL_PROGRESSION = "check_deal_progression"
CHECKS = (IMMEDIATE, ENGAGEMENT, DEAL_PROGRESSION)


def check_of(window_ms: int) -> str:
    """Up to a day, up to a week, or longer.

    >>> [check_of(hours * 3_600_000).split("_")[1] for hours in (24, 25, 168, 720)]
    ['immediate', 'engagement', 'engagement', 'deal']
    """
    if window_ms <= _DAY_MS:
        return IMMEDIATE
    return ENGAGEMENT if window_ms <= 7 * _DAY_MS else DEAL_PROGRESSION

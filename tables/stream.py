"""A stream: what shares a curve, a test and a threshold."""

from typing import NamedTuple


class Stream(NamedTuple):
    """What shares a curve, a test and a threshold."""

    tenant_id: str
    action_type: str
    outcome_type: str
    window_ms: int
    confidence_source: str

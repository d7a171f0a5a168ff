"""A stream: what shares a curve, a test and a threshold."""

from typing import Any, NamedTuple


class Stream(NamedTuple):
    """What shares a curve, a test and a threshold."""

    tenant_id: str
    action_type: str
    outcome_type: str
    window_ms: int
    confidence_source: str


def stream_of(told: Any) -> Stream:
    """The stream of a record of any kind."""
    return Stream(*(getattr(told, name) for name in Stream._fields))

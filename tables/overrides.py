"""What people decided of thresholds and alarms: each is taken once and enters in its turn.

A decision holds from the settle time up to which all outcomes were promised when it was taken: it
enters after these, and before any that settles later. Its event_id is remembered, so that a copy
changes nothing.
"""

from collections import deque
from collections.abc import Iterator
from math import inf
from typing import Any, Literal, NamedTuple

from agents_topics.events import CloseAlarm, ControlOverride
from tables.calibration_bins import millionths_of
from tables.stream import Stream
from tables.stream_calibration import Override

REMEMBERED_MAX = 1_000
"""So many are remembered; the one that came first is forgotten first."""


class Taken(NamedTuple):
    """A decision, the streams that it is for (None: any), and whether it has entered.

    `number` is 0 for the first that was ever taken, then rising.
    """

    number: int
    event_id: str
    tenant_id: str
    action_type: str
    outcome_type: str | None
    confidence_source: str | None
    override: Override
    is_entered: bool = False

    @property
    def at_ms(self) -> int:
        """The settle time from which on it holds."""
        return self.override.at_ms

    def is_for(self, stream: Stream) -> bool:
        """Whether it concerns a stream."""
        return (
            (self.tenant_id, self.action_type) == stream[:2]
            and self.outcome_type in (None, stream.outcome_type)
            and self.confidence_source in (None, stream.confidence_source)
        )


class Overrides:
    """The decisions of one partition, in the order in which they were taken."""

    def __init__(self) -> None:
        self._taken: dict[str, Taken] = {}
        self._waiting: deque[Taken] = deque()
        self._changes: dict[bytes, Any] = {}
        self._next_number = 0

    def take(self, said: ControlOverride, promised_ms: int) -> None:
        """Takes a decision, unless it is a copy."""
        if said.event_id in self._taken:
            return
        if len(self._taken) >= REMEMBERED_MAX:
            oldest = next(iter(self._taken))
            del self._taken[oldest]
            self._changes[_key(oldest)] = None
        taken = Taken(
            self._next_number,
            said.event_id,
            said.tenant_id,
            said.action_type,
            said.outcome_type,
            said.confidence_source,
            override_of(said, promised_ms),
        )
        self._next_number += 1
        self._waiting.append(taken)
        self._hold(taken)

    def _hold(self, taken: Taken) -> None:
        self._taken[taken.event_id] = self._changes[_key(taken.event_id)] = taken

    def due(self, settled_at_ms: float) -> Iterator[Taken]:
        """Those that enter before outcomes of a settle time, in order; they have entered then."""
        while self._waiting and self._waiting[0].at_ms < settled_at_ms:
            taken = self._waiting.popleft()
            self._hold(taken._replace(is_entered=True))
            yield taken

    @property
    def next_ms(self) -> float:
        """Up to this settle time, outcomes enter before anything else is due."""
        return self._waiting[0].at_ms if self._waiting else inf

    def forget(self, tenant_id: str) -> None:
        """Nothing that was decided for a tenant is remembered."""
        of_tenant = [held for held in self._taken.values() if held.tenant_id == tenant_id]
        for held in of_tenant:
            del self._taken[held.event_id]
            self._changes[_key(held.event_id)] = None
        self._waiting = deque(held for held in self._waiting if held.tenant_id != tenant_id)

    def take_rows(self) -> dict[bytes, Any]:
        """The changelog's rows of what has changed since."""
        changes, self._changes = self._changes, {}
        return changes

    def restore(self, row: Any) -> None:
        """Takes back a row; rows come in any order."""
        taken = Taken(*row)
        taken = taken._replace(override=Override(*taken.override))
        in_order = sorted((*self._taken.values(), taken), key=lambda held: held.number)
        self._taken = {held.event_id: held for held in in_order}
        self._waiting = deque(held for held in in_order if not held.is_entered)
        self._next_number = in_order[-1].number + 1


def _key(event_id: str) -> bytes:
    return b"o/" + event_id.encode()


def override_of(said: ControlOverride, at_ms: int) -> Override:
    """What the fold is told of a decision that holds from a settle time on.

    >>> from agents_topics.events import ThresholdOverride
    >>> override_of(ThresholdOverride(kind="threshold", event_id="o1", tenant_id="t",
    ...     action_type="qualify", reviewer="ann", occurred_at="2026-03-01T00:00:00Z",
    ...     action="set", value=0.65, because="spring sale"), 9)
    Override(at_ms=9, cause='set', value=650000, reviewer='ann: spring sale')
    """
    who = said.reviewer if said.because is None else f"{said.reviewer}: {said.because}"
    if isinstance(said, CloseAlarm):
        return Override(at_ms, "close_alarm", None, who)
    cause: Literal["set", "roll_back", "release"] = said.action
    value = None if said.value is None else millionths_of(said.value)
    return Override(at_ms, cause, value, who)

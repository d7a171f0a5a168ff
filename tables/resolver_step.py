"""What the resolver needs of a record, and what a step of it wants written."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from agents_topics.events import Forgotten, LateEvent, Outcome


class LogRecord(Protocol):
    """What the core needs of a record: where it stands and when the broker took it."""

    @property
    def offset(self) -> int:
        """Its offset."""
        ...

    @property
    def timestamp(self) -> int:
        """The broker's timestamp in milliseconds."""
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that becomes a dead letter, with its reason."""

    topic: str
    record: LogRecord
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What was forgotten, and the outcomes of it that were due and settled before: bins alone
    hear of them.
    """

    record: Forgotten
    settled: list[Outcome]


@dataclass(slots=True)
class Step:
    """What a step wants written, all of it in one transaction."""

    outcomes: list[Outcome] = field(default_factory=list)
    late: list[LateEvent] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    forgotten: list[Forgetting] = field(default_factory=list)
    """In their order, and before every outcome of the step."""
    changes: dict[bytes, Any] = field(default_factory=dict)
    """Changelog: key -> row, or None where the key is deleted."""

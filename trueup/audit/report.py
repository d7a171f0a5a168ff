"""What the audit says: what it counted, and every difference by name."""

from dataclasses import asdict, dataclass, field
from typing import Any

TOLD_MAX = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the topics say it must be."""

    what: str
    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where} has {self.found}, the topics say {self.expected}"


@dataclass(slots=True)
class AuditReport:
    """What was counted and every difference that was found.

    `records` are by topic and class; `waiting` ones are in the topic and not applied yet. `unheld`
    is how many promoted outcomes could not be recomputed, by what they came from.
    """

    records: dict[str, dict[str, int]] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    open: int = 0
    unheld: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """All of it in plain values."""
        return {**asdict(self), "is_exact": self.is_exact}

    def __str__(self) -> str:
        lines = [
            f"{topic}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items())
            for topic, counts in self.records.items()
        ]
        settled = ", ".join(f"{count:,} {name}" for name, count in self.outcomes.items())
        lines.append(f"settled: {settled}; {self.open:,} open")
        lines += [f"held to nothing: {count:,} of {why}" for why, count in self.unheld.items()]
        lines += [str(difference) for difference in self.differences[:TOLD_MAX]]
        if len(self.differences) > TOLD_MAX:
            lines.append(f"… and {len(self.differences) - TOLD_MAX:,} more (--json tells all)")
        lines.append("exact" if self.is_exact else f"NOT EXACT: {len(self.differences):,} differ")
        return "\n".join(lines)

    def differ(self, what: str, where: str, expected: object, found: object) -> None:
        """Notes a difference."""
        self.differences.append(Difference(what, where, str(expected), str(found)))

"""What the audit is told: the settings and the policy under which the workers ran."""

from collections.abc import Mapping
from dataclasses import dataclass

from agents_topics.policy import Policy


@dataclass(frozen=True, slots=True)
class Rules:
    """The workers' policy, the grace of each joined topic, and the quiet before a time moves."""

    policy: Policy
    grace_ms: Mapping[str, int]
    idle_after_ms: int
    partition_count: int
    is_replayed: bool = False
    """Whether the policy is another one than the workers', and their letters are taken as told."""

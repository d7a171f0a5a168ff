"""TOPICS: every topic as data. The broker's names never follow import paths."""

from dataclasses import dataclass, field
from typing import Any

from agents_topics.calibration import CalibrationMap, StreamTrend, ThresholdAdjustment
from agents_topics.events import (
    Action,
    CalibrationUpdate,
    Clock,
    Feedback,
    Forgotten,
    Interaction,
    LateEvent,
    Outcome,
    PolicyRecord,
)
from agents_topics.letters import Redriven

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOREVER_MS = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic: what it carries and how the broker must keep it.

    Every topic has the same number of partitions, so that a task owns one number in all of them.
    Without a topic that `is_needed` no worker starts; the others may be made later. With fewer
    replicas than recommended, or fewer of them in sync, it works, but a broker that is lost may
    take records with it.
    """

    name: str
    key: str
    event: type[Any] | None
    cleanup: str = "delete"
    retention_ms: int = FOREVER_MS
    message_bytes_max: int = 1_048_588
    is_append_time: bool = True
    is_needed: bool = True
    replication_min: int = 1
    replication_recommended: int = 3
    in_sync_min: int = 1
    in_sync_recommended: int = 2
    config: dict[str, str] = field(default_factory=dict)

    def broker_config(self) -> dict[str, str]:
        """The topic's settings as the broker names them."""
        stamp = "LogAppendTime" if self.is_append_time else "CreateTime"
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.message_bytes_max),
            "message.timestamp.type": stamp,
            **self.config,
        }

    def config_with(self, replication: int) -> dict[str, str]:
        """The settings for so many replicas: one may be away and writing goes on.

        >>> AGENT_ACTIONS.config_with(3)["min.insync.replicas"]
        '2'
        >>> AGENT_ACTIONS.config_with(1)["min.insync.replicas"]
        '1'
        """
        in_sync = max(min(self.in_sync_recommended, replication - 1), self.in_sync_min)
        return self.broker_config() | {"min.insync.replicas": str(in_sync)}


def _changelog(name: str) -> Topic:
    """A compacted log that state is rebuilt from; small segments keep a restore short."""
    return Topic(
        name=name,
        key="state key",
        event=None,
        cleanup="compact",
        config={
            "segment.bytes": str(64 << 20),
            "segment.ms": str(HOUR_MS),
            "min.cleanable.dirty.ratio": "0.2",
            "delete.retention.ms": str(DAY_MS),
        },
    )


_CONVERSATION = "tenant_id/conversation_id"
_STREAM = "tenant_id/action_type"
_OF_STREAM = "tenant_id/action_type/outcome_type/window_ms/confidence_source"

AGENT_ACTIONS = Topic(name="agent-actions", key=_CONVERSATION, event=Action)
AGENT_INTERACTIONS = Topic(name="agent-interactions", key=_CONVERSATION, event=Interaction)
AGENT_FEEDBACK = Topic(name="agent-feedback", key=_CONVERSATION, event=Feedback, is_needed=False)
CONTROL = Topic(name="control", key="none: sent to the partitions it is for", event=Clock)
LATE_EVENTS = Topic(name="late-events", key=_CONVERSATION, event=LateEvent)
DEAD_LETTERS = Topic(
    name="dead-letters", key="as it came", event=None, message_bytes_max=2 * 1_048_588
)
FORGOTTEN = Topic(name="forgotten", key=_CONVERSATION, event=Forgotten)
POLICIES = Topic(
    name="policies", key="digest; all in partition 0", event=PolicyRecord, cleanup="compact"
)
REDRIVEN_LETTERS = Topic(
    name="redriven-letters",
    key="topic/partition/offset of the refused record",
    event=Redriven,
    cleanup="compact",
)
OUTCOMES = Topic(name="outcomes", key="outcome id", event=Outcome)
SETTLED_OUTCOMES = Topic(name="settled-outcomes", key=_STREAM, event=Outcome)
OVERRIDE_KEY = b"control"
"""In `settled-outcomes` the key of what a person decided: the resolver passes it on, in its own
transaction and partition, for a topic has one reader in a group.
"""
CALIBRATION_UPDATES = Topic(
    name="calibration-updates",
    key="stream/bin, or stream, a word, and what tells its records apart",
    event=CalibrationUpdate,
    cleanup="compact",
)
THRESHOLD_ADJUSTMENTS = Topic(
    name="threshold-adjustments", key=_OF_STREAM, event=ThresholdAdjustment, cleanup="compact"
)
CALIBRATION_MAPS = Topic(
    name="calibration-maps", key=_OF_STREAM, event=CalibrationMap, cleanup="compact"
)
TREND_CHANGES = Topic(
    name="trend-changes", key=f"{_OF_STREAM}/metric", event=StreamTrend, cleanup="compact"
)
RESOLVER_CHANGELOG = _changelog("outcome-resolver-changelog")
CALIBRATOR_CHANGELOG = _changelog("calibrator-changelog")

TOPICS: tuple[Topic, ...] = (
    AGENT_ACTIONS,
    AGENT_INTERACTIONS,
    AGENT_FEEDBACK,
    CONTROL,
    LATE_EVENTS,
    DEAD_LETTERS,
    FORGOTTEN,
    POLICIES,
    REDRIVEN_LETTERS,
    OUTCOMES,
    SETTLED_OUTCOMES,
    CALIBRATION_UPDATES,
    THRESHOLD_ADJUSTMENTS,
    CALIBRATION_MAPS,
    TREND_CHANGES,
    RESOLVER_CHANGELOG,
    CALIBRATOR_CHANGELOG,
)

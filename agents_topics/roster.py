"""AGENTS: one row a Faust agent. With TOPICS this is the data flow as data."""

from dataclasses import dataclass

from agents_topics import topics
from agents_topics.topics import Topic

GROUP = "trueup"
"""The consumer group of all workers, behind the prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """A Faust agent: its name on the broker, what it joins, what it writes, its changelog.

    Of what it writes the first goes into the partition of its task, and tells that it has lived.
    """

    name: str
    reads: tuple[Topic, ...]
    writes: tuple[Topic, ...]
    changelog: Topic | None

    @property
    def transactional_ids(self) -> str:
        """What the transactional ids of its tasks begin with; a partition's number follows."""
        return f"trueup-{self.name}-"


RESOLVER = AgentRow(
    name="outcome-resolver",
    reads=(topics.AGENT_ACTIONS, topics.AGENT_INTERACTIONS, topics.CONTROL),
    writes=(
        topics.OUTCOMES,
        topics.SETTLED_OUTCOMES,
        topics.LATE_EVENTS,
        topics.DEAD_LETTERS,
        topics.FORGOTTEN,
    ),
    changelog=topics.RESOLVER_CHANGELOG,
)
CALIBRATOR = AgentRow(
    name="calibrator",
    reads=(topics.SETTLED_OUTCOMES,),
    writes=(
        topics.CALIBRATION_UPDATES,
        topics.THRESHOLD_ADJUSTMENTS,
        topics.CALIBRATION_MAPS,
        topics.TREND_CHANGES,
    ),
    changelog=topics.CALIBRATOR_CHANGELOG,
)
PUBLISHER = AgentRow(
    name="publisher",
    reads=(topics.OUTCOMES, topics.CALIBRATION_UPDATES),
    writes=(),
    changelog=None,
)

AGENTS: tuple[AgentRow, ...] = (RESOLVER, CALIBRATOR, PUBLISHER)

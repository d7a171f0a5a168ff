"""What a worker's health is, and in which words it says so."""

from dataclasses import dataclass

import pytest

from agents_topics.roster import PUBLISHER, RESOLVER, AgentRow
from streams.health import SINK_BEHIND_MS_MAX, health_of
from streams.task import State

NOW_MS = 1_767_571_200_000
SINCE_MS = NOW_MS - 61_500


@dataclass
class Standing:
    """What is asked of a task."""

    row: AgentRow = PUBLISHER
    state: State = "running"
    problem: str | None = None
    applied_until_ms: int = NOW_MS

    @property
    def name(self) -> str:
        return f"{self.row.name}-0"


@pytest.mark.parametrize(
    ("standing", "health", "words"),
    [
        (Standing(), "ok", None),
        (Standing(state="opening"), "ok", None),
        (Standing(applied_until_ms=NOW_MS - SINK_BEHIND_MS_MAX), "ok", None),
        (
            Standing(applied_until_ms=SINCE_MS),
            "degraded",
            "the sink is 61 s behind, since 2026-01-04T23:58:58Z",
        ),
        (
            Standing(state="retrying", problem="Postgres is away", applied_until_ms=SINCE_MS),
            "degraded",
            "Postgres is away; the sink is 61 s behind, since 2026-01-04T23:58:58Z",
        ),
        (
            Standing(state="opening", problem="Postgres is away"),
            "degraded",
            "Postgres is away; the sink is 0 s behind, since 2026-01-05T00:00:00Z",
        ),
        (Standing(RESOLVER, applied_until_ms=SINCE_MS), "ok", None),
        (
            Standing(RESOLVER, "retrying", "Kafka is away", SINCE_MS),
            "degraded",
            "Kafka is away; 61 s behind, since 2026-01-04T23:58:58Z",
        ),
        (Standing(state="failed", problem="KeyError at"), "failed", "KeyError at"),
        (Standing(state="refused", problem="cut"), "failed", "cut"),
        # A worker's clock that was set back makes nothing less than up to date.
        (Standing(applied_until_ms=NOW_MS + 9_000), "ok", None),
    ],
)
def test_a_task_that_is_not_well_says_why_and_since_when(
    standing: Standing, health: str, words: str | None
) -> None:
    problems = {standing.name: words} if words else {}

    assert health_of([standing], NOW_MS) == (health, problems)


def test_what_needs_a_person_comes_before_what_mends_itself() -> None:
    broken = Standing(RESOLVER, "refused", "cut")
    away = Standing(state="retrying", problem="away")

    assert health_of([away, broken], NOW_MS)[0] == "failed"
    assert set(health_of([away, broken], NOW_MS)[1]) == {"publisher-0", "outcome-resolver-0"}

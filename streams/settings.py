"""What an operator may set, from the environment (`TRUEUP_*`), checked at start."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from agents_topics.roster import AGENTS, AgentRow
from agents_topics.topics import AGENT_ACTIONS, AGENT_INTERACTIONS

GraceS = Annotated[int, Field(ge=1, le=30 * 86_400)]
LogFormat = Literal["json", "text"]
DAYS_KEPT = 400


def variable_of(name: str) -> str:
    """The environment variable of a setting.

    >>> variable_of("grace_s")
    'TRUEUP_GRACE_S'
    """
    return f"TRUEUP_{name.upper()}"


class Settings(BaseModel):
    """The worker's settings; times in seconds as people write them, `*_ms` as the core reads them.

    What is not given comes from the environment, where a variable that is empty is not set.

    Args:
        partitions: The partition count of every topic.
        grace_s: How far behind its topic's time a record may be; one figure for every topic.
        grace_s_agent_actions: In the place of that figure, for `agent-actions` alone.
        grace_s_agent_interactions: The same for `agent-interactions`.
        idle_after_s: How long a topic is quiet before its time moves by the broker's clock.
        instance_id: A stable name of this worker's slot, for static group membership.
        transactions_per_s: A worker's budget, shared by its tasks.
        step_records_max: Whoever is behind writes at least after so many records.
        days_kept: Of each stream so many days of settle times are kept by the day.
        agents: Which agents this worker runs, by name; others run elsewhere in the same group.
    """

    model_config = ConfigDict(frozen=True)

    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    grace_s: GraceS = 3_600
    grace_s_agent_actions: GraceS | None = None
    grace_s_agent_interactions: GraceS | None = None
    idle_after_s: Annotated[float, Field(ge=0.1, le=86_400)] = 10.0
    policy: Path | None = None
    instance_id: str | None = None
    session_timeout_s: Annotated[float, Field(ge=6, le=60)] = 6.0
    heartbeat_s: Annotated[float, Field(gt=0, le=5)] = 1.0
    transactions_per_s: Annotated[int, Field(ge=1, le=10_000)] = 100
    step_records_max: Annotated[int, Field(ge=1, le=1_000_000)] = 60_000
    days_kept: Annotated[int, Field(ge=1, le=100_000)] = DAYS_KEPT
    web_host: str = "127.0.0.1"
    web_port: Annotated[int, Field(ge=0, le=65_535)] = 6066
    agents: tuple[str, ...] = tuple(row.name for row in AGENTS)
    data_folder: Path = Path(".trueup/worker")
    log_format: LogFormat = "json"

    @model_validator(mode="before")
    @classmethod
    def _take_environment(cls, given: dict[str, Any]) -> dict[str, Any]:
        named = {name: os.environ.get(variable_of(name)) for name in cls.model_fields}
        return {name: value for name, value in named.items() if value} | given

    @field_validator("agents", mode="before")
    @classmethod
    def _split_agents(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("agents")
    @classmethod
    def _check_agents(cls, agents: tuple[str, ...]) -> tuple[str, ...]:
        known = [row.name for row in AGENTS]
        for name in agents:
            if name not in known:
                raise ValueError(f"no agent is called {name!r}; there are {', '.join(known)}")
        return agents

    @property
    def rows(self) -> list[AgentRow]:
        """The agents that this worker runs."""
        return [row for row in AGENTS if row.name in self.agents]

    @property
    def grace_ms(self) -> dict[str, int]:
        """By joined topic, in milliseconds."""
        own_s = {
            AGENT_ACTIONS.name: self.grace_s_agent_actions,
            AGENT_INTERACTIONS.name: self.grace_s_agent_interactions,
        }
        return {topic: (given_s or self.grace_s) * 1000 for topic, given_s in own_s.items()}

    @property
    def grace_ms_max(self) -> int:
        """The longest, in milliseconds: by then a settle time is behind every topic's grace."""
        return max(self.grace_ms.values())

    @property
    def idle_after_ms(self) -> int:
        """In milliseconds."""
        return round(self.idle_after_s * 1000)


class SettingsProblem(Exception):
    """A setting is wrong: says which, its value and why."""


def read_settings() -> Settings:
    """The settings of this process's environment.

    Raises:
        SettingsProblem: One is wrong.
    """
    try:
        return Settings()
    except ValidationError as problem:
        wrong = (
            f"{variable_of(str(error['loc'][0]))} is {error['input']!r}: {error['msg']}."
            for error in problem.errors()
        )
        raise SettingsProblem(" ".join(wrong)) from None

"""The worker's settings, as an operator writes them."""

import pytest
from pydantic import ValidationError

from streams.app import WorkerProblem, from_environment
from streams.settings import Settings, SettingsProblem, read_settings


def test_a_worker_runs_all_agents_unless_told(monkeypatch):
    assert Settings().agents == ("outcome-resolver", "calibrator", "publisher")

    monkeypatch.setenv("TRUEUP_AGENTS", "calibrator,publisher")
    assert Settings().agents == ("calibrator", "publisher")


def test_an_unknown_agent_is_named_with_the_known_ones(monkeypatch):
    monkeypatch.setenv("TRUEUP_AGENTS", "resolver")

    with pytest.raises(ValidationError, match=r"'resolver'; there are outcome-resolver, cal"):
        Settings()


def test_only_a_publisher_needs_the_database(monkeypatch, tmp_path):
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("TRUEUP_DATA_FOLDER", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("TRUEUP_AGENTS", "outcome-resolver")
    assert [row.name for row in from_environment().worker.tasks.agents] == ["outcome-resolver"]

    monkeypatch.setenv("TRUEUP_AGENTS", "publisher")
    with pytest.raises(WorkerProblem, match="DATABASE_URL"):
        from_environment()


@pytest.mark.parametrize(
    ("given", "actions_s", "interactions_s"),
    [
        ({}, 3_600, 3_600),
        ({"TRUEUP_GRACE_S": "60"}, 60, 60),
        ({"TRUEUP_GRACE_S_AGENT_ACTIONS": "5"}, 5, 3_600),
        ({"TRUEUP_GRACE_S": "60", "TRUEUP_GRACE_S_AGENT_INTERACTIONS": "7200"}, 60, 7_200),
        ({"TRUEUP_GRACE_S_AGENT_ACTIONS": "1", "TRUEUP_GRACE_S_AGENT_INTERACTIONS": "2"}, 1, 2),
    ],
)
def test_grace_is_one_figure_and_a_topic_may_have_its_own(
    monkeypatch, given, actions_s, interactions_s
):
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    assert Settings().grace_ms == {
        "agent-actions": actions_s * 1000, "agent-interactions": interactions_s * 1000,
    }  # fmt: skip
    assert Settings().grace_ms_max == max(actions_s, interactions_s) * 1000


def test_a_grace_of_nothing_is_refused_by_the_name_of_its_variable(monkeypatch):
    monkeypatch.setenv("TRUEUP_GRACE_S_AGENT_ACTIONS", "0")

    with pytest.raises(SettingsProblem, match="TRUEUP_GRACE_S_AGENT_ACTIONS is '0'"):
        read_settings()

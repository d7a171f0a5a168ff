"""The worker's settings, as an operator writes them."""

import pytest
from pydantic import ValidationError

from streams.app import WorkerProblem, from_environment
from streams.settings import Settings


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

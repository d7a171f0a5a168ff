"""What a second terminal takes over from the servers that run in its folder."""

import json
import os
from pathlib import Path

import pytest

from trueup.demo import RULES, undisturbed
from trueup.running import adopt_running, announced, running_here

RUNNING = {
    "KAFKA_BOOTSTRAP": "127.0.0.1:1",
    "DATABASE_URL": "postgresql://here",
    "TRUEUP_PREFIX": "",
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_rules_of_the_running_one_are_taken_over_and_no_others() -> None:
    own = {"HOME": "/root", "TRUEUP_PREFIX": "mine-", "TRUEUP_POLICY": "mine.toml"}

    with announced(RUNNING):
        adopt_running(own)

    assert own == {"HOME": "/root", **RUNNING}


@pytest.mark.parametrize("name", ["KAFKA_BOOTSTRAP", "DATABASE_URL", "DATABASE_URL_FILE"])
def test_servers_that_the_environment_names_win(name: str) -> None:
    own = {name: "elsewhere", "TRUEUP_PREFIX": "mine-"}

    with announced(RUNNING):
        adopt_running(own)

    assert own == {name: "elsewhere", "TRUEUP_PREFIX": "mine-"}


def test_where_nothing_runs_the_environment_stays() -> None:
    own = {"TRUEUP_PREFIX": "mine-"}

    adopt_running(own)

    assert own == {"TRUEUP_PREFIX": "mine-"}


def test_what_is_announced_is_for_its_owner_alone(tmp_path: Path) -> None:
    with announced(RUNNING):
        (file,) = (tmp_path / ".trueup").iterdir()
        modes = [path.stat().st_mode & 0o777 for path in (file, file.parent)]

    assert modes == [0o600, 0o700]


def test_a_killed_one_is_not_meant_even_if_another_process_has_its_number(tmp_path: Path) -> None:
    """Its file held a password; the next one removes it."""
    with announced(RUNNING):
        (file,) = (tmp_path / ".trueup").iterdir()
        told = json.loads(file.read_text())
        killed = file.with_name(f"running-{os.getppid()}.json")
        killed.write_text(json.dumps(told | {"started": "another boot 1"}))
        os.utime(killed, (2**32, 2**32))

        here = running_here()

    assert here is not None
    assert here.pid == os.getpid()
    assert not killed.exists()


def test_the_demo_plays_by_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEUP_PARTITIONS", "7")

    assert (RULES.partitions, RULES.grace_s, RULES.policy) == (4, 3_600, None)


def test_the_demo_keeps_the_users_kafka_settings_for_the_users_kafka() -> None:
    secured = {"KAFKA_SASL_USERNAME": "ada", "TRUEUP_PREFIX": "mine-", "DATABASE_URL_FILE": "f"}

    assert undisturbed(secured, is_embedded_kafka=False) == {"KAFKA_SASL_USERNAME": "ada"}
    assert undisturbed(secured, is_embedded_kafka=True) == {}
    assert os.environ.get("PATH") == undisturbed(os.environ, is_embedded_kafka=True).get("PATH")

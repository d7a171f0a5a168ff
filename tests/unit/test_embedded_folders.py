from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from trueup.embedded.cache import cache_folder, enough_disk
from trueup.embedded.folders import private_folder, temporary_home
from trueup.embedded.ports import CHOICES, asked_port, free_port
from trueup.embedded.problems import EnvironmentProblem
from trueup.embedded.servers import servers

REPOSITORY = Path(__file__).parents[2]


def test_the_cache_is_where_trueup_cache_says() -> None:
    environ = {"TRUEUP_CACHE": "/a/cache", "XDG_CACHE_HOME": "/xdg", "HOME": "/home/ada"}

    assert cache_folder(environ) == Path("/a/cache")


def test_the_cache_is_in_the_users_cache_folder_otherwise() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/xdg", "HOME": "/home/ada"}) == Path("/xdg/trueup")


def test_too_little_disk_is_named_in_megabytes(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="has 3 MB left, and 500 MB are needed"):
        enough_disk(tmp_path, 500, free=lambda _: 3_999_999)


def test_a_private_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir(mode=0o755)

    assert private_folder(folder).stat().st_mode & 0o777 == 0o700


def test_a_disk_that_ignores_modes_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot hold mode 0700: its disk made 0777"):
        private_folder(tmp_path / "shared", mode_of=lambda _: 0o777)


def test_without_a_temporary_folder_tmpdir_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))

    with pytest.raises(EnvironmentProblem, match=r"No temporary folder can be made .* TMPDIR"):
        temporary_home()


def test_a_taken_port_that_was_asked_for_is_named() -> None:
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        port = somebody.getsockname()[1]

        with pytest.raises(EnvironmentProblem, match=f"Port {port} .* asked for Kafka, is taken"):
            asked_port(port, "Kafka")


def test_a_chosen_port_is_no_port_of_outgoing_connections() -> None:
    assert free_port() in CHOICES


def test_given_servers_are_used_and_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "kafka.example:9092")
    monkeypatch.setenv("DATABASE_URL", "postgresql://ada:secret@db.example/trueup")
    said: list[str] = []

    with servers(say=lambda text, _: said.append(text)) as given:
        assert given.kafka_bootstrap == "kafka.example:9092"
        assert given.database_url == "postgresql://ada:secret@db.example/trueup"
        assert not given.is_embedded_kafka
        assert not given.is_embedded_postgres

    assert not any("secret" in text for text in said)


def test_native_windows_is_told_of_wsl2() -> None:
    """Faked as far as it goes: the platform's name, and the Unix modules it does not have."""
    program = (
        "import sys, subprocess, tempfile, asyncio, signal\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "sys.platform = 'win32'; sys.modules['pwd'] = sys.modules['fcntl'] = None\n"
        "from trueup.embedded.servers import servers\n"
        "try:\n"
        "    with servers(): pass\n"
        "except Exception as problem: sys.stdout.write(f'{type(problem).__name__}: {problem}')\n"
    )
    environ = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(REPOSITORY)],
        capture_output=True,
        text=True,
        env=environ,
        check=False,
    )

    assert done.stdout.startswith("EnvironmentProblem: "), done.stderr
    assert "WSL2" in done.stdout

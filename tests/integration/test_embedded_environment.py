"""The embedded servers in surroundings a user may have, each made for real."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from trueup.embedded.accounts import others_reach
from trueup.embedded.cache import cache_folder
from trueup.embedded.fetch import environment
from trueup.embedded.fetch import fetch as fetch_everything
from trueup.embedded.folders import temporary_home
from trueup.embedded.problems import EnvironmentProblem
from trueup.embedded.servers import servers

REPOSITORY = Path(__file__).parents[2]
READY_S_MAX = 90.0

# Says in one line of JSON where the servers are, or what is wrong, and lives until stdin ends.
PROGRAM = """
import json, sys
from pathlib import Path
from trueup.embedded.problems import EnvironmentProblem
from trueup.embedded.servers import servers

def tell(**what):
    sys.stdout.write(json.dumps(what) + "\\n")
    sys.stdout.flush()

folder = Path(sys.argv[1]) if sys.argv[1:] else None
try:
    with servers(folder) as running:
        tell(kafka=running.kafka_bootstrap, url=running.database_url,
             pids=[running.kafka.pid, running.postgres.pid],
             folders=[str(running.kafka.folder), str(running.postgres.folder)])
        sys.stdin.read()
except EnvironmentProblem as problem:
    tell(problem=str(problem))
    sys.exit(3)
"""


class Program:
    """The program above in a process of its own."""

    def __init__(
        self,
        *words: str,
        before: tuple[str, ...] = (),
        python: str = sys.executable,
        **environ: str,
    ) -> None:
        self.process = subprocess.Popen(
            [*before, python, "-c", PROGRAM, *words],
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(self.process.communicate()[1])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """Ends it as no program can prepare for; the pipes too must not keep anything alive."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> int:
        """Lets it end in order."""
        self.process.communicate()
        return self.process.returncode


@pytest.fixture(scope="module", autouse=True)
def _everything_is_cached() -> None:
    fetch_everything()


@pytest.fixture(autouse=True)
def _nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def run() -> Iterator[Callable[..., Program]]:
    with ExitStack() as undo:

        def start(*words: str, **how: Any) -> Program:
            program = Program(*words, **how)
            undo.callback(program.kill)
            return program

        yield start


@pytest.fixture
def home() -> Iterator[Path]:
    folder = temporary_home()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def within(seconds: float, claim: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not claim() and time.monotonic() < deadline:
        time.sleep(0.05)
    return claim()


def is_gone(told: dict[str, Any]) -> bool:
    return not any(psutil.pid_exists(pid) for pid in told["pids"])


def can(*command: str) -> bool:
    """Whether this machine lets us make the surroundings at all."""
    try:
        return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_killed_with_minus_nine_nothing_stays_and_temporary_data_go(
    run: Callable[..., Program],
) -> None:
    program = run()
    told = program.told()

    program.kill()

    assert within(5, lambda: is_gone(told))
    assert within(5, lambda: not any(Path(folder).exists() for folder in told["folders"]))


def test_killed_with_minus_nine_it_starts_again_at_once_in_the_same_folder(
    run: Callable[..., Program], home: Path
) -> None:
    first = run(str(home))
    before = first.told()

    first.kill()
    second = run(str(home))
    after = second.told()

    password = [told["url"].split("@")[0] for told in (before, after)]
    assert password[0] == password[1]
    assert is_gone(before)
    assert second.end() == 0
    assert is_gone(after)


def test_two_run_side_by_side_in_a_path_with_a_space_and_an_umlaut(
    run: Callable[..., Program], home: Path
) -> None:
    plain_c = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    both = [run(str(home / name), **plain_c) for name in ("Käfer eins", "Käfer zwei")]

    told = [program.told() for program in both]

    assert len({address for one in told for address in (one["kafka"], one["url"])}) == 4
    assert [program.end() for program in both] == [0, 0]


def test_a_folder_that_another_one_uses_is_named(run: Callable[..., Program], home: Path) -> None:
    first = run(str(home))
    first.told()

    second = run(str(home))

    assert "is in use by another process" in second.told()["problem"]
    assert second.end() == 3
    assert first.end() == 0


@pytest.mark.skipif(not can("unshare", "-n"), reason="no network namespaces here")
def test_with_a_warm_cache_loopback_is_network_enough(run: Callable[..., Program]) -> None:
    loopback_only = ("unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")

    program = run(before=loopback_only)

    assert "kafka" in program.told()
    assert program.end() == 0


def test_with_a_warm_cache_a_dead_proxy_does_not_matter(run: Callable[..., Program]) -> None:
    dead = "http://127.0.0.1:9"

    program = run(HTTP_PROXY=dead, HTTPS_PROXY=dead, http_proxy=dead, https_proxy=dead)

    assert "kafka" in program.told()
    assert program.end() == 0


@pytest.mark.skipif(not can("unshare", "-r"), reason="no user namespaces here")
def test_root_that_can_become_nobody_else_is_told_so(run: Callable[..., Program]) -> None:
    program = run(before=("unshare", "-r"))

    problem = program.told()["problem"]

    assert "cannot become the user nobody" in problem
    assert "DATABASE_URL" in problem
    assert program.end() == 3


def python_for_others() -> str | None:
    """A Python of our version that a normal user can run; root's own may be out of reach."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"]
    return next((path for path in candidates if others_reach(Path(path))), None)


@pytest.mark.skipif(
    not can("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"),
    reason="we cannot become another user here",
)
@pytest.mark.skipif(python_for_others() is None, reason="no Python that another user can run")
def test_a_normal_user_needs_no_root(run: Callable[..., Program]) -> None:
    python = python_for_others()
    home = temporary_home()
    shutil.copytree(cache_folder(), home / "cache")
    subprocess.run(["chown", "-R", "nobody:nogroup", home], check=True)
    libraries = os.pathsep.join((str(REPOSITORY), sysconfig.get_path("purelib")))

    program = run(
        str(home / "servers"),
        before=("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"),
        python=python,
        HOME=str(home),
        TRUEUP_CACHE=str(home / "cache"),
        PYTHONPATH=libraries,
        PYTHONDONTWRITEBYTECODE="1",
    )
    told = program.told()

    assert "kafka" in told, told
    assert {psutil.Process(pid).username() for pid in told["pids"]} == {"nobody"}
    assert program.end() == 0
    shutil.rmtree(home)


@pytest.mark.parametrize("which", ["kafka_port", "postgres_port"])
def test_a_taken_port_that_was_asked_for_ends_the_start(which: str) -> None:
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        port = somebody.getsockname()[1]

        with (
            pytest.raises(EnvironmentProblem, match=f"Port {port} .* is taken"),
            servers(None, **{which: port}),
        ):
            pass


def test_too_little_disk_ends_the_start() -> None:
    with (
        pytest.raises(EnvironmentProblem, match="has 12 MB left"),
        servers(free=lambda _: 12_000_000),
    ):
        pass


def test_the_environment_names_what_was_chosen() -> None:
    facts = environment()

    assert facts["kafka_jars_missing"] == 0
    assert str(facts["java"]).startswith("Java ")
    assert str(facts["postgres"]).startswith("Postgres ")

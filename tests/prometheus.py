"""Prometheus and promtool for the tests: those on PATH, else out of Debian's package, cached.

The package is fetched by apt and unpacked beside the embedded servers' parts; nothing is installed
and nobody need be root.
"""

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from trueup.embedded.cache import cache_folder
from trueup.embedded.ports import free_port

FETCH_S_MAX = 180
READY_S_MAX = 30
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def program(name):
    """The path of `prometheus` or `promtool`; the test is skipped where it cannot be had."""
    if there := shutil.which(name):
        return there
    unpacked = cache_folder() / "prometheus-programs"
    if not (unpacked / name).exists():
        _unpack_debians(unpacked)
    if not (unpacked / name).exists():
        pytest.skip(f"no {name} on PATH, and none in Debian's prometheus")
    return str(unpacked / name)


def _unpack_debians(unpacked):
    """The programs of Debian's package stand in the folder, all or none."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        pytest.skip("no promtool on PATH, and no apt-get that could fetch Debian's prometheus")
    unpacked.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=unpacked.parent) as name:
        folder = Path(name)
        try:
            _fetch(folder)
            (package,) = folder.glob("prometheus_*.deb")
            subprocess.run(["dpkg", "-x", package, folder / "x"], check=True, timeout=FETCH_S_MAX)
        except (subprocess.SubprocessError, ValueError) as problem:
            pytest.skip(f"no promtool on PATH, and Debian's prometheus cannot be had: {problem}")
        with contextlib.suppress(OSError):  # another process was quicker
            (folder / "x" / "usr" / "bin").rename(unpacked)


def _fetch(folder):
    """The package is in the folder; lists of our own are read where the machine has none."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={folder}"]
    download = ["download", "prometheus"]
    if _apt(download, folder).returncode:
        _apt([*own, "update"], folder).check_returncode()
        _apt([*own, *download], folder).check_returncode()


def _apt(words, folder):
    return subprocess.run(
        ["apt-get", "-qq", *words],
        cwd=folder,
        capture_output=True,
        timeout=FETCH_S_MAX,
        check=False,
    )


class Prometheus:
    """A running Prometheus that scrapes pages every second; inside a `with`."""

    def __init__(self, folder, rules, ports):
        self._folder = folder
        self._port = free_port()
        (folder / "rules.yml").write_text(rules)
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {
                    "job_name": "trueup",
                    "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))

    def __enter__(self):
        self._log = (self._folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                program("prometheus"),
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            cwd=self._folder, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        deadline_s = time.monotonic() + READY_S_MAX
        while self._asked("/-/ready") is None:
            assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def firing(self):
        """The labels of the alerts that fire now."""
        told = json.loads(self._asked("/api/v1/alerts") or '{"data": {"alerts": []}}')
        return [a["labels"] for a in told["data"]["alerts"] if a["state"] == "firing"]

    def _asked(self, path):
        try:
            with _open(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return answer.read()
        except (urllib.error.URLError, OSError):
            return None

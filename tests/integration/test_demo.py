"""The demo and what a second terminal does with it, as a user runs them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow


def environment():
    """Nothing of the servers that the test run itself has."""
    ours = ("KAFKA_", "DATABASE_URL", "TRUEUP_PREFIX", "TRUEUP_POLICY")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def trueup(folder, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "trueup", *arguments],
        cwd=folder, env=environment() | options, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip


def test_the_demo_is_exact_and_tells_the_agents_apart(tmp_path):
    found = trueup(tmp_path, "demo", "--once", "--json")

    assert found.returncode == 0, found.stderr
    summary = json.loads(found.stdout)
    assert summary["ledger_exact"]
    assert all(summary["outcomes"].values())
    assert min(summary[n] for n in ("open", "late", "duplicates", "dead_letters")) > 0
    words = {"well calibrated": "no miscalibration seen"}
    for agent in summary["agents"]:
        assert agent["verdict"] == words.get(agent["truth"], agent["truth"]), agent


def test_the_demo_writes_into_a_pipe_that_takes_ascii_only(tmp_path):
    folder = tmp_path / "a folder with ü"
    folder.mkdir()

    found = trueup(
        folder, "demo", "--once", "--actions", "1000",
        LC_ALL="C", PYTHONIOENCODING="ascii", HTTP_PROXY="http://127.0.0.1:9",
    )  # fmt: skip

    assert found.returncode == 0, found.stderr
    assert "the ledger is exact" in found.stdout


def test_a_flipped_row_is_named_by_the_audit(tmp_path):
    demo = subprocess.Popen(
        [sys.executable, "-m", "trueup", "demo", "--actions", "1000"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for line in demo.stdout:
            if "Ctrl-C ends it" in line:
                break
        exact = trueup(tmp_path, "audit")
        assert exact.returncode == 0, exact.stdout + exact.stderr

        flipped = trueup(
            tmp_path, "sql", "--json",
            "UPDATE tenant.outcome_records SET outcome_status = 'positive' WHERE id = (SELECT id"
            " FROM tenant.outcome_records WHERE outcome_status = 'expired' LIMIT 1)"
            " RETURNING action_id",
        )  # fmt: skip
        (row,) = json.loads(flipped.stdout)
        told = trueup(tmp_path, "audit")
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(60)

    assert told.returncode == 5
    assert row["action_id"] in told.stdout
    assert demo.returncode == 130


def test_nothing_stays_after_the_demo_is_killed(tmp_path):
    demo = subprocess.Popen(
        [sys.executable, "-m", "trueup", "demo"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for line in demo.stdout:
        if line.startswith("5."):
            break
    demo.kill()
    demo.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        left = subprocess.run(
            ["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False
        ).stdout
        if not left:
            break
        time.sleep(0.5)

    again = trueup(tmp_path, "demo", "--once", "--actions", "500")

    assert again.returncode == 0, again.stderr

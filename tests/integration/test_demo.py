"""The demo and what a second terminal does with it, as a user runs them."""

import json
import os
import signal
import subprocess
import sys

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


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One run of it as the README has it; how quick it is, `benchmarks.demo` measures."""
    found = trueup(tmp_path_factory.mktemp("demo"), "demo", "--once", "--json")
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_the_demo_is_exact_and_tells_the_agents_apart(demo):
    assert demo["ledger_exact"]
    assert all(demo["outcomes"].values())
    assert min(demo[n] for n in ("open", "late", "duplicates", "dead_letters")) > 0
    words = {"well calibrated": "no miscalibration seen"}
    for agent in demo["agents"]:
        assert agent["verdict"] == words.get(agent["truth"], agent["truth"]), agent


def test_a_flipped_row_is_named_by_the_audit(tmp_path):
    demo = subprocess.Popen(
        [sys.executable, "-m", "trueup", "demo", "--actions", "1000"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True,
        # A test run in the background of a script ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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

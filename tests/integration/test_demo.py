"""The demo and what a second terminal does with it, as a user runs them."""

import json
import signal
import subprocess
import sys

import pytest

from tests.command_line import clean_environment, run_trueup
from trueup.embedded.cache import cache_folder

pytestmark = pytest.mark.slow

CACHE = {"TRUEUP_CACHE": str(cache_folder())}


def trueup(folder, *arguments, **options):
    return run_trueup(folder, *arguments, settings=CACHE | options, timeout_s=240)


MOVES = {
    "well calibrated": (False, False),
    "over-confident": (True, False),
    "under-confident": (False, True),
}
"""Whether the threshold goes up, and whether it goes down."""


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
        found = agent["calibration"]
        is_off = agent["truth"] != "well calibrated"
        assert (found["verdict"] == "miscalibrated") is found["is_alarmed"] is is_off, agent
        moved = found["threshold"] - found["first_threshold"]
        assert (moved > 0, moved < 0) == MOVES[agent["truth"]], agent


def test_a_flipped_row_is_named_by_the_audit(tmp_path):
    demo = subprocess.Popen(
        [sys.executable, "-m", "trueup", "demo", "--actions", "1000"],
        cwd=tmp_path, env=clean_environment() | CACHE, stdout=subprocess.PIPE, text=True,
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

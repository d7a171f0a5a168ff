"""The demo's agents are told apart by the calibrator, whatever the seed."""

import json
import re
from functools import cache
from pathlib import Path
from random import Random

import pytest

from benchmarks.demo_seeds import (
    Found,
    alarms,
    by_agent,
    calibrated,
    has_drift,
    has_resolution,
    lead_pairs,
    redrawn,
    settled_outcomes,
    shuffled,
    tallies,
)
from trueup.demo_agents import OVER_CONFIDENT, UNDER_CONFIDENT, WELL_CALIBRATED
from trueup.demo_workload import workload

SEEDS = (1, 2)
ROOT = Path(__file__).parents[2]


@cache
def outcomes_of(seed):
    return settled_outcomes(workload(seed))


@cache
def found_of(seed):
    return calibrated(seed, outcomes_of(seed))


def waited_ms(outcome):
    return outcome.resolved_at_ms - outcome.created_at_ms


@pytest.mark.parametrize("seed", SEEDS)
def test_miscalibrated_agents_are_alarmed_named_and_moved_and_calibrated_ones_left_alone(seed):
    for one in found_of(seed):
        if one.truth == WELL_CALIBRATED:
            assert (one.alarm_n, len(one.moves)) == (None, 1), one
            assert one.verdict in ("calibrated", "no evidence")
        else:
            assert one.verdict == "miscalibrated", one
            assert one.is_named_right and one.is_moved_right, one


def test_each_agent_is_found_once():
    assert [(row["seeds"], len(row["verdicts"])) for row in tallies(found_of(1))] == [(1, 1)] * 8


def test_what_is_named_or_moved_the_wrong_way_is_not_right():
    def found(truth, named, at_threshold, *moves):
        return Found(1, "a", truth, 9, "miscalibrated", 3.0, 5, named, at_threshold, [*moves])

    over = found(OVER_CONFIDENT, OVER_CONFIDENT, OVER_CONFIDENT, 0.7, 0.8, 0.75)
    mixed = found(OVER_CONFIDENT, OVER_CONFIDENT, UNDER_CONFIDENT, 0.7, 0.8, 0.7)
    under = found(UNDER_CONFIDENT, UNDER_CONFIDENT, UNDER_CONFIDENT, 0.7, 0.75, 0.6)
    still = found(UNDER_CONFIDENT, OVER_CONFIDENT, OVER_CONFIDENT, 0.7)

    assert [one.is_named_right for one in (over, mixed, under, still)] == [True, False, True, False]
    assert [one.is_moved_right for one in (over, mixed, under, still)] == [True] + [False] * 3


def test_shuffling_deals_out_the_same_outcomes_and_leaves_no_structure():
    told = outcomes_of(1)
    dealt = list(shuffled(Random(1), told))

    for before, after in zip(by_agent(told), by_agent(dealt), strict=True):
        assert sorted(o.status for o in before) == sorted(o.status for o in after)
        assert [o.id for o in before] == [o.id for o in after]
        assert sorted(map(waited_ms, before)) == sorted(map(waited_ms, after))
    assert dealt != told
    streams = [lead_pairs(stream) for stream in by_agent(dealt)]
    assert sum(map(has_resolution, streams)) <= 2
    assert sum(map(has_drift, streams)) <= 1
    assert sum(has_resolution(lead_pairs(stream)) for stream in by_agent(told)) >= 6


def test_outcomes_drawn_at_the_stated_rate_give_hardly_an_alarm():
    drawn = list(redrawn(Random(1), outcomes_of(1)))

    assert alarms(calibrated(1, drawn)) <= 1
    assert alarms(found_of(1)) == 5


def test_drift_and_resolution_are_found_where_they_are():
    still = [(700_000, k % 2) for k in range(400)]
    drifting = [(700_000, int(k >= 200)) for k in range(400)]
    telling = [(300_000 if k % 4 else 800_000, int(k % 4 == 0)) for k in range(400)]

    assert [has_drift(pairs) for pairs in (still, drifting, telling)] == [False, True, False]
    assert has_resolution(telling)
    assert not has_resolution([(300_000 + 500_000 * (k % 2), k // 2 % 2) for k in range(400)])


def test_the_page_tells_what_was_recorded():
    seen = json.loads((ROOT / "benchmarks/results/demo_seeds.json").read_text("utf-8"))
    page = (ROOT / "docs/calibration.md").read_text("utf-8")
    section = page.split("## The demo over twenty seeds\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in row.split("|")[1:-1]]
        for row in section.splitlines()
        if "|" in row
    ]

    told = {row[0]: row[1:] for row in rows}

    for one in seen["agents"]:
        right = [one["alarm_at_n_latest"], one["named_right"], one["moved"], one["moved_right"]]
        verdicts = sorted(f"{count} {word}" for word, count in one["verdicts"].items())
        truth, alarm, *cells, words = told[one["agent"]]
        assert (truth, alarm) == (one["truth"], f"{one['alarmed']} of {one['seeds']}")
        assert cells == ["–" if value is None else str(value) for value in right]
        assert sorted(words.split(", ")) == verdicts
    alarmed = sum(one["alarmed"] for one in seen["agents"])
    assert told["as they were"] == [f"{alarmed}", f"{seen['resolution']}", ""]
    assert told["drawn at the stated rate"] == [f"{seen['alarms_redrawn']}", "", ""]
    names = ("alarms_shuffled", "resolution_shuffled", "drift_shuffled")
    assert told["shuffled within the stream"] == [f"{seen[name]}" for name in names]
    assert re.search(
        rf"\*must\* have an alarm: {seen['alarms_shuffled']} of {seen['streams']} ", section
    )

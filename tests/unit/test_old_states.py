"""A state that a release has once written is read for ever, and is the same state.

A folder under `tests/fixtures/state` is never changed and never taken away: changelogs outlive the
releases that wrote them. Each has the rows of a task's changelog, and the policy that they name;
beside it stands what the task knew that wrote them, and what became of what came then.
"""

import json

import msgspec
import pytest

from agents_topics.policy_file import load_policy
from streams.changelog import PROGRESS_KEY, decode, progress_of
from tests.frozen_state import LIVED, RESTORED, SAID, STATES, flat

VERSIONS = sorted(path.name for path in STATES.iterdir() if path.is_dir())
FILES = {"policy.toml", *(f"{task}.msgpack" for task in LIVED)}


def frozen_rows(version, task):
    return dict(msgspec.msgpack.decode((STATES / version / f"{task}.msgpack").read_bytes()))


def flat_rows(rows):
    return flat({repr(key): decode(value) for key, value in rows.items()})


FIELDS_SINCE = {"v1": {"channel"}}
"""Fields of outcomes that the release of a version did not know: null of what it left."""

KINDS_SINCE = {"v1": "/trend/"}
"""Kinds of records that it did not know, in their keys: it told none."""


def as_told_by(version, said):
    """What is said now, of what the release of a version could say."""
    if version not in FIELDS_SINCE:
        return said
    said, added = without(FIELDS_SINCE[version], said), KINDS_SINCE[version]
    if "told" not in said:
        return said
    return said | {"told": {key: one for key, one in said["told"].items() if added not in key}}


def without(fields, said):
    if isinstance(said, list):
        return [without(fields, one) for one in said]
    if isinstance(said, dict):
        assert {said[name] for name in fields & said.keys()} <= {None}
        return {name: without(fields, one) for name, one in said.items() if name not in fields}
    return said


@pytest.mark.parametrize("task", LIVED)
@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_state_is_what_its_task_knew_and_goes_on_as_it_would_have(version, task):
    policy = load_policy(STATES / version / "policy.toml")
    told = json.loads((STATES / f"{version}.decoded.json").read_text("utf-8"))[task]

    restored = RESTORED[task](frozen_rows(version, task), policy)

    said = SAID[task](restored, told["then"])
    assert flat(as_told_by(version, json.loads(json.dumps(said)))) == flat(told["said"])


@pytest.mark.parametrize("task", LIVED)
def test_what_this_release_writes_is_what_is_frozen_last(task):
    """Where it differs, the new rows are to be frozen too: `python -m tests.frozen_state vN`."""
    rows, _ = LIVED[task]()

    assert flat_rows(rows) == flat_rows(frozen_rows(VERSIONS[-1], task))


def test_what_is_frozen_second_has_a_trend_that_is_shown_and_goes_on():
    rows = frozen_rows("v2", "calibrator")
    told = json.loads((STATES / "v2.decoded.json").read_text("utf-8"))["calibrator"]["said"]["told"]

    assert {key[:1] for key in rows} - {key[:1] for key in frozen_rows("v1", "calibrator")} == {
        b"n"
    }
    trends = {key.rpartition("/")[2]: one for key, one in told.items() if "/qualify/" in key}
    assert {trends[m]["supported_direction"] for m in ("success_rate", "calibration_gap")} == {
        "declining"
    }
    assert trends["success_rate"]["n"] == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_a_state_says_the_oldest_format_that_holds_its_rows(version):
    """So a release that knows no other refuses the calibrator's alone."""
    formats = [progress_of(frozen_rows(version, t)[PROGRESS_KEY], t).format for t in sorted(LIVED)]

    assert formats == {"v1": [1, 1], "v2": [2, 1]}[version]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_frozen_file_is_read(version):
    assert {path.name for path in (STATES / version).iterdir()} == FILES


def test_what_is_frozen_first_has_every_kind_of_row_and_an_alarm_that_closes_then():
    kinds = {task: {key[:1] for key in frozen_rows("v1", task)} for task in LIVED}
    said = json.loads((STATES / "v1.decoded.json").read_text("utf-8"))

    assert kinds == {
        "outcome-resolver": {b"a", b"d", b"i", b"l", b"p"},
        "calibrator": {b"b", b"d", b"f", b"g", b"h", b"l", b"o", b"p", b"r", b"t"},
    }
    (alarm,) = [one for key, one in said["calibrator"]["said"]["told"].items() if "/alarm/" in key]
    assert alarm["closed_by"] == "agent version"
    counts = said["outcome-resolver"]["said"]["counts"]
    assert {counts[f"agent-actions/{fate}"] for fate in ("duplicate", "dead", "late")} == {1}

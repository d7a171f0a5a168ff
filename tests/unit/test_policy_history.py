"""What a policy file may change of the past: nothing; of the future: everything."""

import pytest

from agents_topics.events import to_ms
from agents_topics.policy_file import parse_policy
from agents_topics.policy_history import changes_of_history, record_of

VERSION = """
[[version]]
{begin}
[[version.action_types.send]]
type = "reply"
calibrates = true
window_hours = {hours}
signals = []
"""
NOW_MS = to_ms("2026-01-10T00:00:00Z")


def file_of(*versions):
    text = "".join(
        VERSION.format(begin=f'effective_from = "{begin}"' if begin else "", hours=hours)
        for begin, hours in versions
    )
    return parse_policy(text, "rules.toml")


PAST, FUTURE = "2026-01-05T00:00:00Z", "2026-01-20T00:00:00Z"
SOON, LATER = "2026-01-10T00:10:00Z", "2026-01-10T00:10:00.001Z"
"""An event may be ten minutes ahead of the broker's clock."""
RECORDED = file_of((None, 24), (PAST, 12), (FUTURE, 6))


def changes(*versions):
    recorded = [record_of(version) for version in RECORDED.versions]
    return changes_of_history(recorded, file_of(*versions), NOW_MS)


@pytest.mark.parametrize(
    "versions",
    [
        [(None, 24), (PAST, 12), (FUTURE, 6)],
        [(None, 24), (PAST, 12)],
        [(None, 24), (PAST, 12), (FUTURE, 7)],
        [(None, 24), (PAST, 12), (LATER, 5), (FUTURE, 6)],
        [(None, 24), ("2026-01-03T00:00:00Z", 9), (PAST, 12)],
    ],
)
def test_what_has_not_begun_may_come_change_and_go(versions):
    assert changes(*versions) == []


@pytest.mark.parametrize(
    ("versions", "told"),
    [
        ([(None, 24)], "lacks the version in force since 2026-01-05"),
        ([(None, 25), (PAST, 12)], "line 2: the version in force since the beginning was"),
        ([(None, 24), (PAST, 13)], "rules.toml, line 10: the version in force since 2026-01-05"),
    ],
)
def test_what_has_begun_stays_as_it_was(versions, told):
    (problem,) = changes(*versions)

    assert told in problem


@pytest.mark.parametrize(("begin", "is_refused"), [(SOON, True), (LATER, False)])
def test_an_event_may_have_been_judged_ten_minutes_ahead_of_the_clock(begin, is_refused):
    recorded = [record_of(version) for version in file_of((None, 24), (begin, 12)).versions]

    assert bool(changes_of_history(recorded, file_of((None, 24)), NOW_MS)) == is_refused


def test_where_nothing_was_recorded_every_file_is_good():
    assert changes_of_history([], RECORDED, NOW_MS) == []

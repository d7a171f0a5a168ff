"""Two versions of the rules a week apart, a restart between: live and replayed say the same."""

import pytest

from agents_topics.events import to_timestamp
from agents_topics.policy_file import parse_policy
from tables.replay import Replay
from tests.resolver_task import (
    ACTIONS,
    GRACE,
    HOUR,
    INTERACTIONS,
    START,
    Record,
    Task,
    decoded,
    law_of,
)

WEEK = 7 * 24
RULE = """
[[version.action_types.qualify]]
type = "deal_progression"
calibrates = true
window_hours = {hours}
signals = [{{ kind = "call_held", means = "{means}" }}]
"""
POLICY = parse_policy(
    "[[version]]\n"
    + RULE.format(hours=24, means="positive")
    + f'\n[[version]]\neffective_from = "{to_timestamp(START + WEEK * HOUR)}"\n'
    + RULE.format(hours=48, means="negative")
)


def action(hours):
    return ACTIONS, hours, {"action_type": "qualify", "predicted_confidence": 0.5}


def call(hours):
    return INTERACTIONS, hours, {"kind": "call_held"}


STORY = [
    [action(0), call(1)],
    [action(WEEK - 1), action(WEEK)],
    [call(WEEK + 10)],
    [action(WEEK + 100), call(WEEK + 130)],
]
"""The second step's actions lie before and at the change, and the call that both hear is after."""


def live(restarts_after):
    task, settled = Task(POLICY), []
    for number, records in enumerate(STORY):
        settled += [o for o in task.step(*records).outcomes if o.is_settled]
        if number in restarts_after:
            task.restart()
    return settled + task.settle()


def replayed():
    replay = Replay(POLICY, GRACE, [(ACTIONS, 0), (INTERACTIONS, 0)], {})
    offset, settled = 0, []
    for records in STORY:
        for topic, hours, fields in records:
            offset += 1
            event = decoded(topic, f"e{offset}", hours, **fields)
            replay.take((topic, 0), [Record(offset, START + 9_999 * HOUR)], [event])
        settled += replay.finish()
    return settled + list(replay.end(START + 9_000 * HOUR))


@pytest.mark.parametrize("restarts_after", [(), (0,), (1,), (2,), (0, 1, 2, 3)])
def test_live_with_a_restart_between_and_the_replay_are_identical(restarts_after):
    said = [law_of(outcome) for outcome in live(restarts_after)]

    assert said == [law_of(outcome) for outcome in replayed()]
    assert [told["status"] for told in said] == ["positive", "positive", "negative", "negative"]
    assert len({told["policy_version"] for told in said}) == 2

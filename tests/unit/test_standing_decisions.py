"""What people decided that still stands is said again by a command, and nothing else is."""

import pytest

from tests.told import every_kind
from trueup.standing_decisions import commands_of

TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
OF = f"{TENANT} send_email"
STREAM = "--outcome-type email_engagement --source judge"


def told(table, **changes):
    one = every_kind(TENANT)[table]
    for name, value in changes.items():
        setattr(one, name, value)
    return one


def adjusted(number, cause, threshold, reason=""):
    return told(
        "threshold_adjustments", number=number, cause=cause, new_threshold=threshold, reason=reason
    )


def alarm(number, closed_by):
    return told("calibration_alarms", number=number, closed_by=closed_by)


def test_a_threshold_that_is_held_is_set_where_it_stands_by_whom_and_why():
    records = [
        adjusted(2, "set", 0.65, "set by ann: spring sale"),
        adjusted(1, "evidence", 0.7),
    ]

    assert commands_of(records) == [
        f"trueup thresholds set {OF} 0.65 {STREAM} --by ann --because 'spring sale'"
    ]


def test_one_that_was_taken_back_is_held_where_it_went_and_one_that_was_released_is_not():
    back = adjusted(3, "roll_back", 0.6, "taken back by bob")

    assert commands_of([adjusted(2, "set", 0.65), back]) == [
        f"trueup thresholds set {OF} 0.6 {STREAM} --by bob --because 'held before'"
    ]
    assert commands_of([back, adjusted(4, "release", 0.6)]) == []


@pytest.mark.parametrize(("closed_by", "count"), [("person", 1), (None, 0), ("policy", 0)])
def test_an_alarm_is_closed_again_where_a_person_closed_the_last_one(closed_by, count):
    commands = commands_of([alarm(1, "person"), alarm(2, closed_by)])

    closing = f"trueup alarms close {OF} {STREAM} --because 'closed before'"
    assert commands == [closing] * count

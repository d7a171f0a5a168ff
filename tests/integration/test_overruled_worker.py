"""A person's threshold through a live worker: set, held against evidence, taken back, released.

Every other day agents say .9 and half of it comes true; a clock record closes the windows. People
decide of the emails, nobody of the chats, whose threshold follows the same evidence. The worker is
started anew between a decision and the evidence after it.
"""

import asyncio
import json
import time
from dataclasses import asdict

import pytest

from agents_topics.connection import connection_of
from agents_topics.events import to_timestamp
from agents_topics.identifiers import key_of, tenant_id_of
from agents_topics.topics import (
    AGENT_ACTIONS,
    AGENT_INTERACTIONS,
    DAY_MS,
    HOUR_MS,
    THRESHOLD_ADJUSTMENTS,
    TREND_CHANGES,
)
from sinks.postgres.calibration_readings import (
    calibration_streams,
    calibration_trends,
    threshold_adjustments,
)
from trueup.demo_workload import START_MS, Record
from trueup.emit import send_clock, send_records
from trueup.topic_reader import TopicReader

pytestmark = pytest.mark.slow

TENANT = tenant_id_of("acme")
EMAIL, CHAT = "send_email", "send_chat"
A_DAY = 120
WAIT_S = 60


def record(topic, conversation, at_ms, **fields):
    body = {
        "event_id": "e", "tenant_id": TENANT, "conversation_id": conversation,
        "occurred_at": to_timestamp(at_ms), **fields,
    }  # fmt: skip
    key = key_of(TENANT, conversation).encode()
    return Record(topic.name, key, json.dumps(body).encode(), at_ms)


def every_second(number):
    return bool(number % 2)


def none(number):
    return False


def a_day(day, is_answered=every_second):
    """Actions of both types, and the replies to some of them."""
    for number in range(A_DAY):
        at_ms = START_MS + day * DAY_MS + number * 1000
        for action_type in (EMAIL, CHAT):
            conversation = f"{action_type}-{day}-{number}"
            said = {"action_type": action_type, "predicted_confidence": 0.9}
            yield record(AGENT_ACTIONS, conversation, at_ms, **said)
            if is_answered(number):
                yield record(
                    AGENT_INTERACTIONS, conversation, at_ms + HOUR_MS, kind="reply_received"
                )


def known(stack):
    """Where both streams stand, and all adjustments, the first ones first, as Postgres has them."""

    async def read():
        url = stack.settings["DATABASE_URL"]
        return await calibration_streams(url), await threshold_adjustments(url, per_stream=99)

    streams, adjustments = asyncio.run(read())
    told = {action_type: [] for action_type in (EMAIL, CHAT)}
    for one in reversed(adjustments):
        told[one.action_type].append(one)
    return {one.action_type: one for one in streams}, told


def wait_until(stack, is_reached):
    deadline_s = time.monotonic() + WAIT_S
    while not is_reached(found := known(stack)):
        assert time.monotonic() < deadline_s, found
        time.sleep(0.1)
    return found


def act(stack, day, is_answered=every_second):
    """A day's actions have settled and are judged; returns what is known then."""
    connection = connection_of(stack.settings)
    asyncio.run(send_records(connection, a_day(day, is_answered)))
    asyncio.run(send_clock(connection, to_timestamp(promised_after(day) + HOUR_MS), 1))
    n = A_DAY * (1 + day // 2)
    return wait_until(stack, lambda found: [one.n for one in found[0].values()] == [n, n])


def promised_after(day):
    """Up to this settle time all has settled once a day's clock record is applied."""
    return START_MS + (day + 1) * DAY_MS + HOUR_MS


def decide(stack, *words, because):
    """A decision through the command line, once it is in Postgres."""
    action, *value = words
    count = len(known(stack)[1][EMAIL])
    said = ("--because", because, "--by", "ada")
    stack.trueup("thresholds", action, TENANT, EMAIL, *value, *said)
    return wait_until(stack, lambda found: len(found[1][EMAIL]) > count)


def last_of(stack, topic):
    """What readers of a compacted topic see last of each key."""

    async def read():
        async with TopicReader(connection_of(stack.settings)) as reader:
            records = reader.records(topic.name, await reader.spans(topic.name))
            return {record.key: json.loads(record.value) async for record in records}

    return asyncio.run(read())


def followed(stack):
    """What agents that follow the topic see last of each stream."""
    last = last_of(stack, THRESHOLD_ADJUSTMENTS)
    return {told["action_type"]: told for told in last.values()}


def check_trends(stack):
    """Of a day on which nothing came true every reader knows; and the comparisons of before, some
    of them by another process, are counted.
    """
    last = last_of(stack, TREND_CHANGES)
    trends = asyncio.run(calibration_trends(stack.settings["DATABASE_URL"]))
    assert len(last) == len(trends) == 4
    for trend in trends:
        stream = f"{TENANT}/{trend.action_type}/email_engagement/{DAY_MS}/unknown"
        shown = last[f"{stream}/{trend.metric}".encode()]
        assert shown == asdict(trend)
        assert (shown["compared_count"], shown["supported_direction"]) == (5, "declining")
    said = " ".join(stack.trueup("curve", TENANT, EMAIL).split())
    assert "success: 0 % of the last 100, 40 % of the 100 before: declining, and the" in said


def told_of(adjustment):
    return (
        adjustment.cause, adjustment.old_threshold, adjustment.new_threshold, adjustment.reason,
        adjustment.at_ms,
    )  # fmt: skip


@pytest.mark.soak
def test_a_persons_threshold_holds_through_evidence_and_restarts_until_it_is_released(stack):
    streams, told = act(stack, day=0)
    moved = [0.7, streams[EMAIL].threshold_millionths / 1e6]
    assert [a.cause for a in told[EMAIL]] == ["evidence"]

    _, told = decide(stack, "set", "0.6", because="spring sale")
    was_set = told[EMAIL][1]
    assert told_of(was_set) == (
        "set", moved[1], 0.6, "set by ada: spring sale", promised_after(0),
    )  # fmt: skip
    assert followed(stack)[EMAIL] == asdict(was_set)
    stack.restart()
    streams, told = act(stack, day=2)

    assert (streams[EMAIL].threshold_millionths, streams[EMAIL].is_threshold_held) == (
        600_000,
        True,
    )
    assert [a.cause for a in told[EMAIL]] == ["evidence", "set"]
    assert [a.cause for a in told[CHAT]] == ["evidence", "evidence"]
    assert streams[CHAT].threshold_millionths > 800_000
    effect = told[EMAIL][1]
    assert (effect.observed_n_after, effect.observed_after) == (100, 0.5)

    _, told = decide(stack, "roll-back", because="it made things worse")
    assert told_of(told[EMAIL][2]) == (
        "roll_back", 0.6, moved[1], "taken back by ada: it made things worse", promised_after(2),
    )  # fmt: skip
    streams, told = act(stack, day=4)
    assert streams[EMAIL].threshold_millionths == round(moved[1] * 1e6)
    assert streams[EMAIL].is_threshold_held
    assert len(told[EMAIL]) == 3

    _, told = decide(stack, "release", because="the sale is over")
    assert told_of(told[EMAIL][3])[:3] == ("release", moved[1], moved[1])
    streams, told = act(stack, day=6)
    assert [a.cause for a in told[EMAIL][4:]] == ["evidence"]
    assert not streams[EMAIL].is_threshold_held
    assert streams[EMAIL].threshold_millionths > moved[1] * 1e6
    assert followed(stack) == {name: asdict(own[-1]) for name, own in told.items()}

    act(stack, day=8, is_answered=none)
    check_trends(stack)
    assert "exact" in stack.trueup("audit")

"""What people decide of thresholds and alarms reaches `control`, with the printed rights alone."""

import asyncio
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents_topics.codec import decode_control
from agents_topics.connection import Connection
from agents_topics.events import CloseAlarm, ThresholdOverride
from sinks.postgres.writer import PostgresWriter
from tests.secured_installation import PARTITIONS, trueup
from tests.stored_stream import Agent, folded, outcomes_of, store

TYPE = "recommend_action"
STREAM = "recommend_action -> meeting_outcome within 3 days, confidence from judge"


@pytest.fixture(scope="module")
def tenants(live):
    """One whose alarm is open, and one without."""
    over, honest = str(uuid.uuid4()), str(uuid.uuid4())

    async def write():
        async with PostgresWriter(live.settings["DATABASE_URL"]) as writer:
            for tenant, agent in ((over, Agent(days=20)), (honest, Agent(excess=0.0, days=10))):
                outcomes = outcomes_of(tenant, agent)
                await store(writer, outcomes, folded(outcomes))

    asyncio.run(write())
    return over, honest


async def last_of_control(live):
    """The last record of each partition of `control`."""
    connection = Connection(bootstrap=live.secured.broker.bootstrap, prefix=live.prefix)
    consumer = AIOKafkaConsumer(**connection.client_options(), enable_auto_commit=False)
    await consumer.start()
    try:
        name, found = connection.topic("control"), []
        for number in range(PARTITIONS):
            place = TopicPartition(name, number)
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            if end:
                consumer.seek(place, end - 1)
                found.append(decode_control((await consumer.getone()).value))
        return found
    finally:
        await consumer.stop()


@pytest.mark.parametrize(
    ("words", "of", "says", "fields"),
    [
        (
            "thresholds set TENANT TYPE 0.65",
            "thresholds-set",
            "threshold goes to 0.65",
            {"action": "set", "value": 0.65},
        ),
        (
            "thresholds roll-back TENANT TYPE --source judge",
            "thresholds-roll-back",
            "threshold goes back by one change",
            {"action": "roll_back", "confidence_source": "judge"},
        ),
        (
            "thresholds release TENANT TYPE --outcome-type meeting_outcome",
            "thresholds-release",
            "threshold is released",
            {"action": "release", "outcome_type": "meeting_outcome"},
        ),
        ("alarms close TENANT TYPE", "alarms-close", "alarm is closed", {"kind": "close_alarm"}),
    ],
    ids=lambda value: value if isinstance(value, str) and value.count(" ") > 2 else "",
)
def test_a_decision_is_in_every_partition_with_who_and_why(live, tenants, words, of, says, fields):
    said = words.replace("TENANT", tenants[0]).replace("TYPE", TYPE).split()
    said += ["--by", "ada", "--because", "the price list changes"]

    done = trueup(live.user(of, of), *said)

    assert done.returncode == 0, done.stderr
    assert done.stdout.replace("→", "->") == f"{STREAM}: {says}.\n"
    records = asyncio.run(last_of_control(live))
    assert len(records) == PARTITIONS
    assert len({record.event_id for record in records}) == 1
    kind = CloseAlarm if of == "alarms-close" else ThresholdOverride
    told = fields | {
        "tenant_id": tenants[0], "action_type": TYPE, "reviewer": "ada",
        "because": "the price list changes",
    }  # fmt: skip
    assert isinstance(records[0], kind)
    assert {name: getattr(records[0], name) for name in told} == told


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("alarms close HONEST TYPE", 4, "no alarm of recommend_action is open"),
        ("thresholds set OVER send_email 0.6", 4, "nothing of send_email has settled"),
        ("thresholds set OVER TYPE 0.6 --source human", 4, "nothing of recommend_action has"),
        ("thresholds set OVER TYPE 1.6", 2, "less than or equal to 1"),
    ],
)
def test_what_would_change_nothing_is_not_sent(live, tenants, words, code, says):
    over, honest = tenants
    before = asyncio.run(last_of_control(live))
    said = words.replace("OVER", over).replace("HONEST", honest).replace("TYPE", TYPE).split()

    done = trueup(live.user("nobody", "clock"), *said, "--because", "why not")

    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert asyncio.run(last_of_control(live)) == before


def test_a_decision_needs_its_reason_and_its_right(live, tenants):
    words = ("thresholds", "set", tenants[0], TYPE, "0.6")

    silent = trueup(live.user("silent", "thresholds-set"), *words)
    denied = trueup(live.user("denied", "explain"), *words, "--because", "why not")

    assert (silent.returncode, "--because" in silent.stderr) == (2, True)
    assert (denied.returncode, "Write on topic" in denied.stderr) == (3, True), denied.stderr

"""Every example of the contract's page is run as it stands, against a real broker."""

import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents_topics.calibration import calibrated_confidence
from agents_topics.codec import Decoded, Decoder
from agents_topics.connection import Connection
from streams.partitioner import partitions_of
from streams.topic_admin import create_topics
from tests.unit.test_followed_map import LOGISTIC
from tests.unit.test_followed_map import read as read_map
from tests.unit.test_followed_map import sent as sent_by_calibrator
from trueup.check import EVENT_TYPES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "contract.md").read_text("utf-8")
PARTITIONS = 7


def block(language, name):
    found = re.findall(rf"^```{language} {name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, (language, name)
    return found[0]


@pytest.fixture
async def connection(kafka_bootstrap):
    """Topics of the test's own: their prefix is put before the page's names."""
    made = Connection(bootstrap=kafka_bootstrap, prefix=f"p{uuid.uuid4().hex[:8]}-")
    await create_topics(made, PARTITIONS)
    return made


def run(command, connection=None, cwd=ROOT):
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(paths)}
    if connection:
        environment["KAFKA_BOOTSTRAP"] = connection.bootstrap
        names = r"\b(agent-(?=[a-z]+s\b|feedback\b)|calibration-(?=maps\b))"
        command = [re.sub(names, rf"{connection.prefix}\1", part) for part in command]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


async def sent(connection):
    """By event id what stands in the input topics; each is good, and where murmur2 puts it."""
    reader = AIOKafkaConsumer(**connection.client_options(), enable_auto_commit=False)
    topics = {connection.topic(name): name for name in EVENT_TYPES}
    decoders = {name: Decoder(event_type) for name, event_type in EVENT_TYPES.items()}
    places = [TopicPartition(name, partition) for name in topics for partition in range(PARTITIONS)]
    events = {}
    await reader.start()
    try:
        reader.assign(places)
        await reader.seek_to_beginning(*places)
        ends = await reader.end_offsets(places)
        while any([await reader.position(place) < end for place, end in ends.items()]):
            fetched = await reader.getmany(timeout_ms=200)
            for record in (record for records in fetched.values() for record in records):
                topic = topics[record.topic]
                decoded = decoders[topic].decode(record.key, record.value, record.headers)
                assert isinstance(decoded, Decoded), decoded
                assert partitions_of([record.key], PARTITIONS) == [record.partition]
                events[decoded.event.event_id] = (topic, record, decoded.event)
        return events
    finally:
        await reader.stop()


def test_check_tells_line_field_and_reason(tmp_path):
    ran = run(["sh", "-c", block("sh", "check")], cwd=tmp_path)

    assert ran.returncode == 4, ran.stderr
    assert ran.stdout.startswith(block("text", "check")), ran.stdout + ran.stderr


def test_a_schema_tells_it_too():
    ran = run([sys.executable, "-c", block("python", "schema")])

    assert ran.stdout == block("text", "schema"), ran.stderr


async def test_python_sends_without_trueup(connection):
    code = block("python", "plain")
    assert "trueup" not in code.lower()

    ran = run([sys.executable, "-c", code], connection)

    assert ran.returncode == 0, ran.stderr
    events = await sent(connection)
    assert {name: topic for name, (topic, _, _) in events.items()} == {
        "p1": "agent-actions", "p2": "agent-interactions", "p3": "agent-feedback",
    }  # fmt: skip
    assert events["p2"][2].label == "positive"


async def test_python_sends_a_structured_cloudevent(connection):
    ran = run([sys.executable, "-c", block("python", "cloudevent")], connection)

    assert ran.returncode == 0, ran.stderr
    ((topic, record, event),) = (await sent(connection)).values()
    assert (topic, event.kind) == ("agent-interactions", "reply_received")
    assert b"crm-992" in record.value


async def test_an_agent_follows_the_map_of_its_stream_and_without_one_its_own_confidence(
    connection,
):
    outs, _ = sent_by_calibrator(LOGISTIC)
    writer = AIOKafkaProducer(**connection.client_options())
    await writer.start()
    for out in outs["calibration-maps"]:
        await writer.send_and_wait(connection.topic("calibration-maps"), out.value, out.key)
    await writer.stop()

    ran = run([sys.executable, "-c", block("python", "following")], connection)

    corrected = calibrated_confidence(read_map(outs["calibration-maps"][-1].value), 0.82)
    assert corrected == pytest.approx(0.6, abs=0.1)
    assert ran.stdout.splitlines() == [
        f"send_email says 0.82, expect {corrected:.3f}",
        "send_email says 0.2, expect 0.200",
        "make_call says 0.82, expect 0.820",
        "make_call says 0.2, expect 0.200",
    ], ran.stderr


@pytest.mark.skipif(not shutil.which("kcat"), reason="kcat is not installed")
async def test_kcat_sends_plain_events_and_cloudevents(connection):
    for name in ("kcat", "kcat-cloudevent"):
        ran = run(["sh", "-ec", block("sh", name)], connection)
        assert ran.returncode == 0, ran.stderr

    events = await sent(connection)

    assert {name: topic for name, (topic, _, _) in events.items()} == {
        "k1": "agent-actions", "k2": "agent-interactions", "c1": "agent-interactions",
    }  # fmt: skip
    assert dict(events["c1"][1].headers)["ce_id"] == b"crm-991"


def test_every_example_of_the_page_is_run():
    named = set(re.findall(r"^```(\w+ [\w-]+)$", PAGE, re.MULTILINE))

    assert named == {
        "sh check", "text check", "python schema", "text schema", "sh kcat", "python plain",
        "sh kcat-cloudevent", "python cloudevent", "python following",
    }  # fmt: skip
    assert len(re.findall(r"^```\w", PAGE, re.MULTILINE)) == len(named)

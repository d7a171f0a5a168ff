"""Dead letters of many reasons are listed, shown, mended and sent again, each once."""

import asyncio
import json
import os
import sys
import time
import uuid
from collections import Counter
from contextlib import asynccontextmanager, contextmanager

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced
from typer.testing import CliRunner

from agents_topics.connection import connection_of
from agents_topics.identifiers import key_of
from agents_topics.policy_file import DEFAULT_POLICY_TOML, load_policy
from agents_topics.rights import REDRIVE
from sinks.postgres.migrate import migrate
from sinks.postgres.provenance import outcomes_of_action
from sinks.postgres.queries import run_sql
from streams.partitioner import partitions_of
from streams.topic_admin import create_topics
from tests.faults.runs import GRACE_MS, Gauge
from trueup.commands.dead_letters import command
from trueup.emit import send_clock
from trueup.explain import gather
from trueup.explain_story import story_lines
from trueup.ledger import audit_database
from trueup.worker_process import WorkerProcess

TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
PARTITIONS = 4
ACTIONS, INTERACTIONS = "agent-actions", "agent-interactions"
ADDED_VERSION = """
[[version]]
effective_from = "2026-01-05T12:00:00Z"
[[version.action_types.send_email]]
type = "email_engagement"
calibrates = true
window_hours = 24
signals = [{ kind = "reply_received", means = "positive" }]
[[version.action_types.call]]
type = "answer"
calibrates = true
window_hours = 24
signals = [{ kind = "reply_received", means = "positive" }]
"""
MENDED_NUMBER = f"{sys.executable} -c \"import sys; i = sys.stdin.read(); print(i.replace('\\\"0.5\\\"', '0.5'))\""  # noqa: E501


def home_of(conversation):
    return partitions_of([key_of(TENANT, conversation).encode()], PARTITIONS)[0]


def neighbours(count):
    """Conversations of one partition, so that their times meet."""
    names = [f"c{number}" for number in range(200)]
    return [name for name in names if home_of(name) == 0][:count]


C = neighbours(12)


def event(event_id, conversation, at, **fields):
    body = {
        "event_id": event_id,
        "tenant_id": TENANT,
        "conversation_id": conversation,
        "occurred_at": f"2026-01-05T{at}Z",
        **fields,
    }
    if "kind" not in fields:
        body = {"action_type": "send_email", "predicted_confidence": 0.5, **body}
    return json.dumps(body).encode()


@contextmanager
def patched_environment(settings):
    held = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(held)


class Bench:
    """Workers on topics of their own, and the command as a user runs it."""

    def __init__(self, servers, url, folder):
        self.policy = folder / "policy.toml"
        self.policy.write_text(DEFAULT_POLICY_TOML)
        self.settings = {
            "KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
            "DATABASE_URL": url,
            "TRUEUP_PREFIX": f"d{uuid.uuid4().hex[:8]}-",
            "TRUEUP_POLICY": str(self.policy),
            "TRUEUP_DATA_FOLDER": str(folder / "worker"),
            "TRUEUP_PARTITIONS": str(PARTITIONS),
        }
        self.url, self.folder = url, folder
        self.connection = connection_of(self.settings)
        self.worker = None

    async def start_worker(self):
        self.worker = WorkerProcess(self.settings, self.folder / "worker.log")
        await self.worker.wait_until_ready()

    async def put(self, topic, value, conversation=None, partition=None, headers=()):
        key = None if conversation is None else key_of(TENANT, conversation).encode()
        if partition is None:
            partition = 0 if key is None else partitions_of([key], PARTITIONS)[0]
        name = self.connection.topic(topic)
        await self.producer.send_and_wait(
            name, value, key, partition=partition, headers=list(headers)
        )

    async def run(self, *words, code=0):
        """The command's output, as JSON where it was asked for."""
        with patched_environment(self.settings):
            done = await asyncio.to_thread(CliRunner().invoke, command, words)
        assert done.exit_code == code, (words, done.output, done.exception)
        return json.loads(done.stdout_bytes) if "--json" in words else done.stdout_bytes

    async def reach(self, **counts):
        """Workers have put so many records into these classes."""
        deadline_s = time.monotonic() + 40
        while True:
            status = await asyncio.to_thread(self.worker.status)
            found = Counter()
            for task in (status or {}).get("tasks", ()):
                for name, count in task.get("counts", {}).items():
                    found[name.rpartition("/")[2]] += count
            if all(found[name] >= count for name, count in counts.items()):
                return found
            assert time.monotonic() < deadline_s, (found, counts)
            await asyncio.sleep(0.2)

    async def settled(self, count):
        """The settled outcomes, once there are so many and all are in bins."""
        deadline_s = time.monotonic() + 60
        while True:
            rows = await run_sql(
                self.url,
                "SELECT action_id, outcome_type, outcome_status, decided_by FROM"
                " tenant.outcome_records WHERE is_settled",
            )
            bins = await run_sql(
                self.url,
                "SELECT coalesce(sum(n + excluded_n), 0) FROM tenant.calibration_stream_bins"
                " WHERE record_set = 'all'",
            )
            if len(rows.rows) == int(bins.rows[0][0]) == count:
                return {row[0]: row[1:] for row in rows.rows}
            assert time.monotonic() < deadline_s, (rows.rows, bins.rows)
            await asyncio.sleep(0.3)

    async def settled_rows(self, count):
        """So many outcomes are settled, calibrating or not."""
        deadline_s = time.monotonic() + 60
        asked = "SELECT count(*) FROM tenant.outcome_records WHERE is_settled"
        while (await run_sql(self.url, asked)).rows[0][0] != count:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.3)

    async def records(self, *topics):
        async with Gauge(self.connection) as gauge:
            return [record for topic in topics for record in await gauge.records(topic)]


@pytest.fixture
async def bench(servers, own_database_url, tmp_path):
    made = Bench(servers, own_database_url, tmp_path)
    await asyncio.to_thread(migrate, own_database_url)
    await create_topics(made.connection, PARTITIONS)
    made.producer = AIOKafkaProducer(**made.connection.client_options(), max_request_size=4 << 20)
    await made.producer.start()
    try:
        yield made
    finally:
        await made.producer.stop()
        if made.worker:
            made.worker.stop()


async def send_everything(bench):
    """Letters of every kind that a redrive treats apart, among good records."""
    put = bench.put
    for number in range(7):
        await put(ACTIONS, event(f"a{number}", C[number], "10:00:00"), C[number])
    await put(INTERACTIONS, event("r9", C[9], "10:30:00", kind="reply_received"), C[9])
    own = [("trace", b"\xff\x00"), ("none", None), ("__connect.errors.topic", b"elsewhere")]
    cut = event("r0", C[0], "10:10:00", kind="reply_received")[:-1]
    await put(INTERACTIONS, cut, C[0], headers=own)  # json_invalid
    await put(ACTIONS, event("call", C[7], "13:00:00", action_type="call"), C[7])
    stray = event("r1", C[1], "10:10:00", kind="reply_received")
    await put(INTERACTIONS, stray, C[1], partition=1)  # wrong_partition
    await put(INTERACTIONS, event("r2", C[2], "10:10:00", kind="reply_received"))  # no_key
    await put(ACTIONS, event("b1", C[8], "10:00:00", predicted_confidence="0.5"), C[8])
    await put(ACTIONS, event("b2", C[8], "10:01:00", predicted_confidence="0.5"), C[8])
    await put(ACTIONS, event("b2", C[8], "10:01:00"), C[8])  # its producer mended it by then
    await put(ACTIONS, event("a3", C[3], "10:00:01"), C[3])  # conflict
    await put(INTERACTIONS, event("r4", C[4], "08:00:00", kind=""), C[4])  # late once mended
    pad = "x" * 1_000_000
    await put(ACTIONS, event("big", C[9], "10:00:00", predicted_confidence="0.5", pad=pad), C[9])
    await put("control", b'{"kind": "clock", "event_id": "k", "until": "soon\x1b[2J"}')


def ids(listing, **wanted):
    """Ids of the listed letters with these fields."""
    return [
        letter["id"]
        for letter in listing["letters"]
        if all(letter[name] == value for name, value in wanted.items())
    ]


@pytest.mark.slow
async def test_letters_are_listed_mended_and_sent_again_once(bench):
    await bench.start_worker()
    await send_everything(bench)
    await bench.reach(dead=10, admitted=9)
    bench.worker.stop()
    bench.policy.write_text(DEFAULT_POLICY_TOML + ADDED_VERSION)
    await bench.start_worker()

    listing = await check_list(bench)
    await check_show(bench, listing)
    await send_unchanged(bench)
    lines = await send_mended(bench, listing)
    await send_anyway(bench, listing, lines)
    await send_the_rest(bench)

    await send_clock(bench.connection, "2026-01-08T00:00:00Z", PARTITIONS)
    assert await bench.settled(11) == {
        "a0": ("email_engagement", "positive", "r0"),
        "a1": ("email_engagement", "positive", "r1"),
        "a2": ("email_engagement", "positive", "r2"),
        **{f"a{n}": ("email_engagement", "expired", None) for n in (3, 4, 5, 6)},
        "b1": ("email_engagement", "expired", None),
        "b2": ("email_engagement", "expired", None),
        "big": ("email_engagement", "positive", "r9"),
        "call": ("answer", "expired", None),
    }
    # r1 first came into a foreign partition, and its letter stands in the story beside it.
    (located,) = await outcomes_of_action(bench.url, "a1")
    policy = load_policy(bench.policy)
    case = await gather(bench.connection, policy, [located])
    story = " ".join(" ".join(story_lines(case, GRACE_MS)).split())
    assert "reply_received r1 (sent again after it was refused) is positive, and decides" in story
    assert "reply_received r1 counts for nothing: dead letter 1:0: wrong_partition" in story
    report = await audit_database(bench.connection, policy, bench.url, GRACE_MS)
    assert report.is_exact, str(report)


async def check_list(bench):
    """What there is: by reason, the newest first, and no payload."""
    listing = await bench.run("list", "--json")
    assert listing["count_by_reason"] == {
        "string_too_short": 1, "conflict": 1, "float_type": 3, "json_invalid": 2, "no_key": 1,
        "unknown_action_type": 1, "wrong_partition": 1,
    }  # fmt: skip
    times = [letter["at"] for letter in listing["letters"]]
    assert times == sorted(times, reverse=True)
    said = await bench.run("list")
    assert b"0.5" not in said
    assert b"\x1b" not in said
    assert len(ids(await bench.run("list", "--json", "--tenant", "acme"))) == 8
    assert len(ids(await bench.run("list", "--json", "--topic", "control"))) == 1
    assert ids(await bench.run("list", "--json", "--since", "0s")) == []
    return listing


async def check_show(bench, listing):
    """Raw bytes are raw, and what is shown cannot steer a terminal."""
    (bad_clock,) = ids(listing, topic="control")
    said = await bench.run("show", bad_clock)
    assert rb"soon\x1b[2J" in said
    assert b"\x1b" not in said
    (cut,) = ids(listing, reason="json_invalid", topic=INTERACTIONS)
    raw = await bench.run("show", cut, "--raw")
    assert raw == event("r0", C[0], "10:10:00", kind="reply_received")[:-1]
    (big,) = [letter["id"] for letter in listing["letters"] if letter["is_pointer"]]
    assert len(await bench.run("show", big, "--raw")) > 1_000_000


async def send_unchanged(bench):
    """What was mended elsewhere is sent, the rest is held back and says why."""
    foreseen = await bench.run("redrive", "--all", "--dry-run", "--json", code=4)
    assert {one["reason"]: one["does"] for one in foreseen["letters"]} == {
        "string_too_short": "held", "conflict": "held", "float_type": "held",
        "json_invalid": "held", "no_key": "held",
        "unknown_action_type": "send", "wrong_partition": "send",
    }  # fmt: skip
    assert await sent(bench) == {}
    async with interrupted(bench):
        for _ in range(2):
            await bench.run("redrive", "--reason", "wrong_partition")
    assert await sent(bench) == {b"wrong_partition": 1}


@asynccontextmanager
async def interrupted(bench):
    """Another redrive has written and not committed; once this one has begun, it cannot."""
    connection = bench.connection
    other = AIOKafkaProducer(
        **connection.client_options(), transactional_id=connection.topic(REDRIVE)
    )
    await other.start()
    try:
        await other.begin_transaction()
        headers = [("trueup.redriven.from", b"nowhere/0/0")]
        await other.send_and_wait(connection.topic(ACTIONS), b"{}", partition=0, headers=headers)
        yield
        with pytest.raises(ProducerFenced):
            await other.commit_transaction()
    finally:
        await other.stop()


async def send_mended(bench, listing):
    """By a command, by a file, by the key from the body; and again, which sends nothing."""
    (late,) = ids(listing, reason="string_too_short")
    (cut,) = ids(listing, reason="json_invalid", topic=INTERACTIONS)
    lines = [
        b'{"letter": "%s", "event": %s}' % (letter.encode(), body)
        for letter, body in (
            (cut, event("r0", C[0], "10:10:00", kind="reply_received")),
            (late, event("r4", C[4], "08:00:00", kind="reply_received")),
        )
    ]
    mended = bench.folder / "mended.ndjson"
    mended.write_bytes(b"\n".join(lines))
    for _ in range(2):
        told = await bench.run("redrive", "--file", str(mended), code=4)
        assert b"late: it happened 2026-01-05 08:00:00 UTC" in told
        await bench.run("redrive", "--reason", "float_type", "--edit", MENDED_NUMBER)
        await bench.run("redrive", "--reason", "no_key", "--rekey")
    assert await sent(bench) == {
        b"wrong_partition": 1, b"json_invalid": 1, b"no_key": 1, b"float_type": 2,
    }  # fmt: skip
    resent = [r for r in await bench.records(INTERACTIONS) if redriven_from(r)]
    (r0,) = [r for r in resent if json.loads(r.value)["event_id"] == "r0"]
    own = [("trace", b"\xff\x00"), ("none", None), ("__connect.errors.topic", b"elsewhere")]
    assert list(r0.headers)[:3] == own
    return lines


async def send_anyway(bench, listing, lines):
    """It becomes what was foretold, and its letter says so."""
    (late,) = ids(listing, reason="string_too_short")
    (conflict,) = ids(listing, reason="conflict")
    for _ in range(2):
        await bench.run("redrive", late, "--file", str(mended_alone(bench, lines[1])), "--anyway")
        await bench.run("redrive", conflict, "--anyway")
    found = await bench.reach(dead=11, late=1)
    assert (found["dead"], found["late"], found["duplicate"]) == (11, 1, 0)
    assert b"and became dead letter" in await bench.run("show", conflict)
    assert b"was late" in await bench.run("show", late)


async def send_the_rest(bench):
    """What the policy knows by now; last, since it moves its topic's time beyond the others."""
    for _ in range(2):
        await bench.run("redrive", "--all", code=4)
    counts = await sent(bench)
    assert counts[b"unknown_action_type"] == 1
    assert set(counts.values()) == {1, 2}


def mended_alone(bench, line):
    path = bench.folder / "alone.ndjson"
    path.write_bytes(json.dumps(json.loads(line)["event"]).encode())
    return path


def redriven_from(record):
    return dict(record.headers).get("trueup.redriven.from")


async def sent(bench):
    """How many records were sent again, by the reason that their letters give."""
    letters = await bench.records("dead-letters")
    reasons = {}
    for letter in letters:
        told = {name: value for name, value in letter.headers}
        place = b"/".join(told[f"__connect.errors.{n}"] for n in ("topic", "partition", "offset"))
        reasons[place] = told["__connect.errors.exception.class.name"]
    resent = [r for r in await bench.records(ACTIONS, INTERACTIONS, "control") if redriven_from(r)]
    return Counter(reasons[redriven_from(record)] for record in resent)

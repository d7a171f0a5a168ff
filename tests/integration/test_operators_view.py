"""What `trueup status` and `trueup doctor` say of real servers, well and not."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from agents_topics.connection import connection_of
from agents_topics.identifiers import tenant_id_of
from sinks.postgres.migrate import migrate
from streams.partitioner import partitions_of
from streams.topic_admin import create_topics
from tests.command_line import run_trueup
from tests.topic_configs import configure
from trueup.worker_process import WorkerProcess

PARTITIONS = 4
TENANT = tenant_id_of("acme")


@pytest.fixture(scope="module")
def stack(
    kafka_bootstrap: str, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, str], str]]:
    """Settings, and the page of a worker that has settled some of what was sent."""
    folder = tmp_path_factory.mktemp("stack")
    settings = {
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "DATABASE_URL": database_url,
        "TRUEUP_PREFIX": f"view-{uuid.uuid4().hex[:8]}-",
        "TRUEUP_DATA_FOLDER": str(folder),
        "TRUEUP_IDLE_AFTER_S": "3600",  # silence moves no time while we look
    }
    migrate(database_url)
    asyncio.run(create_topics(connection_of(settings), PARTITIONS))
    worker = WorkerProcess(settings, folder / "worker.log")
    try:
        asyncio.run(worker.wait_until_ready())
        events = folder / "events.ndjson"
        events.write_text("".join(json.dumps(event) + "\n" for event in sent()))
        emitted = trueup(folder, settings, "emit", str(events))
        assert emitted.returncode == 0, emitted.stderr
        asyncio.run(send_bad(settings))
        clock = trueup(folder, settings, "clock", "--until", "2026-02-03T00:00:00Z")
        assert clock.returncode == 0, clock.stderr
        wait_until_written(folder, settings, worker.url)
        yield settings, worker.url
    finally:
        worker.stop()


def sent() -> Iterator[dict[str, Any]]:
    """Eight conversations, half of them answered; one action sent twice, one after the clock."""
    for number in range(8):
        action = {
            "event_id": f"a{number}",
            "tenant_id": TENANT,
            "conversation_id": f"c{number}",
            "action_type": "send_email",
            "predicted_confidence": 0.8,
            "occurred_at": "2026-02-01T09:00:00Z",
        }
        yield action
        if number == 0:
            yield action
        if number % 2:
            yield {
                "event_id": f"i{number}",
                "tenant_id": TENANT,
                "conversation_id": f"c{number}",
                "kind": "reply_received",
                "occurred_at": "2026-02-01T10:00:00Z",
            }
    yield action | {"event_id": "open", "occurred_at": "2026-02-02T12:00:00Z"}


async def send_bad(settings: dict[str, str]) -> None:
    """A record that is no event."""
    producer = AIOKafkaProducer(bootstrap_servers=settings["KAFKA_BOOTSTRAP"])
    await producer.start()
    await producer.send_and_wait(settings["TRUEUP_PREFIX"] + "agent-actions", b"{", b"k")
    await producer.stop()


def trueup(folder: Path, settings: dict[str, str], *words: str) -> Any:
    return run_trueup(folder, *words, settings=settings)


def wait_until_written(folder: Path, settings: dict[str, str], page: str) -> None:
    for _ in range(40):
        told = json.loads(
            trueup(folder, settings, "status", "--json", "--worker", page).stdout or "{}"
        )
        if sum(told["settled"].values()) == 8 and not any(w["behind"] for w in told["published"]):
            return
    raise AssertionError(told)


def test_status_shows_tasks_times_counts_and_what_is_written(
    stack: tuple[dict[str, str], str], tmp_path: Path
) -> None:
    settings, page = stack

    done = trueup(tmp_path, settings, "status", "--json", "--worker", page)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["unreachable"] == {}
    assert told["workers"] == {page: True}
    assert [task["state"] for task in told["tasks"]] == ["running"] * 3 * PARTITIONS
    actions = {name: count for name, count in told["counts"]["agent-actions"].items() if count}
    assert actions == {"admitted": 9, "duplicate": 1, "dead": 1}
    assert told["settled"] == {"positive": 4, "expired": 4}
    assert told["open"] == 1
    assert sum(told["dead_letters"].values()) == 1
    resolvers = [task for task in told["tasks"] if task["agent"] == "outcome-resolver"]
    until_ms = 1_770_076_800_000  # 2026-02-03T00:00:00Z
    assert {task["settled_until_ms"] for task in resolvers} == {until_ms - 3_600_000}
    assert all(task["watermark_lag_s"] > 0 for task in resolvers)
    assert all(task["times_ms"]["agent-actions"] == until_ms for task in resolvers)
    assert [sum(task["lag"].values()) for task in told["tasks"]] == [0] * 3 * PARTITIONS
    assert all(row["position"] <= row["end"] for row in told["published"])
    counted = {(r["outcome_status"], r["is_settled"]): r["count"] for r in told["outcomes"]}
    assert counted == {("positive", True): 4, ("expired", True): 4, ("pending", False): 1}
    assert told["last_outcome"]["tenant_id"] == TENANT
    assert told["last_outcome"]["is_in_postgres"]


def test_status_is_one_screen_and_holds_no_password(
    stack: tuple[dict[str, str], str], tmp_path: Path
) -> None:
    settings, page = stack

    done = trueup(tmp_path, settings, "status", "--worker", page)

    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    assert any(line.startswith("outcomes: 1 open; settled expired 4, positive 4") for line in lines)
    password = settings["DATABASE_URL"].rpartition("@")[0].rpartition(":")[2]
    assert password not in done.stdout


def test_without_a_workers_page_times_and_counts_come_from_the_changelogs(
    stack: tuple[dict[str, str], str], tmp_path: Path
) -> None:
    settings, page = stack
    with_page = json.loads(trueup(tmp_path, settings, "status", "--json", "--worker", page).stdout)

    done = trueup(tmp_path, settings, "status", "--json", "--worker", "http://127.0.0.1:9")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told["unreachable"]) == ["workers"]
    assert "http://127.0.0.1:9" in told["unreachable"]["workers"]
    assert {task["state"] for task in told["tasks"]} == {"elsewhere"}
    for name in ("counts", "settled", "dead_letters", "outcomes"):
        assert told[name] == with_page[name]
    settled = [[task["settled_until_ms"] for task in both["tasks"]] for both in (told, with_page)]
    assert settled[0][:PARTITIONS] == settled[1][:PARTITIONS]


@pytest.mark.parametrize(
    ("away", "is_left"),
    [("KAFKA_BOOTSTRAP", "outcomes"), ("DATABASE_URL", "counts")],
)
def test_a_server_that_is_away_is_one_sentence_and_the_others_are_told(
    stack: tuple[dict[str, str], str], tmp_path: Path, away: str, is_left: str
) -> None:
    settings, page = stack
    nowhere = {"KAFKA_BOOTSTRAP": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d"}

    done = trueup(tmp_path, settings | {away: nowhere[away]}, "status", "--json", "--worker", page)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    (sentence,) = told["unreachable"].values()
    assert away in sentence
    assert told[is_left]
    assert told["workers"] == {page: True}


def test_where_nothing_can_be_reached_status_ends_with_3(tmp_path: Path) -> None:
    nowhere = {"KAFKA_BOOTSTRAP": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d"}

    done = trueup(tmp_path, nowhere, "status", "--worker", "http://127.0.0.1:9")

    assert done.returncode == 3
    assert [line[:2] for line in done.stdout.splitlines()] == ["! "] * 3
    assert "Traceback" not in done.stderr


# --- doctor --------------------------------------------------------------------------------------


def found(done: Any) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in json.loads(done.stdout)}


def test_doctor_finds_all_well_and_tries_a_transaction(
    stack: tuple[dict[str, str], str], tmp_path: Path
) -> None:
    settings, _ = stack

    done = trueup(tmp_path, settings | {"TRUEUP_WEB_PORT": "0"}, "doctor", "--json", "--kafka")

    findings = found(done)
    failed = [
        f for f in findings.values() if f["word"] == "FAIL" and "partitioner" not in f["name"]
    ]
    assert failed == []
    assert findings["transactions"]["said"].startswith("committed with offsets and read back")
    assert findings["broker's clock"]["word"] == "ok"
    assert findings["compaction"]["said"].startswith("old values of a key go")
    assert findings["row level security"]["word"] == "ok"
    topics = asyncio.run(listed(settings))
    assert not [name for name in topics if "doctor-" in name]


async def listed(settings: dict[str, str]) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings["KAFKA_BOOTSTRAP"])
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()


def test_doctor_names_what_breaks_the_contract_with_the_fix(
    kafka_bootstrap: str, own_database_url: str, tmp_path: Path
) -> None:
    """An input by CreateTime, a changelog that deletes, a short retention, CRC32's partitions."""
    settings = {
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "DATABASE_URL": own_database_url,
        "TRUEUP_PREFIX": f"sick-{uuid.uuid4().hex[:8]}-",
    }
    asyncio.run(create_topics(connection_of(settings), PARTITIONS))
    asyncio.run(make_sick(settings))

    done = trueup(tmp_path, settings, "doctor", "--json")

    assert done.returncode == 3
    findings = found(done)
    prefix = settings["TRUEUP_PREFIX"]
    actions = findings[f"topic {prefix}agent-actions"]
    assert actions["said"] == "message.timestamp.type is CreateTime, not LogAppendTime"
    assert f"--entity-name {prefix}agent-actions --add-config" in actions["fix"]
    assert "cleanup.policy" in findings[f"topic {prefix}calibrator-changelog"]["said"]
    assert "retention.ms is 60000" in findings[f"topic {prefix}agent-interactions"]["said"]
    assert findings[f"topic {prefix}outcomes"]["word"] == "ok"
    assert "murmur2_random" in findings["partitioner of agent-interactions"]["fix"]
    assert findings["schema"]["said"] == "there is none"
    assert "trueup migrate" in findings["schema"]["fix"]


async def make_sick(settings: dict[str, str]) -> None:
    prefix = settings["TRUEUP_PREFIX"]
    changes = {
        "agent-actions": {"message.timestamp.type": "CreateTime"},
        "calibrator-changelog": {"cleanup.policy": "compact,delete"},
        "agent-interactions": {"retention.ms": "60000", "message.timestamp.type": "LogAppendTime"},
    }
    admin = AIOKafkaAdminClient(bootstrap_servers=settings["KAFKA_BOOTSTRAP"])
    await admin.start()
    await configure(admin, {prefix + topic: configs for topic, configs in changes.items()})
    await admin.close()
    await send_astray(settings)


async def send_astray(settings: dict[str, str]) -> None:
    """A record where its key does not belong."""
    key = b"tenant/conversation"
    (right,) = partitions_of([key], PARTITIONS)
    producer = AIOKafkaProducer(bootstrap_servers=settings["KAFKA_BOOTSTRAP"])
    await producer.start()
    topic = settings["TRUEUP_PREFIX"] + "agent-interactions"
    await producer.send_and_wait(topic, b"{}", key, partition=(right + 1) % PARTITIONS)
    await producer.stop()


def test_topics_check_names_a_producer_with_another_partitioner(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    prefix = f"astray-{uuid.uuid4().hex[:8]}-"
    settings = {"KAFKA_BOOTSTRAP": kafka_bootstrap, "TRUEUP_PREFIX": prefix}
    asyncio.run(create_topics(connection_of(settings), PARTITIONS))
    well = trueup(tmp_path, settings, "topics", "check")
    asyncio.run(send_astray(settings))

    done = trueup(tmp_path, settings, "topics", "check")

    assert (well.returncode, well.stdout) == (0, "Every topic is as it must be.\n")
    assert done.returncode == 3
    (line,) = done.stdout.splitlines()
    assert line.startswith("FAIL  partitioner of agent-interactions: 1 of the newest 1 keys")
    assert "murmur2_random" in line


def test_doctor_names_a_table_whose_security_was_lifted_and_a_role_past_it(
    own_database_url: str, kafka_bootstrap: str, tmp_path: Path
) -> None:
    migrate(own_database_url)
    asyncio.run(lift_security(own_database_url))

    done = trueup(
        tmp_path,
        {"DATABASE_URL": own_database_url, "KAFKA_BOOTSTRAP": kafka_bootstrap},
        "doctor",
        "--json",
    )

    assert done.returncode == 3
    security = found(done)["row level security"]
    assert (security["word"], security["said"]) == ("FAIL", "not forced on outcome_records")


async def lift_security(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("ALTER TABLE tenant.outcome_records NO FORCE ROW LEVEL SECURITY")
    await connection.close()


def test_where_nothing_was_set_up_each_command_says_so_in_a_line(
    kafka_bootstrap: str, own_database_url: str, tmp_path: Path
) -> None:
    settings = {
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "DATABASE_URL": own_database_url,
        "TRUEUP_PREFIX": f"bare-{uuid.uuid4().hex[:8]}-",
        "TRUEUP_DATA_FOLDER": str(tmp_path),
    }

    done = {name: trueup(tmp_path, settings, name) for name in ("worker", "audit", "status")}

    for name in ("worker", "audit"):
        assert done[name].returncode == 3, done[name].stderr
        assert "agent-actions is missing: `trueup topics create`" in done[name].stderr
        assert "Traceback" not in done[name].stderr
    assert done["status"].returncode == 0
    assert "`trueup migrate` makes" in done["status"].stdout
    assert "`trueup topics create` makes them" in done["status"].stdout

"""Each command does its work with what `trueup acls` prints for it; what lacks is named."""

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from agents_topics.rights import Right
from agents_topics.roster import AGENTS
from tests.secured_installation import NO_PAGE, TENANT, Installation, events, printed, trueup
from trueup.worker_process import WorkerProcess


@pytest.fixture(scope="module")
def used(live: Installation, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Outcomes are open and one record was refused; the worker has gone."""
    folder = tmp_path_factory.mktemp("used")
    file = written(folder)
    options = {"partitioner": "murmur2_random"}
    poison = Producer({"bootstrap.servers": live.secured.broker.bootstrap, **options})
    poison.produce(live.prefix + "agent-actions", b"no JSON", key=f"{TENANT}/c1".encode())
    poison.flush()
    worker = WorkerProcess(live.user("worker", "worker"), folder / "worker.log")
    try:
        asyncio.run(worker.wait_until_ready())
        done = trueup(live.user("producer", "emit"), "emit", file)
        assert done.returncode == 0, done.stderr
        asyncio.run(wait_until_open(worker, live.settings["DATABASE_URL"]))
    finally:
        worker.stop()
    return live


async def wait_until_open(worker: WorkerProcess, url: str) -> None:
    """Until every action is open and has its row."""
    database = await asyncpg.connect(url)
    async with asyncio.timeout(60):
        while True:
            tasks = (worker.status() or {}).get("tasks", ())
            rows = await database.fetchval("SELECT count(*) FROM tenant.outcome_records")
            if sum(t.get("open", 0) for t in tasks) == rows == 8:
                break
            await asyncio.sleep(0.2)
    await database.close()


def written(folder: Path) -> str:
    file = folder / "events.ndjson"
    file.write_text("".join(json.dumps(event) + "\n" for event in events()))
    return str(file)


def run(settings: dict[str, str], words: str, folder: Path) -> Any:
    """Runs a command; `EVENTS` stands for a file of them."""
    return trueup(settings, *words.replace("EVENTS", written(folder)).split())


SOAK = pytest.mark.soak
POLICY = "policy check --recorded"
LABEL = "label a1 positive --at 2026-02-01T10:30:00Z"
STATUS = f"status --json --worker {NO_PAGE}"


def test_a_repartition_needs_what_is_printed_under_both_prefixes_and_names_what_lacks(
    used: Installation, tmp_path: Path
) -> None:
    """The first of all: a forget record that nobody has applied forbids it."""
    settings = used.user(f"just-{uuid.uuid4().hex[:6]}", "repartition")
    user, prefix = settings["KAFKA_SASL_USERNAME"], f"wide-{uuid.uuid4().hex[:6]}-"
    used.secured.allow(user, printed(user, prefix, "repartitioned"))
    read = Right("topic", used.prefix + "late-events", "Read")
    words = f"repartition --to {prefix} --partitions 3"

    used.secured.take_back(user, [read])
    less = run(settings, words, tmp_path)
    used.secured.allow(user, [read])
    done = run(settings, f"{words} --yes", tmp_path)

    assert less.returncode == 3, less.stdout + less.stderr
    assert f"User {user} lacks {read};" in less.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It is done." in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "of", "says"),
    [
        ("explain a1", "explain", "Action a1"),
        ("forget acme", "forget", "Nothing was changed."),
        ("doctor", "doctor", "All is well."),
        ("dead-letters list", "dead-letters", "json_invalid"),
        ("dead-letters redrive --all --anyway", "dead-letters-redrive", "1 sent."),
        ("rebuild", "rebuild", "there is nothing to rebuild"),
        pytest.param("dead-letters list --json", "dead-letters", "json_invalid", marks=SOAK),
        pytest.param("topics check", "topics-check", "as it must be", marks=SOAK),
        pytest.param("emit EVENTS", "emit", "to agent-actions", marks=SOAK),
        pytest.param(LABEL, "label", "", marks=SOAK),
        pytest.param("policy show", "policy", "send_email", marks=SOAK),
        pytest.param(POLICY, "policy", "Good", marks=SOAK),
        pytest.param("pending", "clock", "email_engagement", marks=SOAK),
        pytest.param("doctor --kafka", "doctor-kafka", "All is well.", marks=SOAK),
        pytest.param(STATUS, "status", "dead_letters", marks=SOAK),
    ],
)
def test_what_is_printed_for_a_command_suffices(
    used: Installation, tmp_path: Path, words: str, of: str, says: str
) -> None:
    settings = used.user(f"just-{uuid.uuid4().hex[:6]}", of)

    done = run(settings, words, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert says in done.stdout
    assert done.stderr == ""


def test_what_is_printed_for_forget_lets_it_ask_the_tasks(
    used: Installation, tmp_path: Path
) -> None:
    """No worker runs, so nobody does it; that the command may ask and look is seen."""
    settings = used.user(f"just-{uuid.uuid4().hex[:6]}", "forget")

    done = run(settings, "forget nobody --yes --wait 1", tmp_path)

    assert done.returncode == 3
    assert "was sent, and the tasks of partitions" in done.stdout, done.stdout + done.stderr
    assert done.stderr == ""


def test_what_is_printed_for_a_replay_suffices(used: Installation, tmp_path: Path) -> None:
    """It tells on stderr how far it is."""
    settings = used.user(f"just-{uuid.uuid4().hex[:6]}", "replay")

    done = run(settings, f"replay --processes 2 --shadow s{uuid.uuid4().hex[:6]}", tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 open" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "of", "taken"),
    [
        ("worker", "worker", [("group", "trueup", "Read"), ("topic", "outcomes", "Write")]),
        ("emit EVENTS", "emit", [("topic", "agent-interactions", "Write")]),
        ("audit", "audit", [("topic", "late-events", "Read")]),
        ("explain a1", "explain", [("group", "trueup", "Describe")]),
        ("forget acme", "forget", [("topic", "forgotten", "Read")]),
        ("doctor", "doctor", [("topic", "control", "DescribeConfigs")]),
        ("topics create", "topics-create", [("topic", "control", "Describe")]),
        pytest.param(
            "worker", "worker", [("topic", "control", "DescribeConfigs")], marks=SOAK
        ),
        pytest.param(
            "topics check", "topics-check", [("topic", "policies", "Describe")], marks=SOAK
        ),
        pytest.param(
            "clock --until 2026-01-01T00:00:00Z", "clock", [("topic", "control", "Write")],
            marks=SOAK,
        ),
        pytest.param("rebuild", "rebuild", [("topic", "outcomes", "Read")], marks=SOAK),
        pytest.param("rebuild", "rebuild", [("group", "trueup", "Read")], marks=SOAK),
        pytest.param(LABEL, "label", [("topic", "agent-interactions", "Write")], marks=SOAK),
        pytest.param(POLICY, "policy", [("topic", "policies", "Write")], marks=SOAK),
        pytest.param(POLICY, "policy", [("topic", "policies", "Read")], marks=SOAK),
        pytest.param("explain a1", "explain", [("topic", "outcomes", "Read")], marks=SOAK),
        pytest.param(
            "dead-letters list", "dead-letters", [("topic", "redriven-letters", "Read")],
            marks=SOAK,
        ),
        pytest.param(
            "dead-letters redrive --all --anyway", "dead-letters-redrive",
            [("topic", "dead-letters", "Read")], marks=SOAK,
        ),
        pytest.param("doctor --kafka", "doctor-kafka", [("topic", "outcomes", "Read")], marks=SOAK),
        pytest.param("replay --shadow s", "replay", [("topic", "outcomes", "Read")], marks=SOAK),
        pytest.param("replay --shadow s", "replay", [("topic", "late-events", "Read")], marks=SOAK),
    ],
)  # fmt: skip
def test_a_right_less_and_the_command_names_it(
    used: Installation,
    tmp_path: Path,
    words: str,
    of: str,
    taken: list[tuple[Any, str, Any]],
) -> None:
    settings = used.user(f"less-{uuid.uuid4().hex[:6]}", of)
    rights = [Right(resource, used.prefix + name, operation) for resource, name, operation in taken]
    used.secured.take_back(settings["KAFKA_SASL_USERNAME"], rights)

    done = run(settings, words, tmp_path)

    assert done.returncode == 3, done.stdout + done.stderr
    (sentence,) = (line for line in (done.stdout + done.stderr).splitlines() if "lacks" in line)
    told = ", ".join(map(str, rights))
    assert f"User {settings['KAFKA_SASL_USERNAME']} lacks {told};" in sentence
    assert "Traceback" not in done.stderr


@pytest.mark.soak
@pytest.mark.parametrize(
    ("words", "of", "right", "told"),
    [
        (
            "dead-letters redrive --all --anyway", "dead-letters-redrive",
            ("transactional-id", "trueup-redrive", "Write", False),
            "denies Write on transactional-id {}trueup-redrive;",
        ),
        *(
            (
                "doctor --kafka", "doctor-kafka", (resource, "doctor-", operation, True),
                f" {operation} on {resource} {{}}doctor-",
            )
            for resource, operation in (
                ("topic", "Create"), ("topic", "Read"), ("topic", "Write"), ("topic", "Delete"),
                ("group", "Read"), ("transactional-id", "Write"),
            )
        ),
    ],
)  # fmt: skip
def test_a_right_that_cannot_be_asked_for_is_named_when_it_is_denied(
    used: Installation, tmp_path: Path, words: str, of: str, right: Any, told: str
) -> None:
    settings = used.user(f"less-{uuid.uuid4().hex[:6]}", of)
    resource, name, operation, is_prefix = right
    taken = Right(resource, used.prefix + name, operation, is_prefix)
    used.secured.take_back(settings["KAFKA_SASL_USERNAME"], [taken])

    done = run(settings, words, tmp_path)

    assert done.returncode == 3, done.stdout + done.stderr
    assert told.format(used.prefix) in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.soak
def test_topics_are_created_with_the_printed_rights_and_the_one_that_is_denied_is_named(
    used: Installation, tmp_path: Path
) -> None:
    prefix = f"fresh-{uuid.uuid4().hex[:6]}-"
    fresh = Installation.__new__(Installation)
    fresh.secured, fresh.prefix = used.secured, prefix
    fresh.settings = used.settings | {"TRUEUP_PREFIX": prefix}
    settings = fresh.user("maker", "topics-create")
    create = Right("topic", prefix + "control", "Create")
    used.secured.take_back(settings["KAFKA_SASL_USERNAME"], [create])

    less = run(settings, "topics create", tmp_path)
    used.secured.allow(settings["KAFKA_SASL_USERNAME"], [create])
    done = run(settings, "topics create", tmp_path)

    assert less.returncode == 3, less.stdout + less.stderr
    assert f"denies {create};" in less.stderr
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [create.name]


@pytest.mark.soak
def test_changelogs_that_are_gone_are_made_again_with_the_printed_rights(
    used: Installation, tmp_path: Path
) -> None:
    settings = used.user(f"just-{uuid.uuid4().hex[:6]}", "rebuild")
    changelogs = [used.prefix + row.changelog.name for row in AGENTS if row.changelog]
    admin = AdminClient({"bootstrap.servers": used.secured.broker.bootstrap})
    for gone in admin.delete_topics(changelogs).values():
        gone.result()

    done = run(settings, "rebuild --yes", tmp_path)
    again = run(settings, "rebuild --yes", tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "It is done: start the workers." in done.stdout
    assert "there is nothing to rebuild" in again.stdout

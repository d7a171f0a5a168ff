"""A broker with TLS, SASL and default deny: what is printed suffices, and what lacks is named."""

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents_topics.connection import connection_of
from agents_topics.rights import Right
from sinks.postgres.migrate import migrate
from streams.rights import lacking
from tests.secured_installation import CANARY, NO_PAGE, Installation, events, printed, trueup
from tests.secured_kafka import PLAIN_PASSWORD, PLAIN_USER, SecuredKafka
from trueup.exits import ENVIRONMENT
from trueup.worker_process import WorkerProcess


def test_with_the_printed_rights_alone_everything_settles_and_the_audit_is_exact(
    live: Installation, tmp_path: Path
) -> None:
    producer = live.user("producer", "emit", "clock")
    watcher = live.user("watcher", "status", "audit")
    file = tmp_path / "events.ndjson"
    file.write_text("".join(json.dumps(event) + "\n" for event in events()))
    log = tmp_path / "worker.log"
    worker = WorkerProcess(live.user("worker", "worker"), log)
    try:
        asyncio.run(worker.wait_until_ready())
        done = [
            trueup(producer, "emit", str(file)),
            trueup(producer, "clock", "--until", "2026-02-03T00:00:00Z"),
        ]
        assert [d.returncode for d in done] == [0, 0], [d.stderr for d in done]
        told = wait_until_settled(watcher, worker.url)
        done.append(trueup(watcher, "audit"))
    finally:
        began_s = time.monotonic()
        worker.stop()
        stopping_s = time.monotonic() - began_s

    assert worker.process.returncode == 0
    assert stopping_s < 10
    assert told["settled"] == {"positive": 4, "expired": 4}
    assert done[2].returncode == 0, done[2].stdout + done[2].stderr
    assert CANARY not in log.read_text()
    assert not any(CANARY in d.stdout + d.stderr for d in done)


def wait_until_settled(settings: dict[str, str], page: str) -> Any:
    for _ in range(12):
        done = trueup(settings, "status", "--json", "--worker", page)
        told = json.loads(done.stdout)
        assert told["unreachable"] == {}
        if sum(told["settled"].values()) == 8 and not any(w["behind"] for w in told["published"]):
            return told
    raise AssertionError(told)


def test_a_reset_needs_what_is_printed_for_it_and_no_more(
    secured: SecuredKafka, own_database_url: str, tmp_path: Path
) -> None:
    migrate(own_database_url)
    own = Installation(secured, own_database_url, tmp_path)
    settings = own.user("resetter", "reset")

    done = trueup(settings, "reset", "--yes")
    own.secured.take_back(
        settings["KAFKA_SASL_USERNAME"], [Right("topic", own.prefix + "outcomes", "Delete")]
    )
    less = trueup(settings, "reset", "--yes")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "It is done" in done.stdout
    assert less.returncode == 3
    assert f"lacks Delete on topic {own.prefix}outcomes" in less.stderr


def test_status_names_the_right_that_its_user_lacks(live: Installation) -> None:
    settings = live.user(f"less-{uuid.uuid4().hex[:6]}", "status")
    right = Right("topic", live.prefix + "outcomes", "Read")
    live.secured.take_back(settings["KAFKA_SASL_USERNAME"], [right])

    told = json.loads(trueup(settings, "status", "--json", "--worker", NO_PAGE).stdout)

    assert f"lacks {right};" in told["unreachable"]["kafka"]


@pytest.mark.soak
def test_a_right_on_transactional_ids_that_lacks_is_on_the_workers_page(
    live: Installation, tmp_path: Path
) -> None:
    settings = live.user(f"less-{uuid.uuid4().hex[:6]}", "worker")
    ids = live.prefix + "trueup-calibrator-"
    right = Right("transactional-id", ids, "Write", is_prefix=True)
    live.secured.take_back(settings["KAFKA_SASL_USERNAME"], [right])
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    try:
        problems = wait_for_problems(worker)
    finally:
        worker.stop()

    assert any(f"denies Write on transactional-id {ids}" in problem for problem in problems)


def wait_for_problems(worker: WorkerProcess) -> list[str]:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        tasks = (worker.status() or {}).get("tasks", ())
        if problems := [task["problem"] for task in tasks if task["problem"]]:
            return problems
        time.sleep(0.2)
    raise AssertionError(worker.log_file.read_text())


@pytest.mark.soak
def test_the_demo_is_exact_with_its_printed_rights(
    secured: SecuredKafka, own_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = secured.user("demo", CANARY) | {"DATABASE_URL": own_database_url}
    secured.allow("demo", printed("demo", "", "demo"))

    done = trueup(settings, "demo", "--once", "--actions", "500", "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ledger_exact"]
    assert CANARY not in done.stdout + done.stderr


def by_scram_256(secured: SecuredKafka) -> dict[str, str]:
    return secured.user("scram-256", CANARY, "SCRAM-SHA-256")


def by_plain(secured: SecuredKafka) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP": secured.sasl_bootstrap,
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": PLAIN_USER,
        "KAFKA_SASL_PASSWORD": PLAIN_PASSWORD,
        "KAFKA_SSL_CA_FILE": str(secured.authority.file),
    }


def by_token(secured: SecuredKafka) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP": secured.sasl_bootstrap,
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
        "KAFKA_SASL_TOKEN_PROVIDER": "tests.secured_kafka:TokenProvider",
        "KAFKA_SSL_CA_FILE": str(secured.authority.file),
    }


def by_certificate(secured: SecuredKafka) -> dict[str, str]:
    secured.authority.issue("certified", secured.folder / "certified.pem", CANARY)
    (secured.folder / "key.password").write_text(CANARY)
    return {
        "KAFKA_BOOTSTRAP": secured.ssl_bootstrap,
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CA_FILE": str(secured.authority.file),
        "KAFKA_SSL_CERTIFICATE_FILE": str(secured.folder / "certified.pem"),
        "KAFKA_SSL_KEY_FILE": str(secured.folder / "certified.pem"),
        "KAFKA_SSL_KEY_PASSWORD_FILE": str(secured.folder / "key.password"),
    }


@pytest.mark.parametrize(
    ("way", "name"),
    [
        (by_scram_256, "scram-256"),
        (by_plain, PLAIN_USER),
        (by_token, "token-user"),
        (by_certificate, "certified"),
    ],
)
async def test_each_way_in_is_known_to_the_broker_as_its_user(
    secured: SecuredKafka, way: Callable[[SecuredKafka], dict[str, str]], name: str
) -> None:
    topic = f"ways-{name}-agent-actions"
    await asyncio.to_thread(secured.create_topics, f"ways-{name}-", 1)
    settings = way(secured)
    right = Right("topic", topic, "Write")
    before = await lacking(connection_of(settings), [right])
    await asyncio.to_thread(secured.allow, name, [right])

    after = await lacking(connection_of(settings), [right])
    for _ in range(20):  # until the broker has taken it in
        if after is None:
            break
        await asyncio.sleep(0.1)
        after = await lacking(connection_of(settings), [right])

    assert before is not None
    assert str(right) in before
    assert after is None
    assert CANARY not in repr(connection_of(settings))
    assert PLAIN_PASSWORD not in repr(connection_of(settings))


@pytest.mark.parametrize(
    ("words", "wrong", "reason"),
    [
        ("topics check", {"KAFKA_SSL_CA_FILE": ""}, "certificate verify failed"),
        ("clock --until 2026-03-10T00:00:00Z", {"KAFKA_SASL_MECHANISM": "PLAIN"}, "Authentication"),
        ("topics check", {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "closed"),
    ],
)
def test_where_no_broker_lets_us_in_it_is_said_why(
    secured: SecuredKafka, words: str, wrong: dict[str, str], reason: str
) -> None:
    settings = by_scram_256(secured) | wrong

    done = trueup({name: value for name, value in settings.items() if value}, *words.split())

    assert done.returncode == ENVIRONMENT, done.stderr
    assert "o Kafka broker answers" in done.stderr
    assert reason in done.stderr
    assert CANARY not in done.stdout + done.stderr

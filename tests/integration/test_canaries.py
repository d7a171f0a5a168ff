"""Secrets and payloads are planted, things go wrong, and nothing that is said holds any of them."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.command_line import clean_environment
from tests.secured_installation import CANARY, TENANT, Installation, trueup
from trueup.embedded.ports import free_port
from trueup.worker_process import WorkerProcess

PASSWORD = f"canary-{uuid.uuid4().hex}"
PAYLOAD = f"canary-{uuid.uuid4().hex}"
CANARIES = (CANARY, PASSWORD, PAYLOAD)
REFUSED_DATABASE = f"postgresql://somebody:{PASSWORD}@127.0.0.1:9/trueup"
UNREADABLE = f"postgresql://u:{PASSWORD}/x@h/db"
SOAK = pytest.mark.soak
PAGES = ("healthz", "readyz", "status", "metrics")
BROKEN_WORKER = """
from tables.outcome_resolver import OutcomeResolver

def admit(self, topic, records, decoded):
    told = str([(record.key, record.value) for record in records])
    raise KeyError(told)

OutcomeResolver.admit = admit
from trueup.commands.worker import command
command()
"""


def nowhere(*texts: str) -> None:
    for text in texts:
        assert not [canary for canary in CANARIES if canary in text], text


def plant(live: Installation) -> None:
    """An event with metadata, and a body that is refused."""
    about = {"event_id": "planted", "action_type": "send_email", "predicted_confidence": 0.8}
    where = {"tenant_id": TENANT, "conversation_id": "c1", "occurred_at": "2026-02-01T09:00:00Z"}
    event = json.dumps(about | where | {"metadata": {"note": PAYLOAD}})
    options = {"partitioner": "murmur2_random"}
    producer = Producer({"bootstrap.servers": live.secured.broker.bootstrap, **options})
    poison = event.replace("c1", PAYLOAD).replace("0.8", f'"{PAYLOAD}"')
    for value, conversation in ((event, "c1"), (f"no JSON {PAYLOAD}", PAYLOAD), (poison, PAYLOAD)):
        key = f"{TENANT}/{conversation}".encode()
        producer.produce(live.prefix + "agent-actions", value.encode(), key=key)
    producer.flush()


def page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.read().decode()


def wait_for(url: str, words: str) -> None:
    deadline_s = time.monotonic() + 90
    while time.monotonic() < deadline_s:
        try:
            if words in page(url):
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{words} is not on {url}")


@pytest.mark.slow
def test_a_worker_without_its_database_and_with_refused_records_tells_none(
    live: Installation, tmp_path: Path
) -> None:
    plant(live)
    database = tmp_path / "database"
    database.write_text(REFUSED_DATABASE)
    settings = live.user("poisoned", "worker", "status") | {"DATABASE_URL_FILE": str(database)}
    del settings["DATABASE_URL"]
    worker = WorkerProcess(settings, tmp_path / "worker.log")
    try:
        wait_for(f"{worker.url}/status", '"agent-actions/dead": 2')
        wait_for(f"{worker.url}/status", "Postgres is away")
        pages = [page(f"{worker.url}/{name}") for name in PAGES]
        done = [
            trueup(settings, *words.split())
            for words in (f"status --json --worker {worker.url}", "config show --effective", "env",
                          "doctor", "doctor --json")
        ]  # fmt: skip
    finally:
        worker.stop()

    log = worker.log_file.read_text()
    assert "task_reopens" in log
    assert all(json.loads(line)["timestamp"] for line in log.splitlines())
    nowhere(log, *pages, *(d.stdout + d.stderr for d in done))


def test_a_bug_in_the_core_is_logged_and_shown_without_what_it_was_about(
    live: Installation, tmp_path: Path
) -> None:
    plant(live)
    port, log = free_port(), tmp_path / "worker.log"
    settings = live.user("broken", "worker") | {"TRUEUP_WEB_PORT": str(port)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", BROKEN_WORKER],
            env=clean_environment() | settings,
            stdout=out,
            stderr=out,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", "KeyError at")
        pages = [page(f"http://127.0.0.1:{port}/{name}") for name in PAGES]
    finally:
        process.terminate()
        process.wait(20)

    told = [json.loads(line) for line in log.read_text().splitlines()]
    failed = [one for one in told if one["event"] == "task_failed"]
    assert failed
    exceptions = [one["exception"] for one in failed]
    assert [text for text in exceptions if not text.startswith("KeyError at ")] == []
    assert all(one["task"].startswith("outcome-resolver-") for one in failed)
    nowhere(log.read_text(), *pages)


@pytest.mark.parametrize(
    ("change", "words", "code"),
    [
        ({"KAFKA_SASL_PASSWORD": PASSWORD}, "worker", 3),
        ({"KAFKA_SASL_PASSWORD": PASSWORD}, "emit -", 3),
        ({"KAFKA_BOOTSTRAP": "127.0.0.1:9", "DATABASE_URL": REFUSED_DATABASE}, "worker", 3),
        pytest.param(
            {"KAFKA_BOOTSTRAP": "127.0.0.1:9", "DATABASE_URL": REFUSED_DATABASE},
            "doctor",
            3,
            marks=SOAK,
        ),
        ({"DATABASE_URL": REFUSED_DATABASE}, "pending", 3),
        ({"DATABASE_URL": REFUSED_DATABASE}, "migrate", 3),
        ({"DATABASE_URL": UNREADABLE}, "pending", 3),
        ({"DATABASE_URL": UNREADABLE}, "migrate", 3),
        ({"DATABASE_URL": UNREADABLE}, "env", 0),
        pytest.param({"DATABASE_URL": UNREADABLE, "TRUEUP_GRACE_S": "x"}, "doctor", 3, marks=SOAK),
        ({"KAFKA_SSL_KEY_PASSWORD": PASSWORD, "KAFKA_SSL_CA_FILE": "absent"}, "worker", 3),
    ],
)
def test_what_goes_wrong_at_the_start_is_told_without_secrets(
    live: Installation, change: dict[str, str], words: str, code: int
) -> None:
    settings = live.secured.user(live.prefix + "nobody", CANARY) | live.settings | change
    if "KAFKA_SASL_PASSWORD" in change:
        del settings["KAFKA_SASL_PASSWORD_FILE"]

    done = trueup(settings, *words.split())

    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    nowhere(done.stdout + done.stderr)

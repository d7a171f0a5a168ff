"""The five checks on a worker with real servers: what they say, and that one may fail alone."""

import asyncio
import json
import time
import urllib.request

import pytest
from aiokafka import AIOKafkaProducer

from agents_topics.identifiers import tenant_id_of
from tests.command_line import run_trueup
from tests.running_stack import running_stack
from trueup.status import page_of

TENANT = tenant_id_of("acme")
NAMES = [
    "check_immediate_signals",
    "check_engagement_signals",
    "check_deal_progression",
    "expire_overdue_outcomes",
    "calibration_check",
]


@pytest.fixture
def worker(kafka_bootstrap, database_url, tmp_path):
    with running_stack(kafka_bootstrap, database_url, tmp_path) as made:
        yield made.worker.url, made.settings, tmp_path


def trueup(worker, *words):
    _, settings, folder = worker
    done = run_trueup(folder, *words, settings=settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


def send(worker, day, until):
    """On a day of February an email with a reply, one without, and a meeting; then the clock."""
    events = []
    for number, (action_type, kind) in enumerate(
        [
            ("send_email", "reply_received"),
            ("send_email", None),
            ("recommend_action", "meeting_held"),
        ]
    ):
        at, name = f"2026-02-{day:02}T", f"{day}-{number}"
        event = {"event_id": name, "tenant_id": TENANT, "conversation_id": name}
        said = {"action_type": action_type, "predicted_confidence": 0.8}
        events.append(event | said | {"occurred_at": f"{at}09:00:00Z"})
        if kind:
            replied = {"event_id": f"r-{name}", "kind": kind, "occurred_at": f"{at}10:00:00Z"}
            events.append(event | replied)
    file = worker[2] / f"{day}.ndjson"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    trueup(worker, "emit", str(file))
    trueup(worker, "clock", "--until", until)


async def send_garbage(settings):
    """What no resolver writes, to the calibrator."""
    producer = AIOKafkaProducer(bootstrap_servers=settings["KAFKA_BOOTSTRAP"])
    await producer.start()
    await producer.send_and_wait(settings["TRUEUP_PREFIX"] + "settled-outcomes", b"{", b"k")
    await producer.stop()


def checks_when(worker, is_so):
    """The checks by name, once they are so."""
    until_s = time.monotonic() + 60
    while True:
        page = page_of(worker[0])
        checks = {check["name"]: check for check in page["checks"]}
        if is_so(checks):
            return checks
        assert time.monotonic() < until_s, page
        time.sleep(0.2)


def handled(checks):
    return [checks[name]["handled"] for name in NAMES]


@pytest.mark.slow
def test_an_exception_in_one_check_leaves_the_others_running(worker):
    send(worker, 1, "2026-02-10T00:00:00Z")
    well = checks_when(worker, lambda checks: checks["calibration_check"]["handled"] == 3)
    asyncio.run(send_garbage(worker[1]))
    broken = checks_when(worker, lambda checks: checks["calibration_check"]["failures"] == 1)
    send(worker, 11, "2026-02-20T00:00:00Z")
    after = checks_when(worker, lambda checks: checks["check_engagement_signals"]["handled"] == 2)
    shown = trueup(worker, "status", "--worker", worker[0]).splitlines()
    with urllib.request.urlopen(f"{worker[0]}/metrics") as answer:
        metrics = answer.read().decode()

    assert list(well) == NAMES
    assert {(c["interval"], c["failures"]) for c in well.values()} == {("continuous", 0)}
    assert handled(well) == [1, 1, 0, 1, 3]
    assert handled(after) == [2, 2, 0, 2, 3]
    assert [after[name]["failures"] for name in NAMES] == [0, 0, 0, 0, 1]
    for name in NAMES[:-1]:
        assert after[name]["last_run_ms"] > broken[name]["last_run_ms"]
    assert after["calibration_check"]["last_run_ms"] == broken["calibration_check"]["last_run_ms"]
    rows = {line.split()[0]: line.split() for line in shown if line}
    assert rows["check_immediate_signals"][1] == "continuous"
    assert rows["check_immediate_signals"][-2:] == ["2", "0"]
    assert rows["calibration_check"][-2:] == ["3", "1"]
    for name, check in after.items():
        labels = f'{{check="{name}",interval="continuous"}}'
        assert f"trueup_check_handled_total{labels} {check['handled']:.1f}" in metrics
        assert f"trueup_check_failures_total{labels} {check['failures']:.1f}" in metrics
        assert f"trueup_check_last_run_timestamp_seconds{labels}" in metrics

"""What is said of a producer's open transaction, by a task's page and by the doctor."""

import time

from prometheus_client.parser import text_string_to_metric_families

from sinks.prometheus.collector import render
from streams.batches import Position
from streams.unstable import Unstable, unstable_at
from trueup.open_transactions import OpenTransaction, hanging


def at(stable_end: int, end: int) -> Position:
    return Position(stable_end, stable_end, stable_end, end)


def test_a_last_stable_offset_that_moves_begins_a_new_wait_and_one_that_stands_does_not() -> None:
    first = unstable_at(at(5, 6), None, 1_000)
    stands = unstable_at(at(5, 9), first, 2_000)
    moved = unstable_at(at(7, 9), stands, 3_000)

    assert stands == Unstable(5, 4, since_ms=1_000)
    assert moved == Unstable(7, 2, since_ms=3_000)
    assert unstable_at(at(9, 9), moved, 4_000) is None


def test_before_the_first_fetch_nothing_is_known_to_wait() -> None:
    assert unstable_at(Position(0, 0), None, 1_000) is None


def opened(seconds_ago: int) -> OpenTransaction:
    since_ms = int((time.time() - seconds_ago) * 1000)
    return OpenTransaction("agent-actions", "live-agent-actions", 3, 17, 1_200, since_ms)


def test_the_doctor_fails_a_transaction_that_hangs_and_says_how_to_end_it() -> None:
    (finding,) = hanging([opened(1_000), opened(10)], "kafka:9092")

    assert finding.word == "FAIL"
    assert finding.said.startswith("live-agent-actions-3: 1,200 records from offset 17 on cannot")
    assert finding.said.endswith("16 min 40 s")
    where = "--topic live-agent-actions --partition 3"
    assert f"kafka-transactions --bootstrap-server kafka:9092 find-hanging {where}" in finding.fix
    assert f"abort {where} --start-offset 17" in finding.fix


def test_a_transaction_that_comes_and_goes_is_well() -> None:
    (finding,) = hanging([opened(10)], "kafka:9092")

    assert finding.word == "ok"


def test_a_page_shows_how_many_records_wait_and_for_how_long_and_0_where_none_does() -> None:
    held = {"stable_end": 5, "count": 4, "since_ms": int((time.time() - 90) * 1000)}
    task = {
        "agent": "outcome-resolver",
        "partition": 3,
        "state": "running",
        "reopened": 0,
        "applied_until_ms": 0,
        "unstable": {"agent-actions": held, "control": None},
    }
    told = {"partitions": 4, "restores": [], "transactions": {}, "tasks": [task]}

    samples = {
        (sample.name, sample.labels.get("topic")): sample.value
        for family in text_string_to_metric_families(render(told).decode())
        for sample in family.samples
    }

    assert samples["trueup_unstable_records", "agent-actions"] == 4
    assert 90 <= samples["trueup_unstable_seconds", "agent-actions"] < 100
    assert samples["trueup_unstable_records", "control"] == 0
    assert samples["trueup_unstable_seconds", "control"] == 0

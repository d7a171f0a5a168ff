"""What readers and operators are answered, on a real Postgres written by the real core."""

import json
import os
import subprocess
import sys
import uuid

import asyncpg
import msgspec
import pytest

from agents_topics.events import Promise
from agents_topics.identifiers import conversation_state_id_of
from agents_topics.policy_file import load_policy
from agents_topics.topics import CALIBRATION_UPDATES
from sinks.http.shapes import OutcomeRecordResponse
from sinks.postgres.migrate import migrate
from sinks.postgres.readings import (
    OF_CONVERSATION,
    get_calibration_bins,
    get_calibration_curve,
    get_outcomes_for_conversation,
    pending_sql,
)
from sinks.postgres.writer import PostgresWriter
from tables.calibration_bins import Sums
from tables.calibration_curve import calibration_curve
from tables.calibrator import Calibrator
from tests.stored_task import StoredTask


@pytest.fixture(scope="module")
def url(database_url):
    migrate(database_url)
    return database_url


@pytest.fixture
async def task(url):
    async with PostgresWriter(url) as writer:
        yield StoredTask(writer)


async def test_a_conversation_is_found_by_its_id_and_by_its_uuid(url, task):
    await task.step(
        task.action(0.5, action_id="second"),
        task.action(0, action_id="first"),
        task.action(0, action_id="other", conversation_id="d"),
        task.did(2, "reply_received", action_id="first"),
    )
    state_id = conversation_state_id_of(task.tenant, "c")
    found = await get_outcomes_for_conversation(url, task.tenant, "c", role="trueup_api")

    assert [(o.action_id, o.outcome_status.value) for o in found] == [
        ("first", "positive"),
        ("second", "pending"),
    ]
    assert await get_outcomes_for_conversation(url, task.tenant, state_id) == found
    assert await get_outcomes_for_conversation(url, task.tenant, "c", limit=1) == found[:1]
    assert await get_outcomes_for_conversation(url, str(uuid.uuid4()), state_id) == []


async def test_an_answer_tells_every_field_as_json_has_it(url, task):
    await task.step(task.action(0, metadata={"k": [1]}), task.did(2, "reply_received"))
    (found,) = await get_outcomes_for_conversation(url, task.tenant, "c")
    answer = OutcomeRecordResponse.of(found)

    assert set(OutcomeRecordResponse.model_fields) == set(type(found).model_fields)
    assert json.loads(answer.model_dump_json()) == json.loads(found.model_dump_json())
    assert answer.created_at == "2026-01-05T00:00:00Z"


async def test_the_curve_of_the_rows_is_that_of_the_exact_sums(url, task):
    """Two streams of an action type, told by two confidence sources, are one curve."""
    for number in range(60):
        hours, source = number / 10, "logprob" if number % 2 else "judge"
        stated, own = number % 20 / 20, {"conversation_id": f"c{number}"}
        said = task.action(hours, predicted_confidence=stated, confidence_source=source, **own)
        replies = [task.did(hours + 1, "reply_received", **own)] if number % 3 else []
        task.core.step(said, *replies)
    calibrator = Calibrator(1, load_policy(None))
    for outcome in task.core.settle():
        calibrator.on_settled(outcome)
    calibrator.on_promise(Promise(source=0, until_ms=2**60))
    calibrator.enter()
    updates = [msgspec.json.encode(update) for _, update in calibrator.finish().updates]
    await task.writer.write(
        CALIBRATION_UPDATES.name, task._partition, 0, len(updates), list(enumerate(updates))
    )
    sums = [Sums() for _ in range(10)]
    for (_, index), held in calibrator.bins.items():
        sums[index].merge(held.all)
    exact = calibration_curve("send_email", sums)
    read = await get_calibration_curve(url, task.tenant, "send_email", role="trueup_api")

    assert sum(exact.counts) == 60
    assert read.brier_score == pytest.approx(exact.brier_score, abs=1e-12)
    assert read.model_copy(update={"brier_score": exact.brier_score}) == exact
    bins = await get_calibration_bins(url, task.tenant, "send_email")
    assert [(b.bin_index, b.sample_count) for b in bins] == list(enumerate(exact.counts))
    assert await get_calibration_bins(url, str(uuid.uuid4()), "send_email") == []


async def test_a_type_without_records_has_a_curve_that_says_nothing(url):
    curve = await get_calibration_curve(url, str(uuid.uuid4()), "qualify")

    assert (curve.counts, curve.actual_rates, curve.brier_score) == ([0] * 10, [None] * 10, None)


def pending(url, *words, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "trueup", "pending", *words],
        env=os.environ | {"DATABASE_URL": url}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


async def test_a_person_sees_what_is_pending_and_what_became_of_a_conversation(url, task):
    await task.step(
        task.action(0, action_id="done"),
        task.action(0, "qualify", action_id="open"),
        task.did(2, "reply_received"),
    )
    told = pending(url, "--tenant", task.tenant)
    every = json.loads(pending(url, "--tenant", task.tenant, "--conversation", "c", "--json"))

    assert "\topen\t" in told
    assert "\tdone\t" not in told
    assert {row["action_id"]: row["outcome_status"] for row in every} == {
        "done": "positive",
        "open": "pending",
    }
    assert "needs --tenant" in pending(url, "--conversation", "c", code=2)


async def test_the_questions_of_one_tenant_use_its_indexes(url):
    """As the API asks, under row level security, of a table in which the tenant has a little."""
    tenant, columns = str(uuid.uuid4()), "tenant_id, conversation_state_id"
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(
        f"""INSERT INTO tenant.outcome_records (id, {columns}, conversation_id, action_type,
          predicted_confidence, confidence_source, outcome_type, outcome_status, created_at,
          window_expires_at, settled_at, revision, is_settled, calibrates, expired_counts,
          policy_version, lineage, output_partition, output_offset)
        SELECT gen_random_uuid(), CASE WHEN i % 100 = 0 THEN $1 ELSE gen_random_uuid() END,
          gen_random_uuid(), 'c', 'a', .5, 'unknown', 'o',
          CASE WHEN i % 20 = 0 THEN 'pending' ELSE 'expired' END, 'epoch',
          'epoch'::timestamptz + i * interval '1 s', 'epoch', 0, false, true, true, 'v', 0, 0, i
        FROM generate_series(1, 20000) AS i""",
        uuid.UUID(tenant),
    )
    await connection.execute("ANALYZE tenant.outcome_records")
    await connection.execute("SELECT set_config('app.current_tenant_id', $1, true)", tenant)
    await connection.execute("SET LOCAL ROLE trueup_api")
    plans = []
    for sql, *values in (
        pending_sql(tenant, None, False, 100),
        pending_sql(tenant, "o", True, 100),
        (OF_CONVERSATION, tenant, str(uuid.uuid4()), 100),
    ):
        plan = await connection.fetch(f"EXPLAIN {sql}", *values)
        plans.append("\n".join(row[0] for row in plan))
    seen = await connection.fetchval("SELECT count(*) FROM tenant.outcome_records")
    await transaction.rollback()
    await connection.close()

    assert seen == 200
    for plan in plans:
        assert "ix_outcome_records_" in plan
        assert "Seq Scan" not in plan

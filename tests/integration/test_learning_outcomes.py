"""Outcomes from the action to the row: the resolver's core, the writer and a real Postgres.

Where the names come from an earlier design whose rule the law has replaced, the test proves the
law's rule and its docstring says which.
"""

import json
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest

from agents_topics.identifiers import conversation_state_id_of, outcome_id_of
from agents_topics.policy_file import load_policy
from agents_topics.shapes import (
    CalibrationBin,
    FeedbackEntry,
    OutcomeRecord,
    OutcomeStatus,
    OutcomeWindow,
)
from sinks.postgres.migrate import migrate
from sinks.postgres.readings import get_outcomes_for_conversation, get_pending_outcomes
from sinks.postgres.schema import (
    CalibrationBinModel,
    FeedbackEntryModel,
    OutcomeRecordModel,
    table_of,
)
from sinks.postgres.writer import PostgresWriter
from tests.resolver_task import HOUR, INTERACTIONS, START
from tests.stored_task import LATER_HOURS, StoredTask

AT = datetime.fromtimestamp(START / 1000, UTC)


@pytest.fixture(scope="module")
def url(database_url):
    migrate(database_url)
    return database_url


@pytest.fixture
async def task(url):
    async with PostgresWriter(url) as writer:
        yield StoredTask(writer)


async def stored(url, task, conversation="c"):
    return await get_outcomes_for_conversation(url, task.tenant, conversation)


async def test_outcome_record_creation(url, task):
    """Recorded by the action's own event: there is no call, and no clock but the event's."""
    await task.step(
        task.action(
            0, action_id="a", predicted_confidence=0.82, event_id="e", metadata={"draft": 2},
            interaction_count=3, deal_stage="discovery", confidence_source="logprob",
        )
    )  # fmt: skip
    (found,) = await get_pending_outcomes(url, task.tenant)

    digest = load_policy(None).versions[0].digest
    stage = {"deal_stage_at_creation": "discovery", "interaction_count_at_creation": 3}
    assert found == OutcomeRecord(
        id=outcome_id_of(task.tenant, "c", "a", "email_engagement"),
        tenant_id=task.tenant,
        conversation_state_id=conversation_state_id_of(task.tenant, "c"),
        conversation_id="c",
        action_type="send_email",
        action_id="a",
        predicted_confidence=0.82,
        confidence_source="logprob",
        outcome_type="email_engagement",
        outcome_status=OutcomeStatus.PENDING,
        window_expires_at=AT + timedelta(hours=24),
        settled_at=AT + timedelta(hours=24),
        metadata_json={"draft": 2} | stage,
        created_at=AT,
        policy_version=digest,
        output_partition=found.output_partition,
        output_offset=0,
    )


async def test_outcome_resolution(url, task):
    """`resolved_at` is the deciding event's time, not the moment at which it was noticed."""
    await task.step(task.action(0, action_id="a"))
    await task.step(task.did(5, "reply_received", event_id="reply"))
    (provisional,) = await stored(url, task)
    await task.settle()
    (settled,) = await stored(url, task)

    assert (provisional.outcome_status, provisional.is_settled) == ("positive", False)
    assert (settled.outcome_status, settled.outcome_score, settled.is_settled) == (
        "positive", 1.0, True,
    )  # fmt: skip
    assert (settled.signal_source, settled.decided_by) == ("automatic", "reply")
    assert settled.resolved_at == AT + timedelta(hours=5)
    assert await get_pending_outcomes(url, task.tenant) == []


async def test_double_resolution_prevented(url, task):
    """Until it settles an outcome may be decided anew; settled it is once, and then for ever: a
    later signal is late, and a second settled record is refused and counted.
    """
    await task.step(task.action(0, action_id="a"), task.did(5, "reply_received"))
    (settled,) = await task.settle()
    before = await stored(url, task)
    step = await task.step(task.did(6, "human_label", action_id="a", label="negative"))
    await task.store([settled])
    after_the_same = task.writer.written.refused
    await task.store([msgspec.structs.replace(settled, status="negative", score=0.0)])

    assert [late.topic for late in step.late] == [INTERACTIONS]
    assert step.outcomes == []
    assert (after_the_same, task.writer.written.refused) == (0, 1)
    assert await stored(url, task) == before
    assert before[0].outcome_status == "positive"


@pytest.mark.parametrize(
    ("action_type", "outcome_type", "hours"),
    [
        ("send_email", "email_engagement", 24),
        ("send_chat", "email_engagement", 24),
        ("process_reply", "email_engagement", 24),
        ("qualify", "deal_progression", 720),
        ("recommend_action", "meeting_outcome", 168),
        ("escalate", "escalation_result", 168),
    ],
)
async def test_window_expiry_calculation(url, task, action_type, outcome_type, hours):
    await task.step(task.action(0.5, action_type))
    (found,) = await stored(url, task)

    assert found.outcome_type == outcome_type
    assert found.window_expires_at == AT + timedelta(hours=hours + 0.5)


async def test_get_pending_outcomes_filtered(url, task):
    other = StoredTask(task.writer)
    await task.step(
        task.action(0, action_id="overdue"),
        task.action(0, action_id="done", conversation_id="d"),
        task.did(1, "reply_received", conversation_id="d"),
    )
    await task.step(
        task.action(LATER_HOURS, action_id="mail"),
        task.action(LATER_HOURS, "qualify", action_id="deal"),
    )
    await other.step(other.action(0, action_id="theirs"))

    async def ids(*asked, **options):
        mine = {uuid.UUID(task.tenant), uuid.UUID(other.tenant)}
        found = await get_pending_outcomes(url, *asked, **options)
        return [outcome.action_id for outcome in found if outcome.tenant_id in mine]

    # Nothing has expired: only the actions' time has moved on.
    assert await ids(task.tenant) == ["overdue", "mail", "deal"]
    assert await ids(task.tenant, "deal_progression") == ["deal"]
    assert await ids(task.tenant, expired_only=True) == ["overdue"]
    assert await ids(task.tenant, "deal_progression", True) == []
    assert await ids(task.tenant, limit=2) == ["overdue", "mail"]
    assert sorted(await ids(None, "email_engagement", True)) == ["overdue", "theirs"]
    assert await ids(task.tenant, role="trueup_api") == ["overdue", "mail", "deal"]
    assert await ids(None, role="trueup_api") == []


async def test_expire_overdue_outcomes(url, task):
    """Nobody sweeps: an outcome expires when event time has passed its window and the grace, and
    is resolved at its window's end.
    """
    await task.step(task.action(0, action_id="a"), task.action(0, "qualify", action_id="b"))
    edge = 25 - 1 / HOUR
    await task.step(task.action(edge, "qualify"), task.did(edge, "meeting_held"))
    before = {o.action_id: o.outcome_status for o in await stored(url, task)}
    await task.step(task.action(25, "qualify"), task.did(25, "meeting_held"))
    after = {o.action_id: o for o in await stored(url, task)}

    assert (before["a"], before["b"]) == ("pending", "pending")
    expired = after["a"]
    assert (expired.outcome_status, expired.is_settled) == ("expired", True)
    assert (expired.outcome_score, expired.decided_by, expired.known_at) == (None, None, None)
    assert expired.resolved_at == AT + timedelta(hours=24)
    assert after["b"].outcome_status == "pending"


@pytest.mark.parametrize(
    ("kind", "count", "status"),
    [
        ("reply_received", None, "positive"),
        ("meeting_held", 4, "positive"),
        ("meeting_held", 3, "pending"),
    ],
)
async def test_immediate_signal_detection_reply(url, task, kind, count, status):
    """A reply counts, and so does any listened interaction with a count above the action's own:
    the two events are compared, never the conversation's state at some later moment.
    """
    await task.step(task.action(0, interaction_count=3))
    await task.step(task.did(2, kind, interaction_count=count))
    (found,) = await stored(url, task)

    assert found.outcome_status == status


@pytest.mark.parametrize(
    ("stage", "status", "score"),
    [
        ("evaluation", "positive", 0.5),
        ("closed_won", "positive", 1.0),
        ("discovery", "pending", None),
        ("closed_lost", "negative", 0.0),
        ("stalled", "negative", 0.0),
    ],
)
async def test_deal_progression_signal_detection(url, task, stage, status, score):
    """The score is the share of the way to closed_won that the deal has come since the action."""
    await task.step(task.action(0, "qualify", deal_stage="discovery"))
    await task.step(task.did(48, "stage_changed", deal_stage=stage))
    (found,) = await stored(url, task)

    assert (found.outcome_status, found.outcome_score) == (status, score)
    assert found.metadata_json == {"deal_stage_at_creation": "discovery"}


def models():
    """One of each, as bare as the tables let them be."""
    same = {"id": uuid.uuid4(), "tenant_id": uuid.uuid4(), "created_at": AT}
    told = {
        "conversation_state_id": uuid.uuid4(), "conversation_id": "c", "action_type": "send_email",
        "predicted_confidence": 0.82, "confidence_source": "unknown",
        "outcome_type": "email_engagement", "settled_at": AT, "revision": 0, "is_settled": False,
        "calibrates": True, "expired_counts": True, "policy_version": "v", "lineage": 0,
        "output_partition": 0, "output_offset": 0,
    }  # fmt: skip
    rated = {
        "conversation_state_id": uuid.uuid4(), "target_type": "decision", "target_id": "d",
        "source": "dashboard", "rating": 4, "reviewer_id": uuid.uuid4(), "reviewer_role": "rep",
    }  # fmt: skip
    bounds = {"action_type": "send_email", "bin_index": 8, "bin_lower": 0.8, "bin_upper": 0.9}
    return [
        (OutcomeRecordModel(**same | told), OutcomeRecord),
        (FeedbackEntryModel(**same | rated), FeedbackEntry),
        (CalibrationBinModel(**same | bounds), CalibrationBin),
    ]


async def row_of(url, model):
    """The row that a model becomes: inserted, read, and taken back."""
    table = table_of(type(model))
    values = {
        column.key: getattr(model, column.key)
        for column in table.columns
        if getattr(model, column.key) is not None
    }
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    statement = f"INSERT INTO {table.fullname} ({', '.join(values)}) VALUES ({places})"
    connection = await asyncpg.connect(url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(statement, *values.values())
        row = await connection.fetchrow(f"SELECT * FROM {table.fullname} WHERE id = $1", model.id)
        await transaction.rollback()
    finally:
        await connection.close()
    told = {"metadata_json": json.loads(row["metadata_json"])} if "metadata_json" in row else {}
    return dict(row) | told


async def test_model_instantiation(url):
    """Postgres takes each model as it is and fills in the defaults, none of them from a clock."""
    rows = [await row_of(url, model) for model, _ in models()]

    outcome, feedback, calibration = rows
    assert (outcome["outcome_status"], outcome["metadata_json"]) == ("pending", {})
    assert (feedback["comment"], feedback["metadata_json"]) == (None, {})
    assert (calibration["sample_count"], calibration["outcome_sum"]) == (0, 0.0)
    assert [row["created_at"] for row in rows] == [AT] * 3


async def test_schema_serialization_roundtrip(url):
    """From the row to JSON and back nothing is lost, and the defaults are those of the table."""
    for model, shape in models():
        row = await row_of(url, model)
        read = shape(**row)

        assert shape.model_validate_json(read.model_dump_json()) == read
        assert shape.model_validate(read.model_dump()) == read
        assert read.model_dump() == row
        assert set(shape.model_fields) == {column.key for column in table_of(type(model)).columns}
        required = {name for name, field in shape.model_fields.items() if field.is_required()}
        assert (
            shape(**{name: row[name] for name in required}).model_dump().items()
            >= {name: row[name] for name in row if name in DEFAULTS}.items()
        )


DEFAULTS = {"outcome_status", "sample_count", "outcome_sum", "comment", "action_id"}


def test_outcome_window_classmethods():
    tiers = OutcomeWindow.immediate(), OutcomeWindow.engagement(), OutcomeWindow.deal_progression()
    version = load_policy(None).versions[0]
    rules = {(name, rule.type): rule.window_hours for _, name, of in version.parts() for rule in of}

    assert [window.window_hours for window in tiers] == [24, 168, 720]
    for window in tiers:
        assert rules[window.action_type, window.outcome_type] == window.window_hours
    assert OutcomeWindow.immediate("send_chat", "own") == OutcomeWindow(
        action_type="send_chat", outcome_type="own", window_hours=24
    )


def test_outcome_status_enum_values():
    assert {status.name: status.value for status in OutcomeStatus} == {
        "PENDING": "pending",
        "POSITIVE": "positive",
        "NEGATIVE": "negative",
        "AMBIGUOUS": "ambiguous",
        "EXPIRED": "expired",
    }
    assert all(isinstance(status, str) for status in OutcomeStatus)

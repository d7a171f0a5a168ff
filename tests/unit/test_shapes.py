"""The shapes' limits, and what they load."""

import subprocess
import sys
import uuid
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from agents_topics.policy_file import load_policy
from agents_topics.shapes import (
    CalibrationAdjustment,
    FeedbackEntry,
    FeedbackSource,
    FeedbackTarget,
    OutcomeRecord,
    OutcomeType,
)
from sinks.http.shapes import (
    AnalyticsDashboardResponse,
    CalibrationCurveResponse,
    SubmitFeedbackRequest,
    SubmitFeedbackResponse,
)

REQUEST = {
    "conversation_state_id": "c",
    "target_type": "message",
    "target_id": "m",
    "source": "inline",
    "rating": 1,
}
ENTRY = {
    **REQUEST,
    "id": uuid.uuid4(),
    "tenant_id": uuid.uuid4(),
    "conversation_state_id": uuid.uuid4(),
    "reviewer_id": uuid.uuid4(),
    "reviewer_role": "manager",
    "created_at": datetime(2026, 1, 5, tzinfo=UTC),
}


def test_the_enums_have_the_named_values():
    assert {e.name: e.value for e in FeedbackTarget} == {
        "MESSAGE": "message", "DECISION": "decision", "CONVERSATION": "conversation",
    }  # fmt: skip
    assert {e.name: e.value for e in FeedbackSource} == {
        "INLINE": "inline", "DASHBOARD": "dashboard",
    }  # fmt: skip
    types = {rule.type for _, _, of in load_policy(None).versions[0].parts() for rule in of}
    assert {e.name: e.value for e in OutcomeType} == {name.upper(): name for name in types}


@pytest.mark.parametrize(
    ("source", "allowed"), [("inline", {-1, 0, 1}), ("dashboard", {1, 2, 3, 4, 5})]
)
def test_a_rating_is_on_the_scale_of_its_source(source, allowed):
    taken = set()
    for rating in range(-3, 8):
        told = {"source": source, "rating": rating}
        try:
            FeedbackEntry(**ENTRY | told)
            SubmitFeedbackRequest(**REQUEST | told)
            taken.add(rating)
        except ValidationError:
            with pytest.raises(ValidationError):
                SubmitFeedbackRequest(**REQUEST | told)

    assert taken == allowed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target_type", "reply"),
        ("source", "email"),
        ("rating", True),
        ("rating", "1"),
        ("rating", 0.5),
        ("target_id", "x" * 101),
        ("target_id", ""),
        ("comment", "x" * 1001),
        ("conversation_state_id", ""),
    ],
)
def test_a_bad_request_is_refused_by_its_field(field, value):
    with pytest.raises(ValidationError) as refused:
        SubmitFeedbackRequest(**REQUEST | {field: value})

    assert {error["loc"] for error in refused.value.errors()} == {(field,)}


def test_a_request_tells_plain_text_and_knows_nobody_but_the_token():
    told = REQUEST | {"tenant_id": "t", "reviewer_id": "somebody"}

    assert SubmitFeedbackRequest(**told).model_dump() == REQUEST | {"comment": None}
    assert SubmitFeedbackResponse(feedback_id="f").status == "recorded"


@pytest.mark.parametrize("field", ["id", "created_at"])
def test_no_id_is_made_up_and_no_time_is_taken_from_a_clock(field):
    without = {name: value for name, value in ENTRY.items() if name != field}

    with pytest.raises(ValidationError, match=field):
        FeedbackEntry(**without)
    assert OutcomeRecord.model_fields[field].is_required()


def test_the_other_answers_hold_what_they_are_named_for():
    curve = CalibrationCurveResponse(
        action_type="a", curve={"counts": [1]}, brier_score=None, sample_count=1,
        is_calibrated=False,
    )  # fmt: skip
    dashboard = AnalyticsDashboardResponse(
        role="rep", metrics={"total": 1}, period="30d", generated_at="2026-01-05T00:00:00Z"
    )
    adjustment = CalibrationAdjustment(
        action_type="a", direction="increase", magnitude=0.1, old_threshold=0.7,
        new_threshold=0.8, reason="over-confident",
    )  # fmt: skip

    assert CalibrationCurveResponse.model_validate_json(curve.model_dump_json()) == curve
    assert set(dashboard.model_dump()) == {"role", "metrics", "period", "generated_at"}
    with pytest.raises(ValidationError):
        CalibrationAdjustment(**adjustment.model_dump() | {"direction": "sideways"})


def test_the_shapes_load_neither_kafka_nor_sql():
    code = "import sys, sinks.http.shapes; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    heavy = {"faust", "aiokafka", "sqlalchemy", "asyncpg", "numpy", "msgspec", "aiohttp"}
    assert "pydantic" in done.stdout.split()
    assert not set(done.stdout.split()) & heavy

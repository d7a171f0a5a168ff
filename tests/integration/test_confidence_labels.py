"""Words for a confidence, and a grace for each topic, through real servers and the audit."""

import json

import pytest

from tests.integration.test_late_reply import TENANT, action, did
from tests.running_stack import running_stack

UNTIL = "2026-02-03T00:00:00Z"


@pytest.fixture
def stack(kafka_bootstrap, database_url, tmp_path):
    graces = {
        "TRUEUP_GRACE_S_AGENT_ACTIONS": "600",
        "TRUEUP_GRACE_S_AGENT_INTERACTIONS": "7200",
    }
    with running_stack(kafka_bootstrap, database_url, tmp_path, **graces) as made:
        yield made


def stated(event_id, at, label, confidence=None):
    told = action(event_id, at) | {"conversation_id": event_id, "confidence_label": label}
    del told["predicted_confidence"]
    return told | ({} if confidence is None else {"predicted_confidence": confidence})


def reply(event_id, at):
    return did(f"r-{event_id}", "reply_received", at) | {"conversation_id": event_id}


def test_labels_are_counted_beside_the_bins_and_the_audit_agrees(stack):
    stack.emit(
        stated("a", "2026-02-01T00:00:00Z", "high"),
        stated("b", "2026-02-01T00:01:00Z", "high"),
        stated("c", "2026-02-01T00:02:00Z", "low"),
        stated("d", "2026-02-01T00:03:00Z", "low", 0.85),
        reply("a", "2026-02-01T03:00:00Z"),
        reply("d", "2026-02-01T03:00:00Z"),
    )
    told = stack.trueup("emit", str(bad_file(stack)), code=4)
    stack.wait_for("SELECT 1 FROM tenant.outcome_records", 4)
    waiting = stack.trueup("explain", "b", "--tenant", TENANT)
    stack.emit(reply("b", "2026-02-01T01:00:00Z"))  # two hours behind its topic: late
    stack.trueup("clock", "--until", UNTIL)
    rates = stack.wait_for(
        "SELECT confidence_label, record_set, n, positive_count, expired_count, actual_rate"
        " FROM tenant.calibration_label_rates ORDER BY 1, 2",
        4,
    )
    bins = stack.wait_for(
        "SELECT bin_index, n FROM tenant.calibration_stream_bins WHERE record_set = 'all'", 1
    )
    outcomes = stack.wait_for(
        "SELECT action_id, predicted_confidence, confidence_label FROM tenant.outcome_records"
        " WHERE is_settled ORDER BY 1",
        4,
    )
    story = stack.trueup("explain", "a", "--tenant", TENANT)
    audit = stack.trueup("audit")

    assert "the policy does not know 'certain', only high, medium, low" in told
    assert "the time of agent-actions has passed 2026-02-02 00:11" in " ".join(waiting.split())
    assert rates == [
        rate("high", "all", 2, 1), rate("high", "lead", 2, 1),
        rate("low", "all", 1, 0), rate("low", "lead", 1, 0),
    ]  # fmt: skip
    assert bins == [{"bin_index": 8, "n": "1"}]
    assert [tuple(row.values()) for row in outcomes] == [
        ("a", None, "high"), ("b", None, "high"), ("c", None, "low"), ("d", 0.85, "low"),
    ]  # fmt: skip
    assert "said high of its confidence" in story
    assert "a success among those that said high, in no bin, of send_email" in " ".join(
        story.split()
    )
    assert "1 late" in audit


def rate(label, record_set, n, positive):
    return {
        "confidence_label": label, "record_set": record_set, "n": n, "positive_count": positive,
        "expired_count": n - positive, "actual_rate": positive / n,
    }  # fmt: skip


def bad_file(stack):
    file = stack.folder / "bad.ndjson"
    file.write_text(json.dumps(stated("e", "2026-02-01T00:00:00Z", "certain")) + "\n")
    return file

"""The law through the command line: a reply that comes too late, a person's label, a settled file.

An action at 00:00 with a day's window, the interactions silent from 05:00, another action at 06:00
of the next day; a clock record until then stands for the silence; then the reply of 23:00.
"""

import pytest

from agents_topics.identifiers import tenant_id_of

pytestmark = pytest.mark.slow

TENANT = tenant_id_of("acme")


def action(event_id, at):
    return {
        "event_id": event_id, "tenant_id": TENANT, "conversation_id": "c",
        "action_type": "send_email", "predicted_confidence": 0.8, "occurred_at": at,
    }  # fmt: skip


def did(event_id, kind, at):
    return {
        "event_id": event_id, "tenant_id": TENANT, "conversation_id": "c", "kind": kind,
        "occurred_at": at,
    }  # fmt: skip


def test_a_late_reply_a_label_and_a_settled_file(stack):
    stack.emit(
        action("first", "2026-02-01T00:00:00Z"), did("held", "meeting_held", "2026-02-01T05:00:00Z")
    )
    stack.emit(action("second", "2026-02-02T06:00:00Z"))
    stack.wait_for("SELECT 1 FROM tenant.outcome_records", 2)
    pending = stack.trueup("pending", "--tenant", "acme")
    stack.trueup("clock", "--until", "2026-02-02T06:00:00Z")
    settled = "SELECT action_id, outcome_status FROM tenant.outcome_records WHERE is_settled"
    assert stack.wait_for(settled, 1) == [{"action_id": "first", "outcome_status": "expired"}]

    stack.emit(did("late", "reply_received", "2026-02-01T23:00:00Z"))
    refused = stack.trueup("label", "first", "positive", "--at", "2026-02-01T23:30:00Z", code=4)
    outside = stack.trueup("label", "second", "negative", code=4)
    labelled = stack.trueup(
        "label", "second", "negative", "--at", "2026-02-02T07:00:00Z", "--reviewer", "kim"
    )
    told = stack.emit(
        action("third", "2026-02-02T08:00:00Z"),
        did("reply", "reply_received", "2026-02-02T09:00:00Z"),
        options=["--settle"],
    )
    found = {row["action_id"]: row["outcome_status"] for row in stack.wait_for(settled, 3)}
    audit = stack.trueup("audit")

    assert pending.index("first") < pending.index("second")
    assert "email_engagement is expired" in refused
    assert "from 2026-02-02T06:00:00.000Z up to 2026-02-03T06:00:00.000Z" in outside
    assert labelled == "second is negative: email_engagement.\n"
    assert "Event time goes to 2026-03-04T10:00:00.000Z." in told
    assert found == {"first": "expired", "second": "negative", "third": "positive"}
    assert "1 late" in audit
    assert stack.trueup("pending") == "Nothing is pending.\n"

"""Examples of every event, for the schemas and the AsyncAPI document."""

from typing import Any

from agents_topics.calibration_examples import CALIBRATION_EXAMPLES
from agents_topics.events import (
    Action,
    CalibrationUpdate,
    Clock,
    CloseAlarm,
    Feedback,
    Forget,
    Forgotten,
    Interaction,
    LateEvent,
    Outcome,
    PolicyRecord,
    Promise,
    ThresholdOverride,
)
from agents_topics.label_rates import LabelRate
from agents_topics.letters import Redriven

TENANT_ID = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"
"""The UUID of the tenant `acme`."""

_OUTCOME_ID = "6f21d2a5-15e4-52f5-b1b8-5d0f3f0ea56d"
_IN_CONVERSATION = {"tenant_id": TENANT_ID, "conversation_id": "deal-1"}
_ACTION = {
    "event_id": "e1",
    **_IN_CONVERSATION,
    "action_type": "send_email",
    "predicted_confidence": 0.82,
    "occurred_at": "2026-02-01T09:00:00Z",
}
_INTERACTION = {
    "event_id": "e2",
    **_IN_CONVERSATION,
    "kind": "reply_received",
    "occurred_at": "2026-02-01T11:30:00Z",
}
_FEEDBACK = {
    "event_id": "e4",
    **_IN_CONVERSATION,
    "target_type": "message",
    "target_id": "message-7",
    "source": "inline",
    "rating": 1,
    "reviewer_id": "0d4bb0fe-6ad8-5b0a-9d6c-2f4c4a3f1f11",
    "reviewer_role": "rep",
    "occurred_at": "2026-02-01T12:00:00Z",
}
_SUMS = {"n": 2, "sp": 1_640_000, "spp": "1344800000000", "sy": 1, "spy": 820_000}
_SUMS |= {"excluded_n": 0, "excluded_sp": 0, "excluded_spp": "0"}

_OVERRIDDEN = {
    "event_id": "decision-1",
    "tenant_id": TENANT_ID,
    "action_type": "send_email",
    "reviewer": "ann",
    "occurred_at": "2026-03-01T00:00:00Z",
}

EXAMPLES: dict[type[Any], dict[str, dict[str, Any]]] = {
    Action: {
        "minimal": _ACTION,
        "full": _ACTION
        | {
            "action_id": "mail-1",
            "outcome_type": "email_engagement",
            "confidence_source": "self_report",
            "deal_stage": "qualification",
            "interaction_count": 3,
            "rep_id": "ann",
            "agent_id": "closer-bot",
            "agent_version": "2026-01",
            "model": "model-small",
            "cost_usd": 0.004,
            "latency_ms": 850,
            "metadata": {"subject_length": 42, "tags": ["first", "short"]},
            "confidence_label": "high",
            "channel": "mail",
        },
        "label": {name: held for name, held in _ACTION.items() if name != "predicted_confidence"}
        | {"event_id": "e5", "confidence_source": "self_report", "confidence_label": "medium"},
    },
    Interaction: {
        "minimal": _INTERACTION,
        "full": _INTERACTION
        | {
            "kind": "stage_changed",
            "action_id": "mail-1",
            "deal_stage": "evaluation",
            "interaction_count": 4,
            "channel": "mail",
            "account_id": "account-1",
            "contact_id": "contact-1",
            "contact_email": "bob@example.com",
            "contact_name": "Bob",
            "persona_type": "buyer",
            "metadata": {"thread": "t-9"},
        },
        "label": _INTERACTION
        | {
            "event_id": "e3",
            "kind": "human_label",
            "action_id": "e1",
            "label": "positive",
            "metadata": {"score": 0.5, "reviewer": "ann"},
        },
    },
    Feedback: {
        "minimal": _FEEDBACK,
        "full": _FEEDBACK
        | {
            "target_type": "conversation",
            "target_id": "d1d8e1a2-0f0f-5d0f-8a51-7a6e0d9d3c55",
            "source": "dashboard",
            "rating": 4,
            "reviewer_role": "manager",
            "outcome_record_id": _OUTCOME_ID,
            "action_id": "mail-1",
            "comment": "Right tone, a day late.",
            "metadata": {"page": "weekly"},
        },
    },
    Clock: {"full": {"kind": "clock", "event_id": "clock-1", "until": "2026-03-01T00:00:00Z"}},
    ThresholdOverride: {
        "set": {
            "kind": "threshold",
            **_OVERRIDDEN,
            "outcome_type": "email_engagement",
            "confidence_source": "self_report",
            "action": "set",
            "value": 0.8,
            "because": "The price list is being changed.",
        },
        "release": {"kind": "threshold", **_OVERRIDDEN, "action": "release"},
    },
    CloseAlarm: {
        "minimal": {"kind": "close_alarm", **_OVERRIDDEN},
        "full": {
            "kind": "close_alarm",
            **_OVERRIDDEN,
            "outcome_type": "email_engagement",
            "confidence_source": "self_report",
            "because": "Its prompt was changed on Monday.",
        },
    },
    Forget: {
        "tenant": {"kind": "forget", "event_id": "forget-1", "tenant_id": TENANT_ID},
        "conversation": {"kind": "forget", "event_id": "forget-2", **_IN_CONVERSATION},
    },
    Outcome: {
        "settled": {
            "id": _OUTCOME_ID,
            **_IN_CONVERSATION,
            "action_id": "e1",
            "action_type": "send_email",
            "outcome_type": "email_engagement",
            "predicted_confidence": 0.82,
            "confidence_label": None,
            "confidence_source": "unknown",
            "status": "positive",
            "score": 1.0,
            "signal_source": "automatic",
            "decided_by": "e2",
            "created_at_ms": 1_769_936_400_000,
            "window_expires_at_ms": 1_770_022_800_000,
            "settled_at_ms": 1_770_022_800_000,
            "resolved_at_ms": 1_769_945_400_000,
            "known_at_ms": 1_769_945_400_180,
            "revision": 2,
            "is_settled": True,
            "calibrates": True,
            "is_lead": True,
            "expired_counts": True,
            "policy_version": "5d1f3c0a9be27764",
            "deal_stage": None,
            "interaction_count": None,
            "rep_id": None,
            "agent_id": None,
            "agent_version": None,
            "model": None,
            "cost_usd": None,
            "latency_ms": None,
            "metadata": None,
            "channel": None,
        }
    },
    Promise: {"full": {"source": 0, "until_ms": 1_770_022_800_000}},
    CalibrationUpdate: {
        "full": {
            "tenant_id": TENANT_ID,
            "action_type": "send_email",
            "outcome_type": "email_engagement",
            "window_ms": 86_400_000,
            "confidence_source": "unknown",
            "bin_index": 8,
            "all": _SUMS,
            "lead": _SUMS,
            "counts": {"positive": 1, "expired": 1},
            "last_settled_at_ms": 1_770_022_800_000,
            "residuals": ["0"] * 40,
        }
    },
    LabelRate: {
        "full": {
            "tenant_id": TENANT_ID,
            "action_type": "send_email",
            "outcome_type": "email_engagement",
            "window_ms": 86_400_000,
            "confidence_source": "self_report",
            "confidence_label": "medium",
            "all": {"n": 3, "positive": 2, "negative": 0, "ambiguous": 1, "expired": 1},
            "lead": {"n": 1, "positive": 1, "negative": 0, "ambiguous": 0, "expired": 0},
            "last_settled_at_ms": 1_770_022_800_000,
        }
    },
    LateEvent: {
        "full": {
            "topic": "agent-interactions",
            "partition": 0,
            "offset": 41,
            **_IN_CONVERSATION,
            "event_id": "e2",
            "occurred_at_ms": 1_769_945_400_000,
            "reason": "behind",
            "compared_ms": 1_769_949_000_000,
            "grace_ms": 3_600_000,
        }
    },
    Forgotten: {
        "full": {
            "forget_id": "forget-2",
            **_IN_CONVERSATION,
            "partition": 0,
            "offsets": {"agent-actions": 120, "agent-interactions": 42},
            "settled_until_ms": 1_769_945_400_000,
            "open_outcomes": 1,
        }
    },
    PolicyRecord: {
        "full": {
            "digest": "14b6feb9e2695935",
            "effective_from": "2026-03-01T00:00:00Z",
            "content": '{"effective_from":"2026-03-01T00:00:00Z"}',
        }
    },
    Redriven: {
        "full": {"letter": "0:17", "topic": "agent-interactions", "partition": 2, "is_mended": True}
    },
    **CALIBRATION_EXAMPLES,
}

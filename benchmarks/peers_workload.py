"""The workload that other engines were measured on, carried into our contract, with its truth.

300,000 actions and 700,000 interactions at scale 1: twenty tenants, uniform event time over forty
days, interactions that could resolve 55 % of the actions at a delay uniform over 1.3 windows, the
rest noise of six kinds, 0.5 % under another tenant with the same conversation id. Tenants are
uuid5, the key tenant/conversation, stages are mapped to DealStage; a clock record closes all
windows where the original has a sentinel.
"""

import json
import random
import uuid
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from agents_topics.identifiers import key_of, tenant_id_of

HOUR_MS = 3_600_000
START_MS = 1_735_689_600_000
SPAN_MS = 40 * 24 * HOUR_MS
CLOSED_MS = START_MS + 75 * 24 * HOUR_MS
TENANT_COUNT = 20
TYPES = ("send_email", "send_chat", "process_reply", "qualify", "recommend_action", "escalate")
WINDOW_MS = np.array([24, 24, 24, 720, 168, 168]) * HOUR_MS
STAGES = ("prospecting", "discovery", "qualification", "evaluation", "negotiation", "closed_won")
KINDS = (
    "reply_received", "message_opened", "link_clicked", "stage_changed", "meeting_held", "bounced",
)  # fmt: skip
DECISIVE = (0, 0, 0, 3, 4, 4)


@dataclass(frozen=True)
class Workload:
    """Records by topic in event time order, and the truth: action_id -> (status, resolved ms)."""

    actions: list[tuple[bytes, bytes]]
    interactions: list[tuple[bytes, bytes]]
    truth: dict[str, tuple[str, int]]


def generate(scale: float, seed: int = 20250101) -> Workload:
    """The workload; the same bytes for the same scale and seed."""
    r = np.random.default_rng(seed)
    ids = random.Random(seed)
    n_actions, n_interactions = int(300_000 * scale), int(700_000 * scale)
    n_conversations = max(int(100_000 * scale), 1)
    a_t = np.sort(r.integers(0, SPAN_MS, n_actions))
    a_c = r.integers(0, n_conversations, n_actions)
    a_y = r.choice(6, n_actions, p=[0.3, 0.15, 0.15, 0.15, 0.15, 0.1])
    a_s = r.integers(0, 5, n_actions)
    a_p = np.round(r.random(n_actions), 4)
    chosen = np.nonzero(r.random(n_actions) < 0.55)[0]
    t = a_t[chosen] + 1 + (r.random(len(chosen)) * WINDOW_MS[a_y[chosen]] * 1.3).astype(np.int64)
    k = np.array(DECISIVE)[a_y[chosen]]
    s = np.where(
        a_y[chosen] == 3, np.minimum(5, a_s[chosen] + r.integers(0, 3, len(chosen))), a_s[chosen]
    )
    inside = t < SPAN_MS
    noise = n_interactions - int(inside.sum())
    i_t = np.concatenate([t[inside], r.integers(0, SPAN_MS, noise)])
    i_c = np.concatenate([a_c[chosen][inside], r.integers(0, n_conversations, noise)])
    i_k = np.concatenate([k[inside], r.choice(6, noise, p=[0.1, 0.45, 0.25, 0.1, 0.05, 0.05])])
    i_s = np.concatenate([s[inside], r.integers(0, 6, noise)])
    order = np.argsort(i_t, kind="stable")
    i_t, i_c, i_k, i_s = i_t[order], i_c[order], i_k[order], i_s[order]
    strayed = r.random(n_interactions) < 0.005
    tenants = [tenant_id_of(f"tenant-{number:02d}") for number in range(TENANT_COUNT)]
    actions, interactions = [], []
    by_key: dict[tuple[int, int], list[tuple[int, int, int]]] = defaultdict(list)
    a_text, i_text = _timestamps(a_t), _timestamps(i_t)
    for j in range(n_interactions):
        conversation = int(i_c[j])
        tenant = (conversation + strayed[j]) % TENANT_COUNT
        by_key[tenant, conversation].append((int(i_t[j]), int(i_k[j]), int(i_s[j])))
        body = {
            "event_id": _uuid(ids),
            "tenant_id": tenants[tenant],
            "conversation_id": f"conv-{conversation:07d}",
            "kind": KINDS[i_k[j]],
            "occurred_at": i_text[j],
            "deal_stage": STAGES[i_s[j]],
            "channel": "email",
            "actor": f"contact-{conversation:06d}",
            "source": "crm-webhook",
            "message_id": _uuid(ids),
            "schema_version": 1,
        }
        interactions.append(_record(body))
    truth = {}
    for j in range(n_actions):
        conversation = int(a_c[j])
        tenant = conversation % TENANT_COUNT
        body = {
            "event_id": _uuid(ids),
            "tenant_id": tenants[tenant],
            "conversation_id": f"conv-{conversation:07d}",
            "action_id": _uuid(ids),
            "action_type": TYPES[a_y[j]],
            "predicted_confidence": float(a_p[j]),
            "occurred_at": a_text[j],
            "deal_stage": STAGES[a_s[j]],
            "agent_id": f"agent-{j % 97:03d}",
            "schema_version": 1,
        }
        actions.append(_record(body))
        truth[body["action_id"]] = _truth(
            int(a_t[j]), int(a_y[j]), int(a_s[j]), by_key.get((tenant, conversation), [])
        )
    return Workload(actions, interactions, truth)


def _truth(
    at: int, action_type: int, stage: int, own: list[tuple[int, int, int]]
) -> tuple[str, int]:
    end = at + int(WINDOW_MS[action_type])
    for t, kind, other in own:
        if t >= end:
            break
        if t >= at and kind == DECISIVE[action_type] and (action_type != 3 or other > stage):
            return "positive", START_MS + t
    return "expired", START_MS + end


def _record(body: dict[str, object]) -> tuple[bytes, bytes]:
    key = key_of(str(body["tenant_id"]), str(body["conversation_id"])).encode()
    return key, json.dumps(body, separators=(",", ":")).encode()


def _uuid(ids: random.Random) -> str:
    return str(uuid.UUID(int=ids.getrandbits(128), version=4))


def _timestamps(offsets: "np.ndarray") -> list[str]:
    text = np.datetime_as_string((offsets + START_MS).astype("datetime64[ms]"), unit="ms")
    return [f"{one}Z" for one in text]

"""A person's verdict on an action: an interaction of kind `human_label` that names it.

It decides over every signal, for each outcome of the action that has not settled yet, if its time
lies between the action and that outcome's settle time. A settled outcome never changes, so a label
that could decide nothing is refused before it is sent.
"""

import json
import uuid
from dataclasses import dataclass

from agents_topics.connection import Connection
from agents_topics.events import Outcome, to_ms, to_timestamp
from agents_topics.identifiers import key_of
from agents_topics.rules import HUMAN_LABEL
from agents_topics.topics import AGENT_INTERACTIONS
from sinks.postgres.provenance import outcomes_of_action
from trueup.emit import Sender


class LabelProblem(Exception):
    """The label would decide nothing; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a person says. `at` is RFC 3339 with a zone."""

    action_id: str
    verdict: str
    at: str
    tenant_id: str | None = None
    conversation_id: str | None = None
    score: float | None = None
    reviewer: str | None = None


async def send_label(connection: Connection, url: str, label: Label) -> list[str]:
    """Sends it; returns the outcome types that it decides.

    Raises:
        LabelProblem: it would decide nothing.
        ValueError: `at` is no time.
        PostgresProblem, EnvironmentProblem, KafkaError: a server is away.
    """
    at_ms = to_ms(label.at)
    located = await outcomes_of_action(url, label.action_id, label.tenant_id, label.conversation_id)
    outcomes = [one.outcome for one in located]
    decided = _decided(label, outcomes, at_ms)
    key, value = _event(label, outcomes[0])
    async with Sender(connection) as sender:
        await sender.send(AGENT_INTERACTIONS.name, key.encode(), value)
    return [outcome.outcome_type for outcome in decided]


def _decided(label: Label, outcomes: list[Outcome], at_ms: int) -> list[Outcome]:
    """The outcomes that the label decides."""
    if not outcomes:
        raise LabelProblem(f"no outcome of an action {label.action_id!r} is in Postgres")
    places = sorted({(one.tenant_id, one.conversation_id) for one in outcomes})
    if len(places) > 1:
        told = "; ".join(f"--tenant {tenant} --conversation {name}" for tenant, name in places)
        raise LabelProblem(f"several conversations have an action {label.action_id!r}: say {told}")
    unsettled = [one for one in outcomes if not one.is_settled]
    if not unsettled:
        told = ", ".join(f"{one.outcome_type} is {one.status}" for one in outcomes)
        raise LabelProblem(f"it has settled ({told}), and what has settled never changes")
    decided = [one for one in unsettled if one.created_at_ms <= at_ms < one.settled_at_ms]
    if not decided:
        first = to_timestamp(unsettled[0].created_at_ms)
        last = to_timestamp(max(one.settled_at_ms for one in unsettled))
        raise LabelProblem(f"{label.at} lies outside its time, from {first} up to {last}: see --at")
    return decided


def _event(label: Label, outcome: Outcome) -> tuple[str, bytes]:
    """Key and value. The same label sent again is a duplicate: its id follows from what it says."""
    tenant_id, conversation_id = outcome.tenant_id, outcome.conversation_id
    said = {"score": label.score, "reviewer": label.reviewer}
    metadata = {name: value for name, value in said.items() if value is not None}
    content = [conversation_id, label.action_id, label.verdict, label.at, metadata]
    body = {
        "event_id": f"label-{uuid.uuid5(uuid.UUID(tenant_id), json.dumps(content))}",
        "tenant_id": tenant_id,
        "conversation_id": conversation_id,
        "kind": HUMAN_LABEL,
        "occurred_at": label.at,
        "action_id": label.action_id,
        "label": label.verdict,
    } | ({"metadata": metadata} if metadata else {})
    return key_of(tenant_id, conversation_id), json.dumps(body).encode()

"""An agent that is too sure of itself, its outcomes and what the calibrator tells of its stream."""

import random
import uuid
from dataclasses import dataclass

import msgspec
import numpy as np

from agents_topics.events import Outcome
from agents_topics.policy_file import load_policy
from agents_topics.topics import CALIBRATION_UPDATES, OUTCOMES
from tables.calibration_bins import millionths_of, y_of
from tables.stream import Stream
from tables.stream_calibration import StreamFold
from tables.stream_records import records_of
from tables.stream_sums import Settled
from tables.stream_threshold import StreamRule

DAY = 86_400_000
FIRST_DAY = 20_458
"""The fifth of January 2026."""
WINDOW = 3 * DAY
RULE = StreamRule(700_000, 700_000)
VERSION = load_policy(None).versions[0].digest


@dataclass
class Agent:
    """How much too sure it is, where its confidences come from, and how many ambiguous it has."""

    excess: float = 0.12
    source: str = "judge"
    ambiguous: float = 0.05
    a_day: int = 25
    days: int = 40


def outcomes_of(tenant, agent, seed=1, action_type="recommend_action"):
    """What is known at the end of its last day, in the order of the actions."""
    draw, made = np.random.default_rng(seed), []
    now = (FIRST_DAY + agent.days) * DAY
    for day in range(agent.days):
        for number in range(agent.a_day):
            p, at = round(draw.uniform(0.4, 0.95), 3), int((FIRST_DAY + day + draw.random()) * DAY)
            u, delay = draw.random(), int(draw.beta(1, 3) * WINDOW)
            status = "positive" if draw.random() < p - agent.excess else "expired"
            if u < agent.ambiguous:
                status = "ambiguous"
            elif status == "expired" and u < 0.5:
                status = "negative"
            is_settled = at + WINDOW < now
            is_silent = status == "expired" or (not is_settled and at + delay >= now)
            shown = status if is_settled or not is_silent else "pending"
            resolved = None if shown == "pending" else at + (WINDOW if is_silent else delay)
            name = f"{agent.source}-{day}-{number}"
            made.append(
                Outcome(
                    id=str(uuid.uuid5(uuid.UUID(tenant), name)), tenant_id=tenant,
                    conversation_id=name, action_id=name, action_type=action_type,
                    outcome_type="meeting_outcome", predicted_confidence=p,
                    confidence_source=agent.source, status=shown, score=None, signal_source=None,
                    decided_by=None, created_at_ms=at, window_expires_at_ms=at + WINDOW,
                    settled_at_ms=at + WINDOW, resolved_at_ms=resolved, known_at_ms=None,
                    revision=0, is_settled=is_settled, calibrates=True,
                    is_lead=True if is_settled else None, expired_counts=True,
                    policy_version=VERSION, model="small" if number % 2 else "large",
                )
            )  # fmt: skip
    return made


def stream_of(outcome):
    window_ms = outcome.window_expires_at_ms - outcome.created_at_ms
    of = (outcome.tenant_id, outcome.action_type, outcome.outcome_type)
    return Stream(*of, window_ms, outcome.confidence_source)


def settled_of(outcome):
    """What the fold takes of a settled outcome."""
    has_signal = outcome.status in ("positive", "negative", "ambiguous")
    return Settled(
        outcome.settled_at_ms, outcome.created_at_ms, millionths_of(outcome.predicted_confidence),
        y_of(outcome.status, outcome.expired_counts), outcome.status, bool(outcome.is_lead),
        outcome.policy_version,
        delay_ms=outcome.resolved_at_ms - outcome.created_at_ms if has_signal else None,
        segments=(("model", outcome.model),),
    )  # fmt: skip


def folded(outcomes):
    """The fold of their stream over those that have settled."""
    fold = StreamFold(stream_of(outcomes[0]), days_kept=10**6)
    for one in sorted(outcomes, key=lambda o: (o.settled_at_ms, o.created_at_ms, o.action_id)):
        if one.is_settled:
            fold.update(settled_of(one), RULE)
    return fold


async def store(writer, outcomes, fold):
    """Writes the rows of outcomes, and of what the fold tells."""
    told = [record for _, record in records_of(fold)]
    for topic, events in ((OUTCOMES.name, outcomes), (CALIBRATION_UPDATES.name, told)):
        partition = random.SystemRandom().randrange(1 << 30)
        records = list(enumerate(map(msgspec.json.encode, events)))
        await writer.write(topic, partition, 0, len(records), records)

"""The law written the slow, obvious way: whole logs in, lists scanned over and over, nothing kept.

It shares no code with `tables`; the policy's data and the events are all it knows.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from fractions import Fraction

from agents_topics.events import STAGE_RANKS, to_ms

HOUR = 3_600_000


@dataclass(frozen=True)
class Logged:
    """A record of one topic's log: offset, broker time and event."""

    offset: int
    timestamp: int
    event: object


def life_of(topic, record, forgotten):
    """The number of the first forgetting that means the record and came after it; None: it lives.

    `forgotten`: each as (tenant, conversation or None, {topic: offset below which records are}).
    """
    event = record.event
    for number, (tenant_id, conversation_id, offsets) in enumerate(forgotten):
        is_meant = event.tenant_id == tenant_id and conversation_id in (
            None,
            event.conversation_id,
        )
        if is_meant and record.offset < offsets[topic]:
            return number
    return None


def in_lives(topic, records, forgotten):
    """The records, each life that is over as a conversation of its own: with a NUL and a number."""
    lives = [(record, life_of(topic, record, forgotten)) for record in records]
    return [
        record
        if life is None
        else replace(
            record,
            event=replace(record.event, conversation_id=f"{record.event.conversation_id}\0{life}"),
        )
        for record, life in lives
    ]


def classify(policy, actions, interactions, grace_ms, forgotten=()):
    """({topic: {offset: class}}, admitted actions, admitted interactions); nothing is pushed."""
    classes = {}
    admitted = {}
    for topic, log in (("agent-actions", actions), ("agent-interactions", interactions)):
        classes[topic] = {}
        admitted[topic] = []
        for record in log:
            event, at = record.event, to_ms(record.event.occurred_at)
            key = (event.tenant_id, event.conversation_id)
            before = [
                min(to_ms(r.event.occurred_at), r.timestamp)
                for r in log
                if r.offset < record.offset
                and classes[topic][r.offset] not in ("future", "unknown")
            ]
            same_id = [
                r.event
                for r in admitted[topic]
                if (r.event.tenant_id, r.event.conversation_id) == key
                and r.event.event_id == event.event_id
                and to_ms(r.event.occurred_at) + grace_ms[topic] > max(before)
            ][-1:]
            if policy.is_listed and event.tenant_id not in policy.tenants.values():
                found = "unknown"
            elif at > record.timestamp + 600_000:
                found = "future"
            elif topic == "agent-actions" and is_unknown(policy.version_at(at), event):
                found = "unknown"
            elif before and at + grace_ms[topic] <= max(before):
                found = "late"
            elif topic == "agent-interactions" and event.kind not in kinds_at(policy, at):
                found = "ignored"
            elif same_id:
                found = "duplicate" if same_id[0] == event else "conflict"
            elif topic == "agent-actions" and any(
                (r.event.tenant_id, r.event.conversation_id) == key
                and (r.event.action_id or r.event.event_id) == (event.action_id or event.event_id)
                and life_of(topic, r, forgotten) == life_of(topic, record, forgotten)
                for r in admitted[topic]
            ):
                found = "conflict"
            else:
                found = "admitted"
                admitted[topic].append(record)
            classes[topic][record.offset] = found
    return classes, admitted["agent-actions"], admitted["agent-interactions"]


def is_unknown(version, action):
    """The version has no rule for the action, or does not know its word."""
    if not version.rules_of(action.tenant_id, action.action_type, action.outcome_type):
        return True
    label = action.confidence_label
    return label is not None and label not in version.confidence_labels


def kinds_at(policy, at):
    """The kinds that some version begun by then names."""
    return {"human_label"} | {
        signal.kind
        for version in policy.versions
        if version.effective_from is None or to_ms(version.effective_from) <= at
        for types in (version.action_types, *version.tenants.values())
        for rules in types.values()
        for rule in rules
        for signal in rule.signals
    }


def means(signal_rules, interaction, action):
    found = set()
    for signal in signal_rules:
        if interaction.kind == "human_label" or signal.kind not in (interaction.kind, "*"):
            continue
        own, other = STAGE_RANKS.get(action.deal_stage), STAGE_RANKS.get(interaction.deal_stage)
        holds = {
            "always": True,
            "count_above": None not in (interaction.interaction_count, action.interaction_count)
            and interaction.interaction_count > action.interaction_count,
            "stage_above": None not in (own, other) and other > own,
            "stage_lost": interaction.deal_stage in ("closed_lost", "stalled"),
        }
        if holds[signal.when]:
            found.add(signal.means)
    return found


def action_id(action):
    return action.action_id or action.event_id


def concerns(interaction, action, rule):
    """Rules 3 and 4, and `direct`."""
    if interaction.action_id is None:
        named = rule.attribution != "direct"
    else:
        named = interaction.action_id == action_id(action)
    return means(rule.signals, interaction, action) if named else set()


def settle(policy, actions, interactions):
    """{(key, action_id, outcome_type): the settled outcome's fields}, all windows closed."""
    outcomes = {}
    for record in actions:
        action = record.event
        start = to_ms(action.occurred_at)
        own = [
            r
            for r in interactions
            if (r.event.tenant_id, r.event.conversation_id)
            == (action.tenant_id, action.conversation_id)
        ]
        neighbours = [
            r.event
            for r in actions
            if (r.event.tenant_id, r.event.conversation_id)
            == (action.tenant_id, action.conversation_id)
        ]
        version = policy.version_at(start)
        for rule in version.rules_of(action.tenant_id, action.action_type, action.outcome_type):
            end = start + rule.window_hours * HOUR
            settled_at = start + max(rule.window_hours, rule.label_window_hours) * HOUR
            labels = [
                r
                for r in own
                if r.event.kind == "human_label"
                and r.event.label
                and r.event.action_id == action_id(action)
                and start <= to_ms(r.event.occurred_at) < settled_at
            ]
            signals = []
            for r in own:
                at = to_ms(r.event.occurred_at)
                meant = concerns(r.event, action, rule)
                if not (start <= at < end) or not meant:
                    continue
                if rule.attribution == "last":
                    rivals = [
                        (to_ms(n.occurred_at), action_id(n))
                        for n in neighbours
                        for other in policy.version_at(to_ms(n.occurred_at)).rules_of(
                            n.tenant_id, n.action_type, n.outcome_type
                        )
                        if other.type == rule.type
                        and concerns(r.event, n, other)
                        and to_ms(n.occurred_at)
                        <= at
                        < to_ms(n.occurred_at) + other.window_hours * HOUR
                    ]
                    if max(rivals) != (start, action_id(action)):
                        continue
                signals.append((at, r.event.event_id, meant, r))
            status, score, source, decided_by, resolved = "expired", None, "automatic", None, end
            if labels:
                last = max(labels, key=lambda r: (to_ms(r.event.occurred_at), r.event.event_id))
                status, source, decided_by = last.event.label, "human_label", last.event.event_id
                resolved = to_ms(last.event.occurred_at)
                score = {"positive": 1.0, "negative": 0.0, "ambiguous": None}[status]
            elif signals:
                resolved = min(at for at, *_ in signals)
                decisive = [s for s in signals if s[0] == resolved]
                decided_by = min(event_id for _, event_id, *_ in decisive)
                meant = set().union(*(m for _, _, m, _ in decisive))
                status = meant.pop() if len(meant) == 1 else "ambiguous"
                if status == "negative":
                    score = 0.0
                if status == "positive":
                    score = 1.0
                    ranks = [
                        STAGE_RANKS[r.event.deal_stage]
                        for _, _, m, r in signals
                        if "positive" in m and r.event.deal_stage in STAGE_RANKS
                    ]
                    if rule.score == "stages" and ranks and action.deal_stage in STAGE_RANKS:
                        rank = STAGE_RANKS[action.deal_stage]
                        if rank < 5:
                            score = (max(ranks) - rank) / (5 - rank)
            key = f"{action.tenant_id}/{action.conversation_id}"
            outcomes[key, action_id(action), rule.type] = {
                "status": status,
                "score": score,
                "signal_source": source,
                "decided_by": decided_by,
                "created_at_ms": start,
                "window_expires_at_ms": end,
                "settled_at_ms": settled_at,
                "resolved_at_ms": resolved,
                "policy_version": version.digest,
                "calibrates": rule.calibrates,
                "expired_counts": rule.confidence_means == "success_in_window",
                "predicted_confidence": action.predicted_confidence,
                "confidence_label": action.confidence_label,
                "stream": (
                    action.tenant_id,
                    action.action_type,
                    rule.type,
                    rule.window_hours * HOUR,
                    version.confidence_sources.get(action.action_type, "unknown")
                    if action.confidence_source == "unknown"
                    else action.confidence_source,
                ),
            }
    _mark_leads(outcomes)
    return outcomes


def _mark_leads(outcomes):
    groups = defaultdict(list)
    for (key, action, outcome_type), outcome in outcomes.items():
        order = (outcome["settled_at_ms"], outcome["created_at_ms"], action)
        groups[key, outcome["stream"]].append((order, (key, action, outcome_type)))
    for members in groups.values():
        last_end = None
        for _, name in sorted(members):
            outcome = outcomes[name]
            outcome["is_lead"] = last_end is None or outcome["created_at_ms"] >= last_end
            if outcome["is_lead"]:
                last_end = outcome["window_expires_at_ms"]


def bins(outcomes):
    """{(stream, bin): {set: [n, Σp, Σp², Σy, Σpy, excluded n, Σp, Σp²]}} in millionths."""
    found = {}
    for outcome in outcomes.values():
        if not outcome["calibrates"] or outcome["predicted_confidence"] is None:
            continue
        p = int(Fraction(outcome["predicted_confidence"]) * 1_000_000 + Fraction(1, 2))
        index = 9 if p == 1_000_000 else p // 100_000
        y = {
            "positive": 1,
            "negative": 0,
            "ambiguous": None,
            "expired": 0 if outcome["expired_counts"] else None,
        }[outcome["status"]]
        sets = found.setdefault((outcome["stream"], index), {"all": [0] * 8, "lead": [0] * 8})
        for name in ("all", "lead") if outcome["is_lead"] else ("all",):
            row = [0, 0, 0, 0, 0, 1, p, p * p] if y is None else [1, p, p * p, y, p * y, 0, 0, 0]
            sets[name] = [a + b for a, b in zip(sets[name], row, strict=True)]
    return found


def label_rates(outcomes):
    """{(stream, label): {set: [n, positive, negative, ambiguous, expired]}} where no number is."""
    found = {}
    for outcome in outcomes.values():
        if not outcome["calibrates"] or outcome["predicted_confidence"] is not None:
            continue
        own = {"all": [], "lead": []}
        sets = found.setdefault((outcome["stream"], outcome["confidence_label"]), own)
        sets["all"].append(outcome)
        if outcome["is_lead"]:
            sets["lead"].append(outcome)
    statuses = ("positive", "negative", "ambiguous", "expired")
    return {
        key: {
            name: [
                sum(
                    o["status"] in ("positive", "negative")
                    or (o["status"] == "expired" and o["expired_counts"])
                    for o in members
                ),
                *(sum(o["status"] == status for o in members) for status in statuses),
            ]
            for name, members in sets.items()
        }
        for key, sets in found.items()
    }

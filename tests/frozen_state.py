"""A small state of a resolver and of a calibrator task: what their changelogs hold, and what it is.

`python -m tests.frozen_state v2` freezes it as this release writes it (tests/fixtures/state). All
of it is planted, nothing random. What is told of a state is told by the task that wrote it.
"""

import json
import sys
from pathlib import Path

import msgspec

from agents_topics.events import Promise, ThresholdOverride, to_timestamp
from agents_topics.identifiers import key_of, outcome_id_of, tenant_id_of
from agents_topics.policy_file import DEFAULT_POLICY_TOML, parse_policy
from streams import calibrate, resolve_outcomes
from streams.changelog import PROGRESS_KEY, decode, progress_of
from streams.work import row_outs
from tables.calibration_bins import SUM_NAMES
from tables.calibrator import Calibrator
from tables.outcome_record import OutcomeStruct
from tables.outcome_resolver import OutcomeResolver
from tests.resolver_task import (
    DECODE,
    GRACE,
    HOUR,
    INTERACTIONS,
    START,
    TENANT,
    Record,
    Task,
    action,
    stage,
)

STATES = Path(__file__).parent / "fixtures" / "state"
POLICY_TOML = DEFAULT_POLICY_TOML.replace("[[version]]", '[[version]]\nsegments = ["model"]', 1)
RESOLVER, CALIBRATOR = "outcome-resolver", "calibrator"
BROKER_MS = START + 9_999 * HOUR
END_MS = START + 9_000 * HOUR
SOURCES = 2

pack = msgspec.msgpack.encode
plain = msgspec.to_builtins


def written(changes, progress, rows):
    """Takes the changelog records of a step into the rows, as a broker compacts them."""
    for out in row_outs(changes, progress):
        rows.pop(out.key, None)
        if out.value is not None:
            rows[out.key] = out.value


def flat(value, at=""):
    """By path the scalars of nested lists and objects; of floats what every machine agrees on."""
    if isinstance(value, float):
        return {at: float(f"{value:.9g}")}
    if not isinstance(value, dict | list | tuple):
        return {at: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = {f"{at}/": len(value)}
    for name, one in pairs:
        found |= flat(one, f"{at}/{name}")
    return found


# ---- the resolver --------------------------------------------------------------------------------

MAIL = {"action_type": "send_email", "deal_stage": None, "conversation_id": "mail"}
CARRIED = {
    "rep_id": "rep-1", "agent_id": "closer", "agent_version": "1.4", "model": "large",
    "cost_usd": 0.25, "latency_ms": 1_500, "metadata": {"campaign": ["spring", 7]},
}  # fmt: skip


def replied(hours, **fields):
    return INTERACTIONS, hours, {"kind": "reply_received", "conversation_id": "mail"} | fields


def lived_resolver():
    """The rows of its changelog, and the resolver: one mail has settled and leads, much is open."""
    labelled = {"kind": "human_label", "label": "negative", "metadata": {"score": 0.25}}
    rows, task = {}, Task(parse_policy(POLICY_TOML))
    steps = (
        [action(0, event_id="m1", **MAIL), replied(1)],
        [action(2, action_id="deal", confidence_label="high", interaction_count=3, **CARRIED)],
        [stage(3, "evaluation"), (INTERACTIONS, 5, labelled | {"action_id": "deal"})],
        [action(6, predicted_confidence=None, confidence_label="low", conversation_id="word")],
        [action(20, event_id="m2", **MAIL), replied(21, action_id="another")],
        [action(26, event_id="d1", conversation_id="deal"), stage(26, "evaluation")],
        [stage(26.5, "closed_lost", conversation_id="to come")],
    )
    for number, records in enumerate(steps):
        if number == len(steps) - 1:
            task.resolver.times.on_clock(START + 107 * HOUR // 4, BROKER_MS)
        step = task.step(*records)
        offsets = {"agent-actions": number, "agent-interactions": 2 * number, "control": 1}
        written(step.changes, resolve_outcomes.noted(task.resolver, offsets, SOURCES, 17), rows)
    return rows, task.resolver


def came(topic, event_id, hours, **fields):
    """A record that comes once the state is there."""
    event = {"event_id": event_id, "tenant_id": TENANT, "conversation_id": "mail"}
    event["occurred_at"] = to_timestamp(START + int(hours * HOUR))
    return {"topic": topic, "event": event | fields}


def after_resolver():
    """What comes then: a copy, a conflict, a late one, and new ones that meet old ones."""
    deal = action(26, conversation_id="deal")[2]
    known = came("agent-actions", "d1", 26, **deal)
    mail = MAIL | {"predicted_confidence": 0.5}
    return [
        known,
        came("agent-actions", "d1", 26, **deal | {"predicted_confidence": 0.75}),
        came("agent-actions", "late", 2, **mail),
        came("agent-actions", "m3", 26.25, **mail),
        came("agent-actions", "n1", 26.25, **deal | {"conversation_id": "to come"}),
        came("agent-interactions", "r1", 27, kind="reply_received", action_id="m2"),
    ]


def restored_resolver(rows, policy):
    """A resolver from the rows of its changelog, as its task restores it."""
    rows = dict(rows)
    progress = progress_of(rows.pop(PROGRESS_KEY), RESOLVER)
    resolver = OutcomeResolver(0, policy, GRACE)
    resolve_outcomes.restore_times(resolver, progress)
    for key, value in rows.items():
        resolver.restore(key, decode(value))
    return resolver


def said_by_resolver(resolver, records):
    """What is known of open outcomes and of times; and what becomes of all, once records came."""
    said = {
        "open": sorted(map(plain, resolver.open_outcomes()), key=lambda one: one["id"]),
        "settled_ms": resolver.settled_ms,
        "now_ms": {topic: time.now_ms for topic, time in resolver.times.topics.items()},
    }
    for offset, record in enumerate(records, 1_000):
        topic, event = record["topic"], record["event"]
        key = key_of(event["tenant_id"], event["conversation_id"]).encode()
        found = DECODE[topic](key, json.dumps(event).encode())
        resolver.admit(topic, [Record(offset, BROKER_MS)], [found])
    resolver.times.on_clock(END_MS, BROKER_MS)
    settled = [one for one in resolver.finish().outcomes if one.is_settled]
    return said | {
        "settled": list(map(plain, settled)),
        "counts": {"/".join(name): count for name, count in sorted(resolver.counts.items())},
        "label_delays": {
            name: [_line(delay.counts), delay.sum_ms]
            for name, delay in sorted(resolver.label_delays.items())
        },
    }


# ---- the calibrator ------------------------------------------------------------------------------


def settled_outcome(number, policy, **changes):
    """One of a stream that is right half as often as it says; now and then it is a word."""
    at_ms = START + number * HOUR // 2
    status = ("positive", "negative", "expired", "positive", "negative", "ambiguous")[number % 6]
    signal = None if status == "expired" else f"i{number}"
    conversation_id = f"c{number // 2}"
    outcome = {
        "id": outcome_id_of(TENANT, conversation_id, f"a{number}", "email_engagement"),
        "tenant_id": TENANT,
        "conversation_id": conversation_id,
        "action_id": f"a{number}",
        "action_type": "send_email",
        "outcome_type": "email_engagement",
        "predicted_confidence": (0.55, 0.65, 0.75, 0.85, 0.95)[number % 5],
        "confidence_source": "judge",
        "status": status,
        "score": {"positive": 1.0, "negative": 0.0}.get(status),
        "signal_source": signal and "automatic",
        "decided_by": signal,
        "created_at_ms": at_ms,
        "window_expires_at_ms": at_ms + 24 * HOUR,
        "settled_at_ms": at_ms + 24 * HOUR,
        "resolved_at_ms": at_ms + (24 if signal is None else 1 + number % 20) * HOUR,
        "known_at_ms": signal and BROKER_MS,
        "revision": 1,
        "is_settled": True,
        "calibrates": True,
        "is_lead": number % 2 == 0,
        "expired_counts": True,
        "policy_version": policy.versions[0].digest,
        "agent_version": "1.4" if number < 125 else "1.5",
        "model": ("small", "large", None)[number % 3],
    }
    if number % 10 == 7:
        outcome |= {"predicted_confidence": None, "confidence_label": "high"}
    return outcome | changes


def compared_outcome(number, policy):
    """One of a stream that succeeds less from its second hundred on."""
    is_good = number % 10 < (8 if number < 100 else 3)
    at_ms = START + number * 60_000
    return settled_outcome(
        number,
        policy,
        id=outcome_id_of(TENANT, f"q{number}", f"q{number}", "deal_progression"),
        conversation_id=f"q{number}",
        action_id=f"q{number}",
        action_type="qualify",
        outcome_type="deal_progression",
        predicted_confidence=0.75,
        confidence_label=None,
        status="positive" if is_good else "negative",
        score=float(is_good),
        signal_source="automatic",
        decided_by=f"i{number}",
        created_at_ms=at_ms,
        window_expires_at_ms=at_ms + 24 * HOUR,
        settled_at_ms=at_ms + 24 * HOUR,
        resolved_at_ms=at_ms + HOUR,
        known_at_ms=BROKER_MS,
        is_lead=True,
        model=None,
    )


def decided(event_id, action="set", value=0.65, **changes):
    told = {
        "kind": "threshold", "event_id": event_id, "tenant_id": TENANT,
        "action_type": "send_email", "reviewer": "ann", "occurred_at": "2026-03-01T00:00:00Z",
        "action": action, "value": value,
    }  # fmt: skip
    return told | changes


def lived_calibrator():
    """The rows of its changelog, and the calibrator: an alarm is open, a threshold was set, some
    wait, and one source of two has forgotten a tenant. Another stream has halves to compare.
    """
    policy, rows = parse_policy(POLICY_TOML), {}
    calibrator = Calibrator(SOURCES, policy)
    take(calibrator, [compared_outcome(number, policy) for number in range(230)])
    outcomes = [settled_outcome(number, policy) for number in range(120)]
    for number in range(0, len(outcomes), 40):
        take(calibrator, outcomes[number : number + 40])
        promised_ms = outcomes[number + 29]["settled_at_ms"]
        promise(calibrator, promised_ms)
        if number == 40:
            override(calibrator, decided("o1"))
        if number == 80:
            calibrator.on_forgotten(tenant_id_of("globex"), "forget-1", 0)
        calibrator.enter()
        if number == 80:
            override(calibrator, decided("o2", "release", None))
        step = calibrator.finish()
        written(step.changes, calibrate.noted(calibrator, {"settled-outcomes": 9}, 2, 0), rows)
    return rows, calibrator


def take(calibrator, outcomes):
    for outcome in outcomes:
        calibrator.on_settled(msgspec.convert(outcome, OutcomeStruct))


def promise(calibrator, until_ms):
    for source in range(SOURCES):
        calibrator.on_promise(Promise(source=source, until_ms=until_ms))


def override(calibrator, told):
    calibrator.on_override(msgspec.convert(told, ThresholdOverride))


def after_calibrator():
    """What comes then: outcomes, of a new version some, and a decision that was taken already."""
    policy = parse_policy(POLICY_TOML)
    of_the_other = [compared_outcome(number, policy) for number in range(9_000, 9_003)]
    return {
        "outcomes": [*(settled_outcome(n, policy) for n in range(120, 140)), *of_the_other],
        "overrides": [decided("o1")],
    }


def restored_calibrator(rows, policy):
    """A calibrator from the rows of its changelog, as its task restores it."""
    rows = dict(rows)
    progress = progress_of(rows.pop(PROGRESS_KEY), CALIBRATOR)
    calibrator = Calibrator(SOURCES, policy)
    calibrator.promises = dict(progress.promises)
    for key, value in rows.items():
        calibrator.restore(key, decode(value))
    return calibrator


def said_by_calibrator(calibrator, then):
    """What it has counted and what waits; and what is told once all that comes has entered."""
    forgetting = calibrator.forgetting
    said = {
        "sums": {"/".join(fold.stream[1:3]): _sums_of(fold) for fold in calibrator.folds.values()},
        "labels": {"/".join(map(str, key)): plain(r) for key, r in calibrator.labels.items()},
        "waiting_count": calibrator.waiting_count,
        "promises": {str(source): ms for source, ms in calibrator.promises.items()},
        "is_old": [forgetting.is_old(tenant_id_of("globex"), n) for n in range(SOURCES)],
    }
    for told in then["overrides"]:
        override(calibrator, told)
    take(calibrator, then["outcomes"])
    promise(calibrator, END_MS)
    calibrator.enter()
    return said | {
        "told": {key: plain(update) for key, update in calibrator.finish().updates},
        "entered_count": calibrator.entered_count,
    }


def _sums_of(fold):
    """Bins, days, segments and delays of a stream, each as a line of numbers."""
    sums = fold.sums
    found = {
        name: {
            _line(key if isinstance(key, tuple) else (key,)): {
                "all": _line(getattr(one.all, n) for n in SUM_NAMES),
                "lead": _line(getattr(one.lead, n) for n in SUM_NAMES),
                "counts": dict(sorted(one.counts.items())),
                "residuals": _line(one.residuals or ()),
            }
            for key, one in sorted(held.items())
        }
        for name, held in (("bins", sums.bins), ("days", sums.days), ("segments", sums.segments))
    }
    return found | {
        "delays": [_line(sums.delays.counts), sums.delays.sum_ms],
        "curves": [_line(sums.positive.counts), _line(sums.negative.counts)],
    }


def _line(values):
    return " ".join(map(str, values))


# ---- freezing ------------------------------------------------------------------------------------

LIVED = {RESOLVER: lived_resolver, CALIBRATOR: lived_calibrator}
AFTER = {RESOLVER: after_resolver, CALIBRATOR: after_calibrator}
RESTORED = {RESOLVER: restored_resolver, CALIBRATOR: restored_calibrator}
SAID = {RESOLVER: said_by_resolver, CALIBRATOR: said_by_calibrator}


def freeze(version):
    """Writes a new folder, and beside it what it was made from."""
    folder, told = STATES / version, {}
    folder.mkdir()
    (folder / "policy.toml").write_text(POLICY_TOML)
    for task, lived in LIVED.items():
        rows, core = lived()
        (folder / f"{task}.msgpack").write_bytes(pack(list(rows.items())))
        then = AFTER[task]()
        told[task] = {"then": then, "said": SAID[task](core, then)}
    (STATES / f"{version}.decoded.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    freeze(sys.argv[1])

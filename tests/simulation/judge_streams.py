"""The judgement of the streams' calibration: all that was told last is what the oracle tells.

It takes the settled outcomes of the log as they are, those of conversations that were forgotten
among them, sorts them, and folds them the slow way.
"""

import json
from collections import defaultdict

import msgspec

from tables.calibration_bins import millionths_of, y_of
from tables.stream import Stream
from tables.stream_calibration import rule_of
from tables.stream_sums import Settled
from tests.simulation.workload import PARTITIONS
from tests.stream_oracle import expected, grouped, trend_changes_of


def stream_problems(world):
    """Records of a stream that are missing, too many, or not as the oracle has them."""
    told, changed = _told(world), _trend_changes(world)
    due = {}
    for stream, outcomes in _settled(world).items():
        inputs = [_input_of(one) for one in sorted(outcomes, key=_order)]
        rules = {v.digest: rule_of(v, stream) for v in world.policy.versions}
        due |= expected(stream, inputs, rules)
        for metric, wanted in grouped(trend_changes_of(stream, inputs), lambda t: t.metric).items():
            said = changed.pop((stream, metric), [])
            if said != json.loads(msgspec.json.encode(wanted)):
                yield f"trends of {stream}, {metric}: said {said}, expected {wanted}"
    if changed:
        yield f"trends that were said and did not change: {changed}"
    for key in sorted(told.keys() | due.keys()):
        wanted = json.loads(msgspec.json.encode(due.get(key)))
        if told.get(key) != wanted:
            yield f"{key}: told {told.get(key)}, expected {wanted}"


def _told(world):
    """What was told last under each key; a label's rate has a judge of its own."""
    logs = [world.kafka.log("calibration-updates", p) for p in range(PARTITIONS)]
    last = {record.key.decode(): json.loads(record.value) for log in logs for record in _read(log)}
    return {key: one for key, one in last.items() if "confidence_label" not in one}


def _trend_changes(world):
    """By stream and metric every trend that was said to have changed, in order."""
    logs = [world.kafka.log("trend-changes", p) for p in range(PARTITIONS)]
    said = [json.loads(record.value) for log in logs for record in _read(log)]
    return grouped(said, lambda one: (Stream(*map(one.get, Stream._fields)), one["metric"]))


def _read(log):
    return log.read(0)[0]


def _settled(world):
    by_stream = defaultdict(list)
    logs = [world.kafka.log("settled-outcomes", p) for p in range(PARTITIONS)]
    for one in (json.loads(record.value) for log in logs for record in _read(log)):
        if one.get("is_settled") and one["predicted_confidence"] is not None:
            window_ms = one["window_expires_at_ms"] - one["created_at_ms"]
            named = (one["tenant_id"], one["action_type"], one["outcome_type"])
            by_stream[Stream(*named, window_ms, one["confidence_source"])].append(one)
    return by_stream


def _order(one):
    names = ("settled_at_ms", "created_at_ms", "action_id", "conversation_id")
    return tuple(one[name] for name in names)


def _input_of(one):
    is_signalled = one["decided_by"] is not None
    return Settled(
        one["settled_at_ms"],
        one["created_at_ms"],
        millionths_of(one["predicted_confidence"]),
        y_of(one["status"], one["expired_counts"]),
        one["status"],
        one["is_lead"],
        one["policy_version"],
        one["resolved_at_ms"] - one["created_at_ms"] if is_signalled else None,
        one["agent_version"],
    )

"""The kinds of stories: each a few records of one conversation, and what they must come to."""

import json

from tests.simulation.workload import (
    ACTIONS,
    BROKER_START,
    CONTROL,
    HOUR,
    INTERACTIONS,
    PARTITIONS,
    START,
    Workload,
    Writer,
)

PACE, FIRST, LAST = 0, -1, 2


def pace(writer, phase):
    """Both topics' times stand at the phase's from here."""
    at = writer.at(phase, 0)
    writer.settles(writer.action(phase, at, rank=PACE), "expired")
    writer.did(phase, at, "unheard", "ignored", rank=PACE)


def nothing_answers(writer, phase, _):
    writer.settles(writer.action(phase, writer.at(phase)), "expired")


def a_reply(writer, phase, _):
    action = writer.action(phase, writer.at(phase, -5))
    writer.settles(action, "positive", writer.did(phase, writer.at(phase, 5), "reply"))


def a_reply_in_the_next_phase(writer, phase, last):
    action = writer.action(phase, writer.at(phase))
    if phase < last:
        reply = writer.did(phase + 1, writer.at(phase + 1), "reply")
        writer.settles(action, "positive", reply)
    else:
        writer.settles(action, "expired")


def the_earlier_one_comes_later(writer, phase, _):
    action = writer.action(phase, writer.at(phase, -10))
    writer.did(phase, writer.at(phase, 10), "reply")
    bounce = writer.did(phase, writer.at(phase, 1), "bounce", rank=LAST)
    writer.settles(action, "negative", bounce)


def both_in_one_millisecond(writer, phase, _):
    action, at = writer.action(phase, writer.at(phase, -10)), writer.at(phase, 3)
    signals = [writer.did(phase, at, kind) for kind in ("reply", "bounce")]
    writer.settles(action, "ambiguous", min(signals, key=lambda body: body["event_id"]))


def a_person_knows_better(writer, phase, last):
    action = writer.action(phase, writer.at(phase, -10))
    writer.did(phase, writer.at(phase, 1), "reply")
    when = min(phase + 1, last)
    label = {"action_id": action["event_id"], "label": "negative"}
    told = writer.did(when, writer.at(when, 8), "human_label", **label)
    writer.settles(action, "negative", told)


def the_reply_comes_too_late(writer, phase, last):
    action = writer.action(phase, writer.at(phase))
    if phase + 2 <= last:
        writer.did(phase + 2, writer.at(phase + 2), "reply")
    writer.settles(action, "expired")


def two_overlap(writer, phase, _):
    first = writer.action(phase, writer.at(phase, -12))
    second = writer.action(phase, writer.at(phase, -3))
    reply = writer.did(phase, writer.at(phase, 3), "reply")
    writer.settles(first, "positive", reply)
    writer.settles(second, "positive", reply, is_lead=False)


def a_reply_names_no_call(writer, phase, _):
    action = writer.action(phase, writer.at(phase, -5), action_type="call")
    writer.did(phase, writer.at(phase, 2), "reply")
    writer.settles(action, "expired")


def a_reply_names_the_call(writer, phase, _):
    action = writer.action(phase, writer.at(phase, -5), action_type="call")
    reply = writer.did(phase, writer.at(phase, 2), "reply", action_id=action["event_id"])
    writer.settles(action, "positive", reply)


def copies(writer, phase, _):
    action = writer.action(phase, writer.at(phase, -5))
    reply = writer.did(phase, writer.at(phase, 2), "reply")
    for _ in range(2):
        writer.send(ACTIONS, phase, action, "duplicate", rank=LAST)
        writer.send(INTERACTIONS, phase, reply, "duplicate", rank=LAST)
    writer.settles(action, "positive", reply)


def contradictions(writer, phase, _):
    action = writer.action(phase, writer.at(phase, -5))
    reply = writer.did(phase, writer.at(phase, 2), "reply")
    changed = {**action, "predicted_confidence": 0.123}
    writer.send(ACTIONS, phase, changed, "dead", rank=LAST)
    writer.send(INTERACTIONS, phase, {**reply, "kind": "bounce"}, "dead", rank=LAST)
    writer.send(ACTIONS, phase, {**action, "event_id": f"{action['event_id']}'",
                                 "action_id": action["event_id"]}, "dead", rank=LAST)  # fmt: skip
    writer.settles(action, "positive", reply)


def behind_the_grace(writer, phase, _):
    action = writer.action(phase, writer.at(phase, -5))
    writer.action(phase, writer.at(phase, -60), "late", rank=LAST)
    writer.did(phase, writer.at(phase, -75), "reply", "late", rank=LAST)
    writer.settles(action, "expired")


def behind_a_clock_record(writer, phase, _):
    """Of the phase before: in time by its log, late by the clock record where there was one."""
    if phase and writer.has_jumped(phase):
        writer.action(phase, writer.at(phase - 1), "late", rank=FIRST)
        writer.did(phase, writer.at(phase - 1), "reply", "late", rank=FIRST)


def ahead_of_the_broker(writer, phase, _):
    writer.action(phase, BROKER_START + 24 * HOUR, "dead")
    writer.did(phase, BROKER_START + 24 * HOUR, "reply", "dead")


def unheard_kinds(writer, phase, _):
    writer.did(phase, writer.at(phase), "seen", "ignored")
    writer.action(phase, writer.at(phase), "dead", action_type="nobody_knows")


def poison(writer, phase, _):
    bodies = [
        b"", None, b"{", b"\xff\xfe", b"[" * 300, b'{"event_id": "e"}', b"1e400",
        b'{"predicted_confidence": NaN}', b'{"tenant_id": "\\u0000"}',
    ]  # fmt: skip
    for topic in (ACTIONS, INTERACTIONS, CONTROL):
        writer.send(topic, phase, writer.random.choice(bodies), "dead")
    good = json.dumps(writer.action(phase, writer.at(phase), "dead", key=None))
    writer.send(ACTIONS, phase, good.encode(), "dead", key=b"another/key")


def a_strange_partitioner(writer, phase, _):
    elsewhere = 1 - writer.partition
    writer.action(phase, writer.at(phase), "dead", partition=elsewhere)


def in_transactions(writer, phase, _):
    action = writer.action(phase, writer.at(phase, -5), transaction="committed")
    writer.did(phase, writer.at(phase, 1), "bounce", "aborted", transaction="aborted")
    reply = writer.did(phase, writer.at(phase, 2), "reply", transaction="committed")
    writer.settles(action, "positive", reply)


def it_is_forgotten(writer, phase, _):
    """Once all of its phase is sent; what comes after everything was applied is new."""
    at = writer.at(phase, -5)
    writer.action(phase, at)
    writer.did(phase, writer.at(phase, 5), "reply")
    writer.forget(phase + 1, "positive", at + 5 * HOUR)
    if writer.has(phase + 2) and writer.has_jumped(phase + 2):
        writer.settles(writer.action(phase + 2, writer.at(phase + 2)), "expired")


KINDS = (
    nothing_answers, a_reply, a_reply_in_the_next_phase, the_earlier_one_comes_later,
    both_in_one_millisecond, a_person_knows_better, the_reply_comes_too_late, two_overlap,
    a_reply_names_no_call, a_reply_names_the_call, copies, contradictions, behind_the_grace,
    behind_a_clock_record, ahead_of_the_broker, unheard_kinds, poison, a_strange_partitioner,
)  # fmt: skip


def make_workload(random):
    """Some phases and a dozen stories."""
    phase_count = random.choice((1, 2, 3))
    jumps = {phase for phase in range(1, phase_count) if random.random() < 0.4}
    phases = [START]
    for phase in range(1, phase_count):
        phases.append(phases[-1] + (50 if phase in jumps else 2) * HOUR)
    kinds = (*KINDS, in_transactions) if random.random() < 0.3 else KINDS
    begins = []
    for phase in range(phase_count):
        for partition in range(PARTITIONS):
            writer = Writer(random, f"pace{phase}{partition}", partition, phases, jumps)
            pace(writer, phase)
            begins.append(writer.story)
    stories = []
    for number in range(random.randint(6, 14)):
        kind, phase = random.choice(kinds), random.randrange(phase_count)
        name = f"s{number}"
        writer = Writer(random, name, random.randrange(PARTITIONS), phases, jumps)
        last = min((jump for jump in jumps if jump > phase), default=phase_count) - 1
        kind(writer, phase, last)
        writer.story.name = f"{name} {kind.__name__}"
        stories.append(writer.story)
    for phase in range(phase_count - 1):
        writer = Writer(random, f"f{phase}", random.randrange(PARTITIONS), phases, jumps)
        it_is_forgotten(writer, phase, None)
        stories.append(writer.story)
    return Workload(phases, jumps, begins, stories)

"""A rebuilt task against the one whose changelog was lost, at any cut of what it had applied."""

import copy
from collections import Counter
from dataclasses import dataclass, field

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_topics.events import Forget, Forgotten, Outcome, Promise
from agents_topics.policy_file import load_policy
from streams.transactions import Out
from tables.calibrator import Calibrator
from tables.calibrator_rebuild import CalibratorRebuild
from tables.outcome_resolver import JOINED, OutcomeResolver
from tables.resolver_rebuild import Recorded, ResolverRebuild, Said
from tables.stream_times import NEVER_MS
from tests.hunt import examples
from tests.property.test_outcome_resolver import (
    HOUR,
    LISTED,
    OWN_RULES,
    POLICY,
    START,
    Record,
    actions,
    busy_logs,
    graces,
    in_time,
    interactions,
    interleave,
    logs,
)
from tests.property.test_replay import POISON, decoded_of
from trueup.rebuild import is_unsaid

SILENT_MS = 10_000
PART = 3
WHATS = ["step"] * 8 + ["on"] * 3 + ["silence", "clock", "promise"]
"""What comes after a record; mostly a step, so that much is said provisionally."""
FORGETFUL = [*WHATS, "forget", "forget"]


@dataclass
class Live:
    """A task, all that it has written, and what it was given, by topic."""

    grace_ms: dict
    resolver: OutcomeResolver
    rows: dict = field(default_factory=dict)
    outcomes: list = field(default_factory=list)
    """What the topic has: outcomes, and what was forgotten."""
    late: list = field(default_factory=list)
    refused: list = field(default_factory=list)
    clocks: list = field(default_factory=list)
    applied: dict = field(default_factory=lambda: {topic: [] for topic in JOINED})
    promised_ms: int = NEVER_MS
    broker_ms: int = START
    """The broker's clock when it last did something."""

    def take(self, topic, logged, is_poison):
        taken = [(Record(2 * logged.offset, logged.timestamp), decoded_of(logged.event))]
        if is_poison:
            taken.append((Record(2 * logged.offset + 1, logged.timestamp), POISON))
        self.broker_ms = max(self.broker_ms, logged.timestamp)
        for record, one in taken:
            self.applied[topic].append((record, one))
            self.resolver.admit(topic, [record], [one])

    def write(self, settled_max=100):
        step = self.resolver.finish(settled_max)
        self.outcomes += [forgetting.record for forgetting in step.forgotten] + step.outcomes
        self.late += step.late
        self.refused += step.refused
        for key, row in step.changes.items():
            self.rows[key] = None if row is None else msgspec.msgpack.encode(row)
        self.rows = {key: row for key, row in self.rows.items() if row is not None}

    def jump(self, until_ms):
        """A topic is silent only when `control` is read too: what comes then was logged later."""
        self.clocks.append((until_ms, self.broker_ms))
        self.resolver.counts["control", "admitted"] += 1
        self.resolver.times.on_clock(until_ms, self.broker_ms)

    def forget(self, tenant_id, conversation_id):
        """It stands where it stands, in the midst of a step or after one that was cut short."""
        offsets = {t: pairs[-1][0].offset + 1 if pairs else 0 for t, pairs in self.applied.items()}
        self.resolver.counts["control", "admitted"] += 1
        self.resolver.forget(
            Forget(kind="forget", event_id="f", tenant_id=tenant_id,
                   conversation_id=conversation_id),
            offsets,
        )  # fmt: skip

    def fall_silent(self, topics, now_ms):
        self.broker_ms = max(self.broker_ms, now_ms)
        self.resolver.times.on_silence(topics, now_ms, SILENT_MS)


def entries_of(live):
    """What was forgotten, as the topic `forgotten` keeps it."""
    return [said for said in live.outcomes if isinstance(said, Forgotten)]


@st.composite
def lived(draw, whats=WHATS):
    """A task has read what it was given, in steps, with poison, silences, jumps, promises and
    forgettings; its last steps may have been cut short in the midst of what was due. And what
    comes afterwards.
    """
    drawn = draw(st.sampled_from([logs, busy_logs]))
    left, right = draw(drawn(actions())), draw(drawn(interactions()))
    merged = in_time(left, right) if drawn is busy_logs else interleave(draw, left, right)
    cut = draw(st.integers(0, len(merged)))
    poison = draw(st.sets(st.integers(0, 28), max_size=2))
    grace_ms = draw(graces)
    live = Live(grace_ms, OutcomeResolver(PART, POLICY, grace_ms))
    for index, (topic, logged) in enumerate(merged[:cut]):
        live.take(topic, logged, index in poison)
        what = draw(st.sampled_from(whats))
        if what == "silence":
            live.write()
            hours = draw(st.integers(0, 6))
            live.fall_silent(draw(st.sampled_from([[t] for t in JOINED] + [list(JOINED)])),
                             logged.timestamp + SILENT_MS + hours * HOUR)  # fmt: skip
        elif what == "clock":
            live.jump(START + draw(st.integers(-2, 16)) * HOUR)
        elif what == "forget":
            if draw(st.booleans()):
                live.jump(START + draw(st.integers(-2, 30)) * HOUR)
            if draw(st.booleans()):
                live.write(draw(st.sampled_from([0, 1, 2, 100])))
            live.forget(
                draw(st.sampled_from([LISTED, LISTED, OWN_RULES])),
                draw(st.sampled_from(["c1", "c1", "c2", None])),
            )
        if what != "on":
            live.write()
        if what == "promise":
            live.promised_ms = max(live.promised_ms, live.resolver.settled_ms)
    if draw(st.booleans()):
        live.jump(START + draw(st.integers(0, 40)) * HOUR)
    live.write(draw(st.sampled_from([0, 1, 2, 100])))
    return live, merged[cut:]


def rebuilt(draw, live):
    """What its topics say, in pieces of any size, in any order."""
    recorded, said = Recorded(), Said()
    for late in live.late:
        recorded.on_late(late)
    for refused in live.refused:
        recorded.on_letter((refused.topic, PART), refused.record.offset, refused.reason)
    for until_ms, broker_ms in live.clocks:
        recorded.on_clock(until_ms, broker_ms)
    recorded.promised_ms = live.promised_ms
    for one in live.outcomes:
        if isinstance(one, Forgotten):
            recorded.on_control()
            said.on_forgotten(one)
        else:
            said.on(msgspec.json.decode(msgspec.json.encode(one), type=Outcome))
    rebuild = ResolverRebuild(PART, POLICY, live.grace_ms, recorded, said)
    left = {topic: list(pairs) for topic, pairs in live.applied.items()}
    for entry in entries_of(live):
        take_all(draw, rebuild, taken_until(left, entry.offsets))
        rebuild.forget(entry)
    take_all(draw, rebuild, left)
    rebuild.end()
    return rebuild


def taken_until(left, offsets):
    """What lies before the offsets, which is left no more."""
    taken = {}
    for topic, pairs in left.items():
        taken[topic] = [pair for pair in pairs if pair[0].offset < offsets[topic]]
        left[topic] = pairs[len(taken[topic]) :]
    return taken


def take_all(draw, rebuild, left):
    while any(left.values()):
        topic = draw(st.sampled_from([t for t, pairs in left.items() if pairs]))
        count = draw(st.integers(1, 6))
        piece, left[topic] = left[topic][:count], left[topic][count:]
        rebuild.take(topic, [r for r, _ in piece], [one for _, one in piece])
        if draw(st.booleans()):
            rebuild.finish()


def restored(live, rows, times):
    fresh = OutcomeResolver(PART, POLICY, live.grace_ms)
    fresh.times = copy.deepcopy(times)
    for key, row in rows.items():
        fresh.restore(key, msgspec.msgpack.decode(row))
    return fresh


def what_counts(rows, times, grace_ms):
    """The rows without what the next steps would delete, and without how they lie in chunks."""
    decoded = {key: msgspec.msgpack.decode(row) for key, row in rows.items()}
    opened = {}
    held = {"actions": {}, "interactions": {}, "ids": set(), "leads": set()}
    for key, row in decoded.items():
        if key.startswith(b"a/"):
            still_open = [told for told in row[-1] if not told[2]]
            if still_open:
                opened[row[0]] = min(opened.get(row[0], row[2]), row[2])
                held["actions"][key] = (row[:-1], still_open)
    closed_ms = times.topics[JOINED[0]].closed_ms
    for key, row in decoded.items():
        kind, *rest = key.split(b"/")
        if kind == b"i" and row[1] >= min(opened.get(row[0], closed_ms + 1), closed_ms + 1):
            held["interactions"][key] = row
        elif kind == b"d":
            topic = rest[0].decode()
            now_ms = times.topics[topic].now_ms
            live = [one for one in row if one[1] + grace_ms[topic] > now_ms]
            held["ids"] |= {(topic, *seen, at_ms, digest) for seen, at_ms, digest in live}
        elif kind == b"l":
            held["leads"] |= {(*lead, end_ms) for lead, end_ms in row
                              if end_ms + 8 * HOUR > times.settled_ms}  # fmt: skip
    return held


def gone_on(resolver, rest):
    """All that it says of what comes afterwards, step by step, and when everything closes."""
    said = []

    def finish():
        step = resolver.finish()
        said.append((step.outcomes, step.late, step.refused))

    finish()
    for topic, logged in rest:
        record = Record(2 * logged.offset, logged.timestamp)
        resolver.admit(topic, [record], [decoded_of(logged.event)])
        finish()
    resolver.times.on_clock(START + 10_000 * HOUR, START)
    finish()
    return said


@settings(max_examples=examples(100))
@given(st.data(), lived(FORGETFUL))
def test_a_rebuilt_task_holds_what_was_lost_and_goes_on_as_it_would_have(data, lost):
    live, rest = lost
    times = live.resolver.times

    rebuild = rebuilt(data.draw, live)
    unlike, counts = rebuild.unlike(), dict(rebuild.resolver.counts)
    delays = dict(rebuild.resolver.label_delays)
    rebuild.resolver.times = copy.deepcopy(times)
    rows = {key: msgspec.msgpack.encode(row) for key, row in rebuild.rows().items()}

    assert unlike is None
    assert what_counts(rows, times, live.grace_ms) == what_counts(live.rows, times, live.grace_ms)
    assert +without_unmatched(counts) == +without_unmatched(live.resolver.counts)
    assert delays == dict(live.resolver.label_delays)
    assert gone_on(restored(live, rows, times), rest) == gone_on(
        restored(live, live.rows, times), rest
    )


def without_unmatched(counts):
    """What met no action is counted when it is forgotten, which may be a step later."""
    return Counter({name: n for name, n in counts.items() if name != ("interactions", "unmatched")})


@settings(max_examples=examples(100))
@given(st.data(), lived(FORGETFUL))
def test_times_that_nobody_noted_are_behind_the_lost_ones_and_not_behind_what_has_settled(
    data, lost
):
    live, _ = lost
    lost_times = live.resolver.times

    found = rebuilt(data.draw, live).resolver.times

    assert found.first_ms <= lost_times.first_ms
    for topic, time in found.topics.items():
        before = lost_times.topics[topic]
        assert (time.log_ms, time.grace_ms) == (before.log_ms, before.grace_ms)
        assert time.now_ms <= before.now_ms
        late = [o.compared_ms for o in live.late if o.topic == topic]
        assert time.now_ms >= max(late, default=NEVER_MS)
        now_ms = before.broker_ms + SILENT_MS + HOUR
        for times in (found, lost_times):
            times.on_silence([topic], now_ms, SILENT_MS)
        assert time.now_ms <= before.now_ms, "silence is counted twice"
    said = [one for one in live.outcomes if not isinstance(one, Forgotten)]
    settled = [o.settled_at_ms for o in said if o.is_settled]
    assert found.settled_ms >= max([live.promised_ms, *settled], default=NEVER_MS)


@settings(max_examples=examples(100))
@given(st.data(), lived())
def test_an_outcome_that_is_missing_or_another_is_found(data, lost):
    live, _ = lost
    if not live.outcomes:
        return
    at = data.draw(st.integers(0, len(live.outcomes) - 1))
    last = {o.id: index for index, o in enumerate(live.outcomes)}
    if last[live.outcomes[at].id] != at:
        return
    if data.draw(st.booleans()):
        live.outcomes[at] = msgspec.structs.replace(live.outcomes[at], status="ambiguous", score=9)
    else:
        live.outcomes = [o for o in live.outcomes if o.id != live.outcomes[at].id]

    assert rebuilt(data.draw, live).unlike() is not None


FED = ["promise", "settled"] * 3 + ["word"]


@dataclass(frozen=True)
class Word:
    """A source says that it has forgotten a tenant."""

    tenant_id: str
    forget_id: str
    source: int


@st.composite
def fed(draw):
    """Settled outcomes, promises and words of two sources, and where steps were cut short. Of a
    forgetting the second word comes later, or has not come.
    """
    feed, promised_ms, waiting = [], [NEVER_MS, NEVER_MS], []
    for number in range(draw(st.integers(0, 30))):
        source, what = (
            draw(st.integers(0, 1)),
            draw(st.sampled_from(["promise", "settled"] * 3 + ["word"])),
        )
        if what == "promise":
            promised_ms[source] = max(promised_ms[source], START) + draw(st.integers(0, 3)) * HOUR
            feed.append(Promise(source=source, until_ms=promised_ms[source]))
        elif what == "settled":
            later_ms = max(promised_ms[source], START) + draw(st.integers(1, 5)) * HOUR
            feed.append(settled_outcome(draw, number, later_ms))
        elif waiting:
            feed.append(waiting.pop(0))
        else:
            tenant_id = draw(st.sampled_from(["t", "u"]))
            feed.append(Word(tenant_id, f"f{number}", source))
            waiting.append(Word(tenant_id, f"f{number}", 1 - source))
    return feed, draw(st.sets(st.integers(0, 30)))


def settled_outcome(draw, number, settled_ms):
    said = draw(st.sampled_from([(0.31, None), (0.78, None), (None, "high")]))
    return Outcome(
        id=f"o{number}", tenant_id=draw(st.sampled_from(["t", "u"])), conversation_id="c",
        action_id=f"a{number}",
        action_type="mail", outcome_type="reply", predicted_confidence=said[0],
        confidence_label=said[1], confidence_source="unknown",
        status=draw(st.sampled_from(["positive", "negative", "ambiguous", "expired"])), score=None,
        signal_source="automatic", decided_by=None, created_at_ms=settled_ms - HOUR,
        window_expires_at_ms=settled_ms, settled_at_ms=settled_ms, resolved_at_ms=settled_ms,
        known_at_ms=None, revision=1, is_settled=True, calibrates=True,
        is_lead=draw(st.booleans()), expired_counts=True, policy_version="v",
    )  # fmt: skip


def give(calibrator, one):
    if isinstance(one, Promise):
        calibrator.on_promise(one)
    elif isinstance(one, Word):
        calibrator.on_forgotten(one.tenant_id, one.forget_id, one.source)
    else:
        calibrator.on_settled(one)


@settings(max_examples=examples(150))
@given(fed(), st.sets(st.integers(0, 30)))
def test_a_rebuilt_calibrator_holds_the_rows_of_the_lost_one_and_says_nothing_again(lost, pieces):
    feed, cuts = lost
    live, rows, updates = Calibrator(2, load_policy(None)), {}, {}
    rebuild = CalibratorRebuild(2, load_policy(None))
    for index, one in enumerate([*feed, None]):
        if one is not None:
            give(live, one)
            give(rebuild.calibrator, one)
        if index in cuts or one is None:
            live.enter()
            step = live.finish()
            rows.update(step.changes)
            updates.update(step.updates)
        if index in pieces or one is None:
            rebuild.finish()

    assert rebuild.rows == {key: row for key, row in rows.items() if row is not None}
    assert rebuild.calibrator.promises == live.promises
    said = {key.encode(): msgspec.json.encode(update) for key, update in updates.items()}
    outs = [Out(k.encode(), msgspec.json.encode(update)) for k, update in rebuild.updates.items()]
    assert [out for out in outs if is_unsaid(out, said)] == []
    if not any(isinstance(one, Word) for one in feed):
        assert rebuild.updates == updates

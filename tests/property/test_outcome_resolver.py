"""The resolver against the slow law, over random logs, interleavings, cuts and restores."""

from dataclasses import asdict, dataclass, replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_topics.codec import Decoded
from agents_topics.events import Action, Forget, Interaction, Outcome, Promise, to_timestamp
from agents_topics.identifiers import key_of, tenant_id_of
from agents_topics.policy_file import parse_policy
from tables.calibration_bins import SUM_NAMES
from tables.calibrator import Calibrator
from tables.forgetting import meaning_of
from tables.outcome_resolver import OutcomeResolver
from tests import oracle
from tests.hunt import examples

HOUR = 3_600_000
START = 1_767_571_200_000
GRACES = [
    {"agent-actions": actions_ms, "agent-interactions": interactions_ms}
    for actions_ms, interactions_ms in ((HOUR, HOUR), (HOUR // 4, 5 * HOUR), (4 * HOUR, HOUR // 2))
]
LISTED, OWN_RULES, STRANGER = (tenant_id_of(name) for name in ("acme", "globex", "initech"))
COMPARED = (
    "status", "score", "signal_source", "decided_by", "created_at_ms", "window_expires_at_ms",
    "settled_at_ms", "resolved_at_ms", "policy_version", "calibrates", "expired_counts",
    "predicted_confidence", "confidence_label", "is_lead",
)  # fmt: skip
COUNTED = ("n", "positive", "negative", "ambiguous", "expired")

POLICY = parse_policy(
    """
tenants_are = "listed"
[tenants]
acme = "uuid5"
globex = "uuid5"

[[version]]
[version.confidence_sources]
mail = "logprob"
[[version.tenants.globex.mail]]
type = "reply"
calibrates = true
window_hours = 5
attribution = "direct"
confidence_means = "success_given_signal"
signals = [{ kind = "stage", means = "negative" }, { kind = "opened", means = "positive" }]
[[version.action_types.mail]]
type = "reply"
calibrates = true
window_hours = 3
signals = [
  { kind = "reply", means = "positive" },
  { kind = "bounce", means = "negative" },
  { kind = "*", when = "count_above", means = "positive" },
]
[[version.action_types.mail]]
type = "deal"
window_hours = 6
label_window_hours = 8
score = "stages"
attribution = "last"
signals = [
  { kind = "stage", when = "stage_above", means = "positive" },
  { kind = "stage", when = "stage_lost", means = "negative" },
]
[[version.action_types.call]]
type = "deal"
calibrates = true
window_hours = 4
attribution = "direct"
confidence_means = "success_given_signal"
signals = [{ kind = "reply", means = "ambiguous" }, { kind = "stage", means = "positive" }]

[[version]]
effective_from = "2026-01-05T06:00:00Z"
confidence_labels = ["high", "sure"]
[[version.action_types.mail]]
type = "reply"
calibrates = true
window_hours = 2
attribution = "last"
signals = [{ kind = "reply", means = "positive" }, { kind = "bounce", means = "negative" }]
"""
)

graces = st.sampled_from(GRACES)
tenants = st.sampled_from([*[LISTED] * 6, *[OWN_RULES] * 3, STRANGER])
minutes = st.integers(0, 14 * 4).map(lambda quarter: START + quarter * HOUR // 4)
stages = st.sampled_from(
    [None, "prospecting", "evaluation", "closed_won", "closed_lost", "stalled"]
)
conversations = st.sampled_from(["c1", "c2"])
counts = st.one_of(st.none(), st.integers(0, 2))


# A number, a word (the second version does not know "low", nor the first "sure"), or both.
confidences = st.integers(0, 20).map(lambda twentieths: twentieths / 20)
labels = st.sampled_from(["high", "high", "low", "sure"])
stated = st.one_of(
    st.tuples(confidences, st.none()),
    st.tuples(st.none(), labels),
    st.tuples(confidences, labels),
)


@st.composite
def actions(draw):
    confidence, label = draw(stated)
    return Action(
        event_id=f"a{draw(st.integers(0, 20))}",
        tenant_id=draw(tenants),
        conversation_id=draw(conversations),
        action_type=draw(st.sampled_from(["mail", "mail", "call", "unheard"])),
        outcome_type=draw(st.sampled_from([None, None, None, "reply", "deal"])),
        predicted_confidence=confidence,
        confidence_label=label,
        occurred_at=to_timestamp(draw(minutes)),
        deal_stage=draw(stages),
        interaction_count=draw(counts),
        confidence_source=draw(st.sampled_from(["unknown", "judge"])),
    )


@st.composite
def interactions(draw):
    return Interaction(
        event_id=f"i{draw(st.integers(0, 30))}",
        tenant_id=draw(tenants),
        conversation_id=draw(conversations),
        kind=draw(st.sampled_from(["reply", "bounce", "stage", "human_label", "opened"])),
        occurred_at=to_timestamp(draw(minutes)),
        action_id=draw(st.sampled_from([None, None, "a1", "a2", "a3"])),
        deal_stage=draw(stages),
        interaction_count=draw(counts),
        label=draw(st.sampled_from([None, "positive", "negative", "ambiguous"])),
    )


@dataclass(frozen=True)
class Record:
    """What the core needs of a record."""

    offset: int
    timestamp: int


@st.composite
def logs(draw, events):
    """Half in event time order (as a healthy producer's); copies, some with another body."""
    drawn = draw(st.lists(events, max_size=12, unique_by=lambda event: event.event_id))
    if draw(st.booleans()):
        drawn.sort(key=lambda event: event.occurred_at)
    for event in draw(st.lists(st.sampled_from(drawn), max_size=3)) if drawn else ():
        if draw(st.booleans()):
            event = replace(event, deal_stage=draw(stages))
        if isinstance(event, Interaction) and draw(st.booleans()):
            # Its id may have been forgotten by then: another interaction under the same id.
            event = replace(event, occurred_at=to_timestamp(draw(minutes)))
        drawn.insert(draw(st.integers(0, len(drawn))), event)
    broker = draw(st.sampled_from([START + 5 * HOUR, START + 10_000 * HOUR]))
    return [oracle.Logged(i, broker + i, event) for i, event in enumerate(drawn)]


@dataclass
class Forgotten:
    """What a run has forgotten, as the oracle wants it, and what had settled of each by then."""

    entries: list
    settled: list


def run(resolver, merged, cuts, restarts, forgets=None, forgotten=None):
    """Feeds the merged logs in steps cut at `cuts`, restoring from the changelog at `restarts`.

    After the records at `forgets` a tenant, or a conversation of it, is forgotten.
    """
    settled, said, rows = {}, {}, {}

    def forget(entry):
        tenant_id, conversation_id, _ = entry
        is_meant = meaning_of(tenant_id, conversation_id)
        resolver.forget(
            Forget(kind="forget", event_id=f"f{len(forgotten.entries)}", tenant_id=tenant_id,
                   conversation_id=conversation_id),
            entry[2],
        )  # fmt: skip
        forgotten.entries.append(entry)
        return is_meant

    def finish(forgotten_now=None):
        step = resolver.finish()
        for forgetting in step.forgotten:
            record = forgetting.record
            is_meant = meaning_of(record.tenant_id, record.conversation_id)
            gone = [name for name in said if is_meant(name[0])]
            had = [settled.pop(name) for name in gone if name in settled] + forgetting.settled
            for name in gone:
                del said[name]
            forgotten.settled.append((record.settled_until_ms, had))
        for outcome in step.outcomes:
            name = (f"{outcome.tenant_id}/{outcome.conversation_id}",
                    outcome.action_id, outcome.outcome_type)  # fmt: skip
            said[name] = outcome
            if outcome.is_settled:
                assert name not in settled, "settled twice"
                settled[name] = outcome
        for key, row in step.changes.items():
            if row is None:
                assert rows.pop(key, None) is not None, f"a tombstone for nothing: {key!r}"
            else:
                rows[key] = msgspec.msgpack.encode(row)
        if forgotten_now:
            kept = [key for key, row in rows.items() if key[:2] != b"d/"]
            assert not any(forgotten_now(name) for key in kept for name in names_in(key, rows))
        return settled

    counts = dict.fromkeys(GRACES[0], 0)
    for index, (topic, record) in enumerate(merged):
        event = record.event
        decoded = Decoded(
            key_of(event.tenant_id, event.conversation_id),
            oracle.to_ms(event.occurred_at),
            event,
        )
        resolver.admit(topic, [Record(record.offset, record.timestamp)], [decoded])
        counts[topic] = record.offset + 1
        gone = None
        if forgets and index in forgets:
            gone = forget((*forgets[index], dict(counts)))
        if index in cuts:
            finish(gone)
            if index in restarts:
                resolver = restored(resolver, rows)
    finish()
    resolver.times.on_clock(START + 10_000 * HOUR, START)
    finish()
    assert rows == {}, "state is left after every window has closed"
    return settled, said, resolver


def names_in(key, rows):
    """The conversations that a row of the changelog names."""
    row = msgspec.msgpack.decode(rows[key])
    return [lead[0] for lead, _ in row] if key[:2] == b"l/" else [row[0]]


def restored(old, rows):
    """A resolver from the changelog's rows, with the times and counts of the old one's progress."""
    grace_ms = {topic: time.grace_ms for topic, time in old.times.topics.items()}
    fresh = OutcomeResolver(0, POLICY, grace_ms)
    fresh.times, fresh.counts = old.times, old.counts
    for key, row in rows.items():
        fresh.restore(key, msgspec.msgpack.decode(row))
    return fresh


def interleave(draw, left, right):
    merged, l, r = [], 0, 0  # noqa: E741
    while l < len(left) or r < len(right):
        if r == len(right) or (l < len(left) and draw(st.booleans())):
            merged.append(("agent-actions", left[l]))
            l += 1  # noqa: E741
        else:
            merged.append(("agent-interactions", right[r]))
            r += 1
    return merged


def expected_of(left, right, grace_ms, forgotten=()):
    classes, admitted_actions, admitted_interactions = oracle.classify(
        POLICY, left, right, grace_ms, forgotten
    )
    return classes, oracle.settle(
        POLICY,
        oracle.in_lives("agent-actions", admitted_actions, forgotten),
        oracle.in_lives("agent-interactions", admitted_interactions, forgotten),
    )


def law_of(outcome):
    """What the slow law says of an outcome."""
    return {field: getattr(outcome, field) for field in COMPARED}


@settings(max_examples=examples(200))
@given(st.data(), logs(actions()), logs(interactions()), graces)
def test_what_settles_is_the_slow_law_whatever_the_interleaving_cuts_and_restores(
    data, left, right, grace_ms
):
    merged = interleave(data.draw, left, right)
    cuts = data.draw(st.sets(st.integers(0, 28)))
    restarts = data.draw(st.sets(st.integers(0, 28), max_size=3))

    classes, expected = expected_of(left, right, grace_ms)
    settled, _, resolver = run(OutcomeResolver(0, POLICY, grace_ms), merged, cuts, restarts)

    assert {
        name: {field: getattr(outcome, field) for field in COMPARED}
        for name, outcome in settled.items()
    } == {name: {field: o[field] for field in COMPARED} for name, o in expected.items()}
    names = {"future": "dead", "unknown": "dead", "conflict": "dead"}
    for topic, log in classes.items():
        for found in ("admitted", "ignored", "duplicate", "late", "dead"):
            count = sum(names.get(c, c) == found for c in log.values())
            assert resolver.counts[topic, found] == count, (topic, found)
    assert resolver.open_count == 0


@st.composite
def shuffled(draw, events, grace_ms, is_busy):
    """A topic's log in the order of its records' times, copies among them; and the same records in
    any other order in which each still is within its topic's grace. A busy one is of one
    conversation and of few hours.
    """
    count = 6 if is_busy else 0
    drawn = draw(st.lists(events, min_size=count, max_size=12, unique_by=lambda e: e.event_id))
    if is_busy:
        drawn = [_in_few_hours(event, draw(st.integers(0, 16))) for event in drawn]
    drawn += draw(st.lists(st.sampled_from(drawn), max_size=3)) if drawn else []
    drawn.sort(key=lambda event: (event.occurred_at, event.event_id))
    # What is under way for less than the grace comes before all that would make it late.
    quarters = st.integers(0, grace_ms * 4 // HOUR).map(lambda quarter: quarter * HOUR // 4)
    arrivals_ms = [
        oracle.to_ms(event.occurred_at) + min(draw(quarters), grace_ms - 1) for event in drawn
    ]
    places = draw(st.permutations(range(len(drawn))))
    orders = (range(len(drawn)), sorted(places, key=arrivals_ms.__getitem__))
    broker_ms = START + 10_000 * HOUR
    return tuple(
        [oracle.Logged(offset, broker_ms + offset, drawn[n]) for offset, n in enumerate(order)]
        for order in orders
    )


def _in_few_hours(event, quarter):
    known = {"action_type": "mail", "outcome_type": None} if isinstance(event, Action) else {}
    known |= {"tenant_id": LISTED, "conversation_id": "c1"}
    return replace(event, occurred_at=to_timestamp(START + quarter * HOUR // 4), **known)


def as_bytes(settled):
    """What has settled, in the order in which it has; without what the path there decides."""
    return [
        msgspec.json.encode(msgspec.structs.replace(outcome, known_at_ms=None, revision=0))
        for outcome in settled.values()
    ]


@settings(max_examples=examples(200))
@given(st.data(), graces, st.booleans())
def test_whatever_the_order_within_the_grace_what_settles_is_the_sorted_orders_byte_for_byte(
    data, grace_ms, is_busy
):
    grace_left_ms, grace_right_ms = grace_ms.values()
    sorted_left, left = data.draw(shuffled(actions(), grace_left_ms, is_busy))
    sorted_right, right = data.draw(shuffled(interactions(), grace_right_ms, is_busy))
    cuts = data.draw(st.sets(st.integers(0, 28)))
    restarts = data.draw(st.sets(st.integers(0, 28), max_size=3))

    expected, _, in_order = run(
        OutcomeResolver(0, POLICY, grace_ms), in_time(sorted_left, sorted_right), set(), set()
    )
    settled, _, resolver = run(
        OutcomeResolver(0, POLICY, grace_ms), interleave(data.draw, left, right), cuts, restarts
    )

    assert as_bytes(settled) == as_bytes(expected)
    for topic in grace_ms:
        assert resolver.counts[topic, "late"] == in_order.counts[topic, "late"] == 0
        for fate in ("admitted", "ignored", "duplicate", "dead"):
            assert resolver.counts[topic, fate] == in_order.counts[topic, fate], (topic, fate)


forgets_at = st.dictionaries(
    st.integers(0, 28),
    st.tuples(st.sampled_from([LISTED, LISTED, OWN_RULES]), st.sampled_from(["c1", "c1", None])),
    min_size=1,
    max_size=4,
)


@st.composite
def busy_logs(draw, events):
    """Of few conversations much, over two days and in order, so that it settles as it comes."""
    drawn = draw(st.lists(events, min_size=6, max_size=14, unique_by=lambda event: event.event_id))
    hours = sorted(draw(st.integers(0, 48)) for _ in drawn)
    return [
        oracle.Logged(
            offset,
            START + 10_000 * HOUR + offset,
            replace(
                event,
                tenant_id=LISTED,
                conversation_id=draw(st.sampled_from(["c1", "c1", "c2"])),
                occurred_at=to_timestamp(START + hour * HOUR // 2),
            ),
        )
        for offset, (hour, event) in enumerate(zip(hours, drawn, strict=True))
    ]


def in_time(left, right):
    """Both logs, as they happened."""
    merged = [("agent-actions", r) for r in left] + [("agent-interactions", r) for r in right]
    return sorted(merged, key=lambda pair: (oracle.to_ms(pair[1].event.occurred_at), pair[0]))


@settings(max_examples=examples(200))
@given(st.data(), st.booleans(), graces, forgets_at)
def test_what_is_forgotten_is_gone_what_had_settled_is_known_and_what_comes_later_is_new(
    data, is_busy, grace_ms, forgets
):
    drawn = busy_logs if is_busy else logs
    left, right = data.draw(drawn(actions())), data.draw(drawn(interactions()))
    merged = in_time(left, right) if is_busy else interleave(data.draw, left, right)
    cuts = data.draw(st.sets(st.integers(0, 28)))
    restarts = data.draw(st.sets(st.integers(0, 28), max_size=3))
    forgotten = Forgotten([], [])

    settled, said, resolver = run(
        OutcomeResolver(0, POLICY, grace_ms), merged, cuts, restarts, forgets, forgotten
    )
    classes, expected = expected_of(left, right, grace_ms, forgotten.entries)

    lives = [{} for _ in forgotten.entries]
    for (key, *name), outcome in expected.items():
        key, _, life = key.partition("\0")
        if life:
            lives[int(life)][key, *name] = {field: outcome[field] for field in COMPARED}
    assert said.keys() == settled.keys()
    assert {name: law_of(outcome) for name, outcome in settled.items()} == {
        name: {field: outcome[field] for field in COMPARED}
        for name, outcome in expected.items()
        if "\0" not in name[0]
    }
    for life, (_, conversation, _), (until_ms, had) in zip(
        lives, forgotten.entries, forgotten.settled, strict=True
    ):
        found = {
            (key_of(o.tenant_id, o.conversation_id), o.action_id, o.outcome_type): law_of(o)
            for o in had
        }
        if conversation is not None:
            assert found == {n: o for n, o in life.items() if o["settled_at_ms"] <= until_ms}
        assert found.items() <= life.items()
    for topic, log in classes.items():
        count = sum(found == "admitted" for found in log.values())
        assert resolver.counts[topic, "admitted"] == count
    assert resolver.open_count == 0


@settings(max_examples=examples(150))
@given(st.data(), logs(actions()), logs(interactions()), graces)
def test_bins_and_labels_are_those_of_the_slow_law_whatever_the_partitions_and_their_order(
    data, left, right, grace_ms
):
    by_conversation = {}
    for topic, log in (("agent-actions", left), ("agent-interactions", right)):
        for record in log:
            place = by_conversation.setdefault(record.event.conversation_id, {})
            place.setdefault(topic, []).append(record)
    calibrator = Calibrator(2, POLICY)
    expected = {}
    queues = []
    for source, conversation in enumerate(("c1", "c2")):
        own = by_conversation.get(conversation, {})
        own_left, own_right = own.get("agent-actions", []), own.get("agent-interactions", [])
        _, outcomes = expected_of(own_left, own_right, grace_ms)
        expected.update(outcomes)
        settled, _, _ = run(
            OutcomeResolver(source, POLICY, grace_ms),
            interleave(data.draw, own_left, own_right), set(), set(),
        )  # fmt: skip
        ordered = sorted(settled.values(), key=lambda o: o.settled_at_ms)
        queues.append([o for o in ordered if o.calibrates])
    for source, queue in enumerate(queues):
        for outcome in queue:
            calibrator.on_settled(outcome)
            if data.draw(st.booleans()):
                calibrator.on_promise(Promise(source=source, until_ms=outcome.settled_at_ms - 1))
                calibrator.enter(data.draw(st.sampled_from((1, None))))
                calibrator.finish()
        calibrator.on_promise(Promise(source=source, until_ms=2**60))
    calibrator.enter()

    assert {
        (tuple(stream), index): {
            "all": [getattr(held.all, name) for name in SUM_NAMES],
            "lead": [getattr(held.lead, name) for name in SUM_NAMES],
        }
        for (stream, index), held in calibrator.bins.items()
    } == oracle.bins(expected)
    assert {
        (tuple(stream), label): {
            "all": [getattr(rate.all, name) for name in COUNTED],
            "lead": [getattr(rate.lead, name) for name in COUNTED],
        }
        for (stream, label), rate in calibrator.labels.items()
    } == oracle.label_rates(expected)


@settings(max_examples=examples(100))
@given(st.data(), logs(actions()), logs(interactions()), graces)
def test_outcomes_survive_json_both_ways(data, left, right, grace_ms):
    _, said, _ = run(
        OutcomeResolver(0, POLICY, grace_ms), interleave(data.draw, left, right), set(), set()
    )

    for outcome in said.values():
        encoded = msgspec.json.encode(outcome)
        assert msgspec.json.decode(encoded, type=type(outcome)) == outcome
        contract = msgspec.json.decode(encoded, type=Outcome)
        assert asdict(contract) == msgspec.structs.asdict(outcome)
        assert msgspec.json.encode(contract) == encoded

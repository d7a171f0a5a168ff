"""A replay against the live core: whatever is late, refused or copied, the same rows settle."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from agents_topics.codec import Decoded, Malformed
from agents_topics.events import Forget
from agents_topics.identifiers import key_of
from tables.forgetting import Forgettings, meaning_of
from tables.outcome_resolver import OutcomeResolver
from tables.replay import TIMED_REASONS, Replay, target_of
from tests import oracle
from tests.hunt import examples
from tests.property.test_outcome_resolver import (
    HOUR,
    POLICY,
    START,
    Record,
    actions,
    forgets_at,
    graces,
    interactions,
    interleave,
    logs,
)
from tests.resolver_task import law_of

PARTITIONS = 2
POISON = Malformed("json_invalid", "not JSON")


@dataclass
class Live:
    """What workers have made of the sources: rows, the ledger, and where each task stands."""

    grace_ms: dict
    sources: dict = field(default_factory=lambda: defaultdict(list))
    ledger: dict = field(default_factory=lambda: defaultdict(dict))
    settled: list = field(default_factory=list)
    tasks: list = field(default_factory=list)
    late_reasons: set = field(default_factory=set)
    forgotten: list = field(default_factory=list)
    counted: list = field(default_factory=list)

    @property
    def as_of_ms(self):
        return min(task.settled_ms for task in self.tasks)


def o_key(outcome):
    return key_of(outcome.tenant_id, outcome.conversation_id)


def home_of(outcome):
    return target_of(o_key(outcome), PARTITIONS)


def nameless_laws_of(outcomes):
    """What the bins may know, whoever it was."""
    laws = [law_of(o) for o in outcomes]
    return Counter(
        tuple(sorted((k, str(v)) for k, v in law.items() if k not in ("id", "conversation_id")))
        for law in laws
    )


def rows_of(outcomes, as_of_ms):
    return {o.id: law_of(o) for o in outcomes if o.settled_at_ms <= as_of_ms}


def decoded_of(event):
    at_ms = oracle.to_ms(event.occurred_at)
    return Decoded(key_of(event.tenant_id, event.conversation_id), at_ms, event)


@st.composite
def lived(draw):
    """Two tasks have read their partitions, with poison, cuts and jumps of time in between."""
    left, right = draw(logs(actions())), draw(logs(interactions()))
    merged = interleave(draw, left, right)
    jumps = draw(st.dictionaries(st.integers(0, 28), st.integers(-2, 16), max_size=3))
    forgets = draw(forgets_at) if draw(st.booleans()) else {}
    cuts, poison = draw(st.sets(st.integers(0, 28))), draw(st.sets(st.integers(0, 28), max_size=2))
    grace_ms = draw(graces)
    tasks = [OutcomeResolver(n, POLICY, grace_ms) for n in range(PARTITIONS)]
    live = Live(grace_ms, tasks=tasks)
    for index, (topic, logged) in enumerate(merged):
        decoded = decoded_of(logged.event)
        number = target_of(decoded.key, PARTITIONS)
        taken = [(Record(logged.offset, logged.timestamp), decoded)]
        if index in poison:
            taken.append((Record(logged.offset + 1_000 + index, logged.timestamp), POISON))
        for record, one in taken:
            live.sources[topic, number].append((record, one))
            live.tasks[number].admit(topic, [record], [one])
        if index in jumps:
            until_ms = START + jumps[index] * HOUR
            live.tasks[number].times.on_clock(until_ms, START)
        if index in forgets:
            _forget(live, index, *forgets[index])
        if index in cuts:
            _finish(live, number)
    for number in range(PARTITIONS):
        if draw(st.booleans()):
            live.tasks[number].times.on_clock(START + draw(st.integers(0, 40)) * HOUR, START)
        _finish(live, number)
    return live


def _forget(live, index, tenant_id, conversation_id):
    forget = Forget(
        kind="forget", event_id=f"f{index}", tenant_id=tenant_id, conversation_id=conversation_id
    )
    home = target_of(key_of(tenant_id, conversation_id or ""), PARTITIONS)
    for number in range(PARTITIONS) if conversation_id is None else (home,):
        offsets = {
            topic: max([r.offset for r, _ in live.sources[topic, number] if r.offset < 1_000],
                       default=-1) + 1
            for topic in live.grace_ms
        }  # fmt: skip
        live.tasks[number].forget(forget, offsets)


def _finish(live, number):
    step = live.tasks[number].finish()
    for forgetting in step.forgotten:
        entry = forgetting.record
        live.forgotten.append(entry)
        is_meant = meaning_of(entry.tenant_id, entry.conversation_id)
        gone = [o for o in live.settled if is_meant(o_key(o)) and home_of(o) == number]
        live.settled = [o for o in live.settled if o not in gone]
        live.counted += gone + forgetting.settled
        if entry.conversation_id is None:
            live.counted = [
                o for o in live.counted if o.tenant_id != entry.tenant_id or home_of(o) != number
            ]
    live.settled += [o for o in step.outcomes if o.is_settled]
    for late in step.late:
        live.ledger[late.topic, number][late.offset] = True
        live.late_reasons.add(late.reason)
    for refused in step.refused:
        moves = refused.reason in TIMED_REASONS
        live.ledger[refused.topic, number][refused.record.offset] = moves


def replayed(draw, live, numbers, targets, as_of_ms):
    """The sources of some partitions in pieces of any size, in any order."""
    sources = [(topic, number) for topic in live.grace_ms for number in numbers]
    replay = Replay(
        POLICY, live.grace_ms, sources, live.ledger, targets=targets,
        forgotten=Forgettings(live.forgotten),
    )  # fmt: skip
    left = {source: list(live.sources[source]) for source in sources}
    settled = []
    while any(left.values()):
        source = draw(st.sampled_from([s for s, pairs in left.items() if pairs]))
        count = draw(st.integers(1, 6))
        piece, left[source] = left[source][:count], left[source][count:]
        replay.take(source, [r for r, _ in piece], [d for _, d in piece])
        if draw(st.booleans()):
            settled += replay.finish()
    settled += replay.end(as_of_ms)
    return settled, replay


@settings(max_examples=examples(200))
@given(st.data(), lived(), st.sampled_from([1, 2, 7]))
def test_what_settles_by_the_as_of_is_what_live_has_settled_in_any_number_of_targets(
    data, live, targets
):
    as_of_ms = live.as_of_ms

    settled, replay = replayed(data.draw, live, range(PARTITIONS), targets, as_of_ms)

    assert rows_of(settled, as_of_ms) == rows_of(live.settled, as_of_ms)
    assert nameless_laws_of(replay.counted) == nameless_laws_of(
        o for o in live.counted if o.settled_at_ms <= as_of_ms
    )
    assert len({o.id for o in settled}) == len(settled), "settled twice"
    refused = sum(n for t in replay.targets for (_, name), n in t.counts.items() if name == "dead")
    assert refused == 0, "the ledger has refused it already"


@settings(max_examples=examples(150))
@given(st.data(), lived())
def test_partition_by_partition_as_each_task_stands_everything_is_as_live_has_it(data, live):
    settled, still_open = [], []
    for number, task in enumerate(live.tasks):
        own, replay = replayed(data.draw, live, [number], 1, task.settled_ms)
        settled += own
        still_open += replay.open_outcomes()

    forever = 2**62
    assert rows_of(settled, forever) == rows_of(live.settled, forever)
    assert rows_of(still_open, forever) == rows_of(
        [o for task in live.tasks for o in task.open_outcomes()], forever
    )


@settings(max_examples=examples(100))
@given(st.data(), logs(actions()), logs(interactions()), st.sampled_from([1, 2, 7]))
def test_on_time_nothing_is_late_whatever_the_order(data, left, right, targets):
    """As the slow law has it where the same records come in the order of their times."""
    sources = {("agent-actions", 0): left, ("agent-interactions", 0): right}
    forever = {topic: 10_000 * HOUR for topic, _ in sources}
    replay = Replay(POLICY, forever, list(sources), {}, judging="on_time", targets=targets)
    for source, log in sources.items():
        records = [Record(r.offset, r.timestamp) for r in log]
        replay.take(source, records, [decoded_of(r.event) for r in log])
        list(replay.finish())
    settled = list(replay.end(START + 10_000 * HOUR))

    _, admitted, answers = oracle.classify(POLICY, left, right, forever)
    expected = oracle.settle(POLICY, admitted, answers)
    assert {
        (key_of(o.tenant_id, o.conversation_id), o.action_id, o.outcome_type): o.status
        for o in settled
    } == {name: outcome["status"] for name, outcome in expected.items()}


@settings(max_examples=examples(100))
@given(st.data(), lived())
def test_a_tenants_replay_settles_that_tenants_rows_and_no_others(data, live):
    tenants = sorted({o.tenant_id for o in live.settled})
    if not tenants:
        return
    wanted = frozenset(data.draw(st.sets(st.sampled_from(tenants), min_size=1)))
    sources = [(topic, number) for topic in live.grace_ms for number in range(PARTITIONS)]
    replay = Replay(
        POLICY, live.grace_ms, sources, live.ledger, tenants=wanted,
        forgotten=Forgettings(live.forgotten),
    )  # fmt: skip
    for source in sources:
        pairs = live.sources[source]
        replay.take(source, [r for r, _ in pairs], [d for _, d in pairs])
    settled = list(replay.end(live.as_of_ms))

    own = [o for o in live.settled if o.tenant_id in wanted]
    assert rows_of(settled, live.as_of_ms) == rows_of(own, live.as_of_ms)

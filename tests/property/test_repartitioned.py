"""Live tasks of another number, fed with the copy, settle what the old ones had settled."""

import random
from collections import defaultdict

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tables.forgetting import Forgettings
from tables.outcome_resolver import OutcomeResolver
from tables.remembered_ids import fingerprint
from tables.repartition import Entry, Merge
from tables.replay import target_of
from tables.stream_times import NEVER_MS
from tests.hunt import examples
from tests.property.test_outcome_resolver import HOUR, POLICY, START, Record
from tests.property.test_replay import PARTITIONS, lived, rows_of

COPIED = START + 20_000 * HOUR
"""The broker's time of the copies."""


def copies_of(live, topic, forgotten):
    """What a repartition copies of a topic, in its order."""
    merge = Merge((topic, number) for number in range(PARTITIONS))
    for number in range(PARTITIONS):
        source, refused = (topic, number), live.ledger[topic, number]
        merge.add(
            source,
            [
                Entry(one.at_ms, min(one.at_ms, record.timestamp), one)
                for record, one in live.sources[source]
                if record.offset not in refused
                and not forgotten.is_of_the_past(*source, record.offset, one)
            ],
        )
    return [entry.record for entry in merge.ready(())]


def are_used_again(copies):
    """Whether an id stands for two events: what the contract forbids, and what a task that has
    forgotten the first one admits.
    """
    bodies = defaultdict(set)
    for one in copies:
        bodies[one.key, one.event.event_id].add(fingerprint(one.event))
    return any(len(own) > 1 for own in bodies.values())


def until_of(live):
    tasks = [task for task in live.tasks if task.times.first_ms > NEVER_MS]
    times = [time.now_ms for task in tasks for time in task.times.topics.values()]
    return min(times, default=NEVER_MS)


@settings(max_examples=examples(200))
@given(lived(), st.sampled_from([1, 2, 3, 7]), st.randoms(use_true_random=False))
def test_by_the_time_that_all_had_come_to_the_same_has_settled_and_nothing_was_late(
    live, new, chance
):
    forgotten, until_ms = Forgettings(live.forgotten), until_of(live)
    copies = {topic: copies_of(live, topic, forgotten) for topic in live.grace_ms}
    assume(until_ms > NEVER_MS and not any(map(are_used_again, copies.values())))

    steps = settled_by([OutcomeResolver(n, POLICY, live.grace_ms) for n in range(new)],
                       copies, until_ms, chance)  # fmt: skip

    as_of_ms = until_ms - max(live.grace_ms.values())
    settled = [o for step in steps for o in step.outcomes if o.is_settled]
    assert [late for step in steps for late in step.late] == []
    assert [refused for step in steps for refused in step.refused] == []
    assert rows_of(settled, as_of_ms) == rows_of(live.settled, as_of_ms)


def settled_by(tasks, copies, until_ms, chance: random.Random):
    """The topics in any order, the clock record at last."""
    left, steps, offset = {topic: list(own) for topic, own in copies.items()}, [], 0
    while topics := [topic for topic, own in left.items() if own]:
        topic = chance.choice(topics)
        one, offset = left[topic].pop(0), offset + 1
        task = tasks[target_of(one.key, len(tasks))]
        task.admit(topic, [Record(offset, COPIED + offset)], [one])
        if chance.random() < 0.3:
            steps.append(task.finish())
    for task in tasks:
        task.times.on_clock(until_ms, COPIED + offset)
        steps.append(task.finish())
    return steps

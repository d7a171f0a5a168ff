"""A rebuilt task where it is easily wrong: small cases, written out."""

import msgspec

from agents_topics.events import Forget, Outcome
from tables.resolver_rebuild import Recorded, ResolverRebuild, Said
from tests.resolver_task import (
    ACTIONS,
    GRACE,
    HOUR,
    INTERACTIONS,
    START,
    TENANT,
    Record,
    Task,
    action,
    decoded,
    stage,
)


class Lived:
    """A task that keeps all that it was given and has said."""

    def __init__(self):
        self.task = Task()
        self.given = {ACTIONS: [], INTERACTIONS: []}
        self.said, self.recorded = Said(), Recorded()
        self.entries = []

    def step(self, *records, settled_max=100):
        for topic, hours, fields in records:
            self.task.offset += 1
            event = decoded(topic, **{"event_id": f"e{self.task.offset}", "hours": hours} | fields)
            record = Record(self.task.offset, self.task.broker_ms)
            self.given[topic].append((record, event))
            self.task.resolver.admit(topic, [record], [event])
        step = self.task.resolver.finish(settled_max)
        for forgetting in step.forgotten:
            self.entries.append(forgetting.record)
            self.said.on_forgotten(forgetting.record)
        for outcome in step.outcomes:
            self.said.on(msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome))
        return step

    def jump(self, hours, **options):
        until_ms = START + hours * HOUR
        self.recorded.on_clock(until_ms, self.task.broker_ms)
        self.task.resolver.times.on_clock(until_ms, self.task.broker_ms)
        return self.step(**options)

    def forget(self, conversation_id, tenant_id=TENANT):
        """With what the next step says, as a task does."""
        self.recorded.on_control()
        self.task.resolver.counts["control", "admitted"] += 1
        forget = Forget(
            kind="forget", event_id="f", tenant_id=tenant_id, conversation_id=conversation_id
        )
        self.task.resolver.forget(forget, dict.fromkeys(self.given, self.task.offset + 1))

    def rebuilt(self):
        """As much at once as may be; returns the rebuilt resolver and its rows."""
        rebuild = ResolverRebuild(0, self.task.policy, GRACE, self.recorded, self.said)
        since = 0
        for entry in [*self.entries, None]:
            for topic, pairs in self.given.items():
                end = entry.offsets[topic] if entry else self.task.offset + 1
                own = [pair for pair in pairs if since <= pair[0].offset < end]
                rebuild.take(topic, [r for r, _ in own], [one for _, one in own])
            since = end
            rebuild.finish()
            if entry:
                rebuild.forget(entry)
        rebuild.end()
        assert rebuild.unlike() is None
        return rebuild.resolver, rebuild.rows()


def test_an_open_outcome_goes_on_from_the_revision_that_was_published():
    lived = Lived()
    lived.step(action(0))
    lived.step(stage(2, "evaluation"))
    (last,) = lived.step(stage(1.5, "closed_lost")).outcomes

    resolver, rows = lived.rebuilt()

    assert [(o.status, o.revision) for o in resolver.open_outcomes()] == [("negative", 2)]
    assert last.revision == 2
    ((*_, outcomes),) = [row for key, row in rows.items() if key.startswith(b"a/")]
    assert [revision for _, revision, *_ in outcomes] == [2]


def test_of_what_settles_at_one_time_only_what_was_said_is_settled():
    lived = Lived()
    lived.step(*(action(0, event_id=name, conversation_id=name) for name in "abc"))
    (first, second) = lived.jump(9_000, settled_max=2).outcomes

    resolver, _ = lived.rebuilt()
    rest = resolver.finish().outcomes

    assert (first.settled_at_ms, resolver.open_count) == (second.settled_at_ms, 0)
    assert [(o.action_id, o.is_settled) for o in rest] == [("c", True)]


def test_an_action_whose_id_comes_again_after_the_first_was_forgotten_has_its_row():
    lived = Lived()
    lived.step(action(0, action_id="a"))
    lived.jump(3_000)
    lived.step(action(3_100, action_id="a"))

    resolver, rows = lived.rebuilt()

    assert resolver.open_count == 1
    ((*_, outcomes),) = [row for key, row in rows.items() if key.startswith(b"a/")]
    assert [is_settled for _, _, is_settled, _ in outcomes] == [False]


def test_of_what_settles_at_one_time_some_was_said_before_a_forgetting_and_some_after_it():
    lived = Lived()
    lived.step(*(action(0, event_id=name, conversation_id=name) for name in "abcd"))
    (first,) = lived.jump(9_000, settled_max=1).outcomes
    lived.forget("d")
    (second,) = lived.step(settled_max=1).outcomes

    resolver, _ = lived.rebuilt()
    rest = resolver.finish().outcomes

    assert first.settled_at_ms == second.settled_at_ms
    assert [(o.action_id, o.is_settled) for o in rest] == [("c", True)]


def test_what_of_a_conversation_was_due_is_counted_and_of_a_tenant_only_what_was_said():
    lived = Lived()
    lived.step(*(action(0, event_id=name, conversation_id=name) for name in "abcd"))
    lived.jump(9_000, settled_max=1)
    lived.forget("b")
    lived.forget(None)
    lived.step()

    resolver, rows = lived.rebuilt()

    for counts in (resolver.counts, lived.task.resolver.counts):
        assert [n for (group, _), n in counts.items() if group == "settled"] == [2]
    assert resolver.open_count == 0
    assert {key[:1] for key in rows} <= {b"d"}


def test_a_forgotten_conversation_that_begins_anew_has_what_came_since_and_its_old_ids():
    lived = Lived()
    lived.step(action(0, event_id="a"), stage(1, "evaluation"))
    lived.forget("c")
    lived.step(action(0, event_id="a"), action(0.5, event_id="b"))

    resolver, rows = lived.rebuilt()

    assert [o.action_id for o in resolver.open_outcomes()] == ["b"]
    assert resolver.counts[ACTIONS, "duplicate"] == 1
    assert not any(key.startswith(b"i/") for key in rows)
    held = [seen[1] for key, row in rows.items() if key.startswith(b"d/") for seen, *_ in row]
    assert sorted(held) == ["a", "b", "e2"]

"""The audit agrees with the resolver over random logs, silences, clock records and restores."""

from types import SimpleNamespace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_topics.codec import Decoder
from agents_topics.events import Action, Forget, Interaction
from agents_topics.identifiers import key_of
from tables.outcome_resolver import OutcomeResolver
from tests.hunt import examples
from tests.ledger import IDLE, JOINED, START, Ledger
from tests.property.test_outcome_resolver import (
    HOUR,
    LISTED,
    OWN_RULES,
    POLICY,
    actions,
    graces,
    interactions,
    interleave,
    logs,
    restored,
)

DECODERS = dict(zip(JOINED, (Decoder(Action), Decoder(Interaction)), strict=True))


class Worker:
    """A resolver and the ledger that it writes; the broker's clock is told."""

    def __init__(self, draw, grace_ms):
        self.draw = draw
        self.ledger = Ledger(partition_count=1)
        self.resolver = OutcomeResolver(0, POLICY, grace_ms)
        self.rows = {}
        self.now = START + 20 * HOUR

    def take(self, topic, event):
        """A record is written and applied in a step of its own or together with the next."""
        self.now += self.draw(st.sampled_from([1, 100, 5_000, HOUR]))
        value = msgspec.json.encode(event)
        key = key_of(event.tenant_id, event.conversation_id).encode()
        offset = self.ledger.put(topic, key, value, self.now)
        record = SimpleNamespace(offset=offset, timestamp=self.now)
        self.resolver.admit(topic, [record], [DECODERS[topic].decode(key, value)])

    def finish(self):
        """One transaction: claims, rows and a note, which compaction may take away."""
        step = self.resolver.finish()
        written = self.now + 1
        for late in step.late:
            self.ledger.put("late-events", None, msgspec.json.encode(late), written)
        for forgetting in step.forgotten:
            entry = msgspec.json.encode(forgetting.record)
            self.ledger.put("forgotten", None, entry, written)
        for refused in step.refused:
            self.ledger.letter(refused.topic, refused.record.offset, refused.reason)
        for key, row in step.changes.items():
            if row is None:
                self.rows.pop(key)
            else:
                self.rows[key] = msgspec.msgpack.encode(row)
        times = self.resolver.times.topics
        self.ledger.note(
            written,
            times={name: [t.log_ms, t.pushed_ms, 0, 0] for name, t in times.items()},
            counts={"/".join(name): count for name, count in self.resolver.counts.items()},
        )

    def quiet(self):
        """Nothing comes for a while; then silence, as the task finds it once a second."""
        for _ in range(self.draw(st.integers(1, 3))):
            self.now += self.draw(st.sampled_from([9_000, 20_000, HOUR, 3 * HOUR]))
            self.finish()
            self.resolver.times.on_silence(list(JOINED), self.now, IDLE)

    def jump(self):
        """A clock record comes and is applied."""
        self.now += 1
        until = START + self.draw(st.integers(0, 12)) * HOUR
        self.ledger.clock(until, self.now)
        self.resolver.times.on_clock(until, self.now)

    def forget(self):
        """A forget record comes and is applied."""
        self.now += 1
        tenant_id, conversation_id = self.draw(
            st.sampled_from([(LISTED, "c1"), (LISTED, "c2"), (LISTED, None), (OWN_RULES, "c1")])
        )
        said = Forget(
            kind="forget", event_id=f"f{self.now}", tenant_id=tenant_id,
            conversation_id=conversation_id,
        )  # fmt: skip
        self.ledger.put("control", None, msgspec.json.encode(said), self.now)
        stands = {name: len(self.ledger.logs[name]) for name in JOINED}
        self.resolver.forget(said, stands)

    def restart(self):
        self.finish()
        times = self.resolver.times
        self.resolver = restored(self.resolver, self.rows)
        self.resolver.times = times


@settings(max_examples=examples(300))
@given(st.data(), logs(actions()), logs(interactions()), graces)
def test_the_audit_finds_no_fault_in_what_the_resolver_claims(data, left, right, grace_ms):
    worker = Worker(data.draw, grace_ms)
    for topic, record in interleave(data.draw, left, right):
        worker.take(topic, record.event)
        match data.draw(
            st.sampled_from(["go on", "go on", "finish", "quiet", "jump", "restart", "forget"])
        ):
            case "finish":
                worker.finish()
            case "quiet":
                worker.quiet()
            case "jump":
                worker.jump()
            case "restart":
                worker.restart()
            case "forget":
                worker.forget()
    worker.finish()
    notes = worker.ledger.logs["outcome-resolver-changelog"]
    kept = data.draw(st.sets(st.integers(0, len(notes) - 2)) if len(notes) > 1 else st.just(set()))
    worker.ledger.logs["outcome-resolver-changelog"] = [
        note for index, note in enumerate(notes) if index in kept or index == len(notes) - 1
    ]

    report = worker.ledger.audit(POLICY, grace_ms)

    assert report.differences == []
    for topic in JOINED:
        names = {"duplicate": "duplicates", "dead": "dead letters"}
        for member in ("admitted", "ignored", "duplicate", "late", "dead"):
            count = worker.resolver.counts[topic, member]
            found = report.records[topic][names.get(member, member)]
            if member == "admitted":
                found += report.records[topic]["forgotten"]
            assert found == count

"""The replay's hard cases, each told in a small story. `tests/property` has the random ones."""

from agents_topics.policy_file import load_policy
from tables.replay import Replay
from tables.stream_times import NEVER_MS
from tests.resolver_task import (
    ACTIONS,
    GRACE,
    HOUR,
    INTERACTIONS,
    START,
    Record,
    Task,
    decoded,
    law_of,
)

BROKER_MS = START + 9_999 * HOUR


def replay_of(*sources, ledger=None, **options):
    return Replay(load_policy(None), GRACE, sources, ledger or {}, **options)


def record(topic, offset, hours, broker_ms=BROKER_MS, **fields):
    """A source's record, decoded."""
    told = {"event_id": f"{topic}-{offset}"} | fields
    return Record(offset, broker_ms), decoded(topic, hours=hours, **told)


def mail(offset, hours, **fields):
    said = {"action_type": "send_email", "predicted_confidence": 0.5}
    return record(ACTIONS, offset, hours, **said, **fields)


def reply(offset, hours, **fields):
    return record(INTERACTIONS, offset, hours, kind="reply_received", **fields)


def take(replay, source, *taken):
    replay.take(source, [r for r, _ in taken], [d for _, d in taken])


def test_a_partition_that_is_read_first_settles_nothing_that_another_may_still_answer():
    sources = [(topic, number) for topic in (ACTIONS, INTERACTIONS) for number in (0, 1)]
    replay = replay_of(*sources)
    take(replay, (ACTIONS, 1), mail(0, 500, conversation_id="d"))
    take(replay, (INTERACTIONS, 1), reply(0, 501, conversation_id="d"))
    take(replay, (ACTIONS, 0), mail(0, 0), mail(1, 400, conversation_id="e"))
    early = list(replay.finish())
    take(replay, (INTERACTIONS, 0), reply(0, 1))
    settled = {o.conversation_id: o.status for o in replay.end(START + 300 * HOUR)}

    assert early == []
    assert settled == {"c": "positive"}


def test_an_action_id_that_live_had_forgotten_settles_a_second_time_as_it_did_live():
    """A clock closes the first one's window in live; a replay holds it still when it comes again.

    Postgres keeps the first; what matters here is that the second is no dead letter, and that
    both are let go.
    """
    live = Task()
    live.step((ACTIONS, 0, {"action_type": "send_email", "predicted_confidence": 0.5,
                            "action_id": "a", "event_id": "one"}))  # fmt: skip
    live.resolver.times.on_clock(START + 100 * HOUR, BROKER_MS)
    first = live.finish().outcomes
    live.step((ACTIONS, 100, {"action_type": "send_email", "predicted_confidence": 0.9,
                              "action_id": "a", "event_id": "two"}))  # fmt: skip
    second = live.settle()

    replay = replay_of((ACTIONS, 0), (INTERACTIONS, 0))
    take(
        replay,
        (ACTIONS, 0),
        mail(1, 0, action_id="a", event_id="one"),
        record(ACTIONS, 2, 100, action_type="send_email", predicted_confidence=0.9,
               action_id="a", event_id="two"),
    )  # fmt: skip
    settled = list(replay.end(START + 9_000 * HOUR))

    assert [law_of(o) for o in settled] == [law_of(o) for o in [*first, *second] if o.is_settled]
    assert len(settled) == 2
    assert replay.targets[0].finish().changes == {}


def test_a_ledgers_late_record_moves_its_topics_time_and_a_refused_one_does_not():
    ledger = {(ACTIONS, 0): {1: True, 2: False}}
    replay = replay_of((ACTIONS, 0), (INTERACTIONS, 0), ledger=ledger)
    take(replay, (ACTIONS, 0), mail(0, 0))
    before_ms = replay.seen_ms((ACTIONS, 0))
    take(replay, (ACTIONS, 0), mail(1, 5), mail(2, 50))

    assert (before_ms, replay.seen_ms((ACTIONS, 0))) == (START, START + 5 * HOUR)
    assert [o.status for o in replay.end(START + 40 * HOUR)] == ["expired"]


def test_its_own_as_of_is_the_slowest_source_less_the_grace_and_an_empty_one_says_nothing():
    replay = replay_of((ACTIONS, 0), (ACTIONS, 1), (INTERACTIONS, 0))
    nothing_ms = replay.own_as_of_ms
    take(replay, (ACTIONS, 0), mail(0, 30))
    take(replay, (INTERACTIONS, 0), reply(0, 40))

    assert nothing_ms == NEVER_MS
    assert replay.own_as_of_ms == START + 29 * HOUR


def test_lateness_judged_anew_leaves_out_what_lies_a_grace_behind():
    replay = replay_of((ACTIONS, 0), (INTERACTIONS, 0), judging="live")
    take(replay, (ACTIONS, 0), mail(0, 0))
    take(replay, (INTERACTIONS, 0), reply(0, 9, conversation_id="d"), reply(1, 1))
    judged = [o.status for o in replay.end(START + 24 * HOUR)]
    on_time = replay_of((ACTIONS, 0), (INTERACTIONS, 0), judging="on_time")
    take(on_time, (ACTIONS, 0), mail(0, 0))
    take(on_time, (INTERACTIONS, 0), reply(0, 9, conversation_id="d"), reply(1, 1))

    assert judged == ["expired"]
    assert [o.status for o in on_time.end(START + 24 * HOUR)] == ["positive"]

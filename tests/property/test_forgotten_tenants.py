"""The calibrator forgets a tenant as its sources do, each in its own time."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_topics.events import CalibrationUpdate, Promise
from agents_topics.policy_file import load_policy
from tables.calibration_bins import SUM_NAMES
from tables.calibrator import Calibrator
from tables.outcome_record import OutcomeStruct
from tables.stream_rows import KINDS, stream_of
from tests import oracle
from tests.hunt import examples

TENANTS = ("t1", "t2")
SOURCES = 3
HOUR = 3_600_000
POLICY = load_policy(None)


def outcome(number, tenant_id, at, confidence, is_positive):
    return OutcomeStruct(
        id=str(number), tenant_id=tenant_id, conversation_id="c", action_id=str(number),
        action_type="mail", outcome_type="reply", predicted_confidence=confidence,
        confidence_label=None if confidence is not None else "high", confidence_source="judge",
        status="positive" if is_positive else "negative", score=None, signal_source=None,
        decided_by=None, created_at_ms=at, window_expires_at_ms=at + HOUR,
        settled_at_ms=at + HOUR, resolved_at_ms=None, known_at_ms=None, revision=0,
        is_settled=True, calibrates=True, is_lead=True, expired_counts=True, policy_version="p",
    )  # fmt: skip


@st.composite
def said(draw):
    """What each source says in its order: outcomes, and a word for each forgetting."""
    forgets = draw(st.lists(st.sampled_from(TENANTS), max_size=3))
    queues = []
    for source in range(SOURCES):
        own = [
            outcome(
                100 * source + n, draw(st.sampled_from(TENANTS)), draw(st.integers(0, 9)) * HOUR,
                draw(st.sampled_from([0.1, 0.5, None])), draw(st.booleans()),
            )
            for n in range(draw(st.integers(0, 6)))
        ]  # fmt: skip
        for number, tenant in enumerate(forgets):
            own.insert(draw(st.integers(0, len(own))), (tenant, f"f{number}"))
        queues.append(own)
    return queues


def left_of(queue):
    """The outcomes of a source after its last word about their tenant."""
    left = []
    for one in queue:
        if isinstance(one, tuple):
            left = [held for held in left if held.tenant_id != one[0]]
        else:
            left.append(one)
    return left


@settings(max_examples=examples(100))
@given(st.data(), said())
def test_what_is_left_in_the_bins_is_what_each_source_said_after_its_last_word(data, queues):
    calibrator, rows = Calibrator(SOURCES, POLICY), {}
    places = dict.fromkeys(range(SOURCES), 0)
    updates = {}
    while going := [s for s in places if places[s] < len(queues[s])]:
        source = data.draw(st.sampled_from(going))
        one = queues[source][places[source]]
        places[source] += 1
        if isinstance(one, tuple):
            calibrator.on_forgotten(*one, source)
        elif not calibrator.forgetting.is_old(one.tenant_id, source):
            calibrator.on_settled(one)
        if data.draw(st.booleans()):
            until_ms = data.draw(st.integers(0, 9)) * HOUR
            for said_by in range(SOURCES):
                calibrator.on_promise(Promise(source=said_by, until_ms=until_ms))
        if data.draw(st.booleans()):
            calibrator.enter(data.draw(st.sampled_from((0, 1, None))))
            updates |= dict(written(calibrator.finish(), rows))
            calibrator = restored(calibrator, rows)
    for source in range(SOURCES):
        calibrator.on_promise(Promise(source=source, until_ms=2**60))
    calibrator.enter()
    updates |= dict(written(calibrator.finish(), rows))

    expected = bins_of(one for queue in queues for one in left_of(queue))
    found = {
        (tuple(stream), index): [getattr(held.all, name) for name in SUM_NAMES]
        for (stream, index), held in calibrator.bins.items()
    }
    assert found == expected
    assert {key for key in rows if key[:2] in (b"f/", b"h/")} == set()
    of_bins = {key: u for key, u in updates.items() if isinstance(u, CalibrationUpdate)}
    assert len({key for key, update in of_bins.items() if update.counts}) == len(expected)
    kept = {stream_of(msgspec.msgpack.decode(rows[key])) for key in rows if key[:2] in KINDS}
    assert kept == calibrator.folds.keys() == {stream for stream, _ in calibrator.bins}


def written(step, rows):
    for key, row in step.changes.items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = msgspec.msgpack.encode(row)
    return step.updates


def restored(old, rows):
    fresh = Calibrator(SOURCES, POLICY)
    fresh.promises = old.promises
    for key, row in rows.items():
        fresh.restore(key, msgspec.msgpack.decode(row))
    return fresh


def bins_of(outcomes):
    told = {
        number: {
            "calibrates": True, "predicted_confidence": o.predicted_confidence,
            "status": o.status, "is_lead": True, "expired_counts": True,
            "stream": (o.tenant_id, "mail", "reply", HOUR, "judge"),
        }
        for number, o in enumerate(outcomes)
    }  # fmt: skip
    return {key: sets["all"] for key, sets in oracle.bins(told).items()}

"""However many outcomes a promise releases, a step lets in a bounded number, in order."""

from dataclasses import replace
from itertools import chain

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_topics.calibration import ThresholdAdjustment
from agents_topics.events import CalibrationUpdate, CloseAlarm, Promise, ThresholdOverride
from agents_topics.label_rates import LabelCounts
from agents_topics.policy_file import load_policy
from streams.calibrate import outs_of
from tables.calibrator import Calibrator
from tests.hunt import examples
from tests.integration.test_postgres_writer import outcome, settled

STEP = 500
COUNT = 2 * STEP + 5
TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"


def bins_of(step):
    return [update for _, update in step.updates if isinstance(update, CalibrationUpdate)]


def test_a_promise_that_releases_much_is_kept_in_bounded_steps_across_a_restart():
    rows = {}

    def finish(calibrator):
        calibrator.enter(STEP)
        step = calibrator.finish()
        for key, row in step.changes.items():
            if row is None:
                del rows[key]
            else:
                rows[key] = msgspec.msgpack.encode(row)
        return step

    calibrator = Calibrator(1, load_policy(None))
    one = settled(outcome(tenant_id=TENANT))
    for number in range(COUNT):
        calibrator.on_settled(replace(one, id=f"{number}"))
    finish(calibrator)
    calibrator.on_promise(Promise(source=0, until_ms=one.settled_at_ms))
    entered = []
    while calibrator.is_entering:
        (update,) = bins_of(finish(calibrator))
        entered.append(update.all.n)
        restored = Calibrator(1, load_policy(None))
        restored.promises = calibrator.promises
        for key, row in rows.items():
            restored.restore(key, msgspec.msgpack.decode(row))
        calibrator = restored

    assert entered == [STEP, 2 * STEP, COUNT]
    assert sorted(key[:2] for key in rows) == [b"b/", b"d/", b"l/", b"n/", b"t/"]


def test_a_stream_with_few_outcomes_does_not_wait_for_one_with_very_many():
    one = settled(outcome(tenant_id=TENANT))
    calibrator = Calibrator(1, load_policy(None))
    for number in range(COUNT):
        calibrator.on_settled(replace(one, id=f"{number}", settled_at_ms=one.settled_at_ms - 1))
    for number in range(5):
        calibrator.on_settled(replace(one, id=f"few {number}", action_type="send_chat"))
    calibrator.on_promise(Promise(source=0, until_ms=one.settled_at_ms))

    calibrator.enter(STEP)

    entered = {update.action_type: update.all.n for update in bins_of(calibrator.finish())}
    assert entered == {"send_chat": 5, "send_email": STEP - 5}
    assert calibrator.waiting_count == COUNT + 5 - STEP


def test_labels_outlive_a_restart_and_enter_no_bin():
    one = settled(outcome(tenant_id=TENANT, predicted_confidence=None, confidence_label="high"))
    calibrator = Calibrator(1, load_policy(None))
    calibrator.on_settled(replace(one, id="1", is_lead=True))
    calibrator.on_settled(replace(one, id="2", is_lead=False, status="ambiguous"))
    calibrator.on_promise(Promise(source=0, until_ms=one.settled_at_ms))
    calibrator.enter()
    calibrator.finish()  # the first to write, so that the rows are those of the second
    calibrator.on_settled(replace(one, id="3", is_lead=False, status="negative"))
    calibrator.enter()
    rows = calibrator.finish().changes

    restored = Calibrator(1, load_policy(None))
    for key, row in rows.items():
        restored.restore(key, msgspec.msgpack.decode(msgspec.msgpack.encode(row)))
    restored.promises = calibrator.promises
    restored.on_settled(replace(one, id="4", is_lead=True))
    restored.enter()
    ((key, rate),) = restored.finish().updates

    assert key == (f"{TENANT}/send_email/email_engagement/86400000/self_report/label/high")
    assert rate.all == LabelCounts(n=3, positive=2, negative=1, ambiguous=1)
    assert rate.lead == LabelCounts(n=2, positive=2)
    assert (restored.bins, restored.entered_count) == ({}, 4)


@pytest.mark.parametrize("width", [10, 11])
def test_an_outcome_that_waits_since_an_earlier_release_enters_its_bin(width):
    one = settled(outcome(tenant_id=TENANT))
    calibrator = Calibrator(1, load_policy(None))
    calibrator.on_settled(one)
    ((key, row),) = calibrator.finish().changes.items()

    restored = Calibrator(1, load_policy(None))
    restored.restore(key, msgspec.msgpack.decode(msgspec.msgpack.encode(row[:width])))
    restored.on_promise(Promise(source=0, until_ms=one.settled_at_ms))
    restored.enter()
    (update,) = bins_of(restored.finish())

    assert (update.bin_index, update.all.n) == (7, 1)
    assert restored.folds[row.stream].judged.test.raw.n == row.is_lead


# --- streams --------------------------------------------------------------------------------------

HOUR_MS = 3_600_000


def outcomes_of(seed, count, tenant_id=TENANT):
    """Over-confident ones, a few of each settle time; some say nothing."""
    random = np.random.default_rng(seed)
    for number in range(count):
        at_ms = HOUR_MS * int(random.integers(0, 200))
        status = str(random.choice(("positive", "negative", "ambiguous"), p=(0.4, 0.55, 0.05)))
        one = settled(
            outcome(
                tenant_id=tenant_id,
                id=f"{number}",
                action_id=f"a{number}",
                created_at_ms=at_ms,
                window_expires_at_ms=at_ms + 24 * HOUR_MS,
                settled_at_ms=at_ms + 24 * HOUR_MS,
                predicted_confidence=float(random.integers(50, 100)) / 100,
            )
        )
        yield replace(one, status=status, is_lead=bool(random.random() < 0.8))


def told_by(calibrator, steps, piece=None):
    """By key what readers end up with, each step a list of things that come; those enter in pieces
    of a size.
    """
    last = {}
    for step in steps:
        for one in step:
            if isinstance(one, Promise):
                calibrator.on_promise(one)
            elif isinstance(one, ThresholdOverride | CloseAlarm):
                calibrator.on_override(one)
            else:
                calibrator.on_settled(one)
        calibrator.enter(piece)
        while calibrator.is_entering:
            calibrator.enter(piece)
        last.update(calibrator.finish().updates)
    return last


@settings(max_examples=examples(15))
@given(
    st.integers(0, 999),
    st.randoms(use_true_random=False),
    st.integers(1, 5),
    st.integers(1, 40),
)
def test_a_stream_is_the_same_whatever_the_order_of_arrival_and_the_promises_and_the_pieces(
    seed, random, sources, piece
):
    outcomes = list(outcomes_of(seed, 120))
    policy = load_policy(None)
    plain = told_by(Calibrator(1, policy), [[*outcomes, Promise(source=0, until_ms=2**60)]])
    by_source = [outcomes[source::sources] for source in range(sources)]
    random.shuffle(outcomes)
    steps, promised = [], [-1] * sources
    for _ in range(8):
        source = random.randrange(sources)
        until_ms = max(promised[source], random.randrange(250) * HOUR_MS)
        new = [o for o in by_source[source] if promised[source] < o.settled_at_ms <= until_ms]
        random.shuffle(new)
        promised[source] = until_ms
        steps.append([*new, Promise(source=source, until_ms=until_ms)])
    for source in range(sources):
        rest = [o for o in by_source[source] if o.settled_at_ms > promised[source]]
        steps.append([*rest, Promise(source=source, until_ms=2**60)])

    assert told_by(Calibrator(sources, policy), steps, piece) == plain


def decision(event_id="d1", **changes):
    given = {
        "kind": "threshold",
        "event_id": event_id,
        "tenant_id": TENANT,
        "action_type": "send_email",
        "reviewer": "ann",
        "occurred_at": "2026-03-01T00:00:00Z",
        "action": "set",
        "value": 0.65,
    }
    return ThresholdOverride(**given | changes)


def restored_from(step_rows, promises):
    calibrator = Calibrator(1, load_policy(None))
    calibrator.promises = promises
    for key, row in step_rows.items():
        calibrator.restore(key, msgspec.msgpack.decode(msgspec.msgpack.encode(row)))
    return calibrator


def test_a_decision_enters_after_what_was_promised_and_once_across_a_restart():
    first, second = sorted(outcomes_of(1, 2), key=lambda one: one.settled_at_ms)
    calibrator = Calibrator(1, load_policy(None))
    calibrator.on_settled(second)
    calibrator.on_settled(first)
    calibrator.on_promise(Promise(source=0, until_ms=first.settled_at_ms))
    calibrator.on_override(decision())
    calibrator.on_override(decision())
    calibrator.enter()
    step = calibrator.finish()
    told = [one for _, one in step.updates if isinstance(one, ThresholdAdjustment)]

    restored = restored_from(step.changes, calibrator.promises)
    restored.on_override(decision())
    restored.on_promise(Promise(source=0, until_ms=second.settled_at_ms))
    restored.enter()
    again = restored.finish().updates

    assert [(one.at_ms, one.cause, one.new_threshold) for one in told] == [
        (first.settled_at_ms, "set", 0.65)
    ]
    assert not [one for _, one in again if isinstance(one, ThresholdAdjustment)]


@pytest.mark.parametrize(
    ("changes", "is_meant"),
    [
        ({}, True),
        ({"tenant_id": "another"}, False),
        ({"action_type": "qualify"}, False),
        ({"outcome_type": "email_engagement", "confidence_source": "self_report"}, True),
        ({"outcome_type": "deal_progression"}, False),
        ({"confidence_source": "judge"}, False),
    ],
)
def test_a_decision_is_for_the_streams_that_it_names(changes, is_meant):
    (one,) = outcomes_of(1, 1)
    steps = [[one, Promise(source=0, until_ms=2**60)], [decision(**changes)]]

    told = told_by(Calibrator(1, load_policy(None)), steps).values()

    assert any(isinstance(update, ThresholdAdjustment) for update in told) == is_meant


@settings(max_examples=examples(15))
@given(st.integers(0, 999), st.randoms(use_true_random=False), st.integers(1, 9))
def test_streams_enter_beside_each_other_as_one_by_one_with_decisions_between(seed, random, piece):
    waiting = [
        replace(one, action_type=random.choice(("send_email", "qualify", "escalate")))
        for one in outcomes_of(seed, 60)
    ]
    steps = []
    for number in range(6):
        until_ms = 45 * HOUR_MS * (number + 1)
        steps.append([one for one in waiting if one.settled_at_ms <= until_ms])
        waiting = [one for one in waiting if one.settled_at_ms > until_ms]
        action_type, value = random.choice(("send_email", "qualify")), 0.6 + 0.05 * number
        steps[-1] += [
            Promise(source=0, until_ms=until_ms),
            decision(f"d{number}", action_type=action_type, value=value),
        ]
    policy = load_policy(None)
    seldom = [list(chain(*steps[:4])), list(chain(*steps[4:]))]
    one_by_one = told_by(Calibrator(1, policy), seldom, 1)

    assert told_by(Calibrator(1, policy), seldom, piece) == one_by_one
    assert told_by(Calibrator(1, policy), seldom) == one_by_one
    assert told_by(Calibrator(1, policy), steps) == one_by_one


def test_an_alarm_is_closed_by_a_person():
    sure = [replace(o, predicted_confidence=0.99, is_lead=True) for o in outcomes_of(1, 200)]
    close = CloseAlarm(
        kind="close_alarm",
        event_id="d2",
        tenant_id=TENANT,
        action_type="send_email",
        reviewer="ann",
        occurred_at="2026-03-01T00:00:00Z",
    )
    calibrator = Calibrator(1, load_policy(None))
    promise = Promise(source=0, until_ms=max(one.settled_at_ms for one in sure))

    told = told_by(calibrator, [[*sure, promise], [close]])

    alarms = [(one.closed_by, one.closed_at_ms) for key, one in told.items() if "/alarm/" in key]
    assert alarms == [("person", promise.until_ms)]


def test_what_agents_follow_is_told_by_stream():
    (one,) = outcomes_of(1, 1)
    calibrator = Calibrator(1, load_policy(None))
    told_by(calibrator, [[one, Promise(source=0, until_ms=2**60)]])
    calibrator.on_override(decision())

    calibrator.enter()
    outs = outs_of(calibrator.finish())

    (out,) = outs["threshold-adjustments"]
    key = f"{TENANT}/send_email/email_engagement/86400000/self_report"
    assert out.key == key.encode()
    assert msgspec.json.decode(out.value)["new_threshold"] == 0.65
    assert key.encode() + b"/adjustment/1" in [o.key for o in outs["calibration-updates"]]
    assert outs["calibration-maps"] == []


def falling(number, tenant_id=TENANT):
    """One of a stream that succeeds less from its second hundred on."""
    at_ms, is_good = HOUR_MS * number, number % 10 < (9 if number < 100 else 3)
    one = outcome(
        tenant_id=tenant_id,
        id=f"{number}",
        created_at_ms=at_ms,
        window_expires_at_ms=at_ms + 24 * HOUR_MS,
        settled_at_ms=at_ms + 24 * HOUR_MS,
        predicted_confidence=0.9,
    )
    return replace(settled(one), status="positive" if is_good else "negative", is_lead=True)


@pytest.mark.parametrize("piece", [7, 100, 301, None])
def test_a_trend_that_is_shown_is_said_at_its_comparison_wherever_steps_are_cut(piece):
    calibrator = Calibrator(1, load_policy(None))
    for number in range(301):
        calibrator.on_settled(falling(number))
    calibrator.on_promise(Promise(source=0, until_ms=2**60))
    said, now = [], {}
    while calibrator.is_entering:
        calibrator.enter(piece)
        outs = outs_of(calibrator.finish())
        said += outs["trend-changes"]
        now.update((out.key, out.value) for out in outs["calibration-updates"])

    stream = f"{TENANT}/send_email/email_engagement/86400000/self_report"
    told = [(out.key.decode(), msgspec.json.decode(out.value)) for out in said]
    assert [(key, one["compared_count"], one["supported_direction"]) for key, one in told] == [
        (f"{stream}/success_rate", 1, "declining"),
        (f"{stream}/calibration_gap", 1, "declining"),
        (f"{stream}/success_rate", 2, "stable"),
        (f"{stream}/calibration_gap", 2, "stable"),
    ]
    first = told[0][1]
    assert (first["previous_mean"], first["current_mean"], first["n"]) == (0.9, 0.3, 200)
    assert first["compared_at_ms"] == HOUR_MS * (199 + 24)
    latest = msgspec.json.decode(now[f"{stream}/trend/success_rate".encode()])
    assert (latest["kind"], latest["n"], latest["compared_count"]) == ("trend", 200, 2)


def test_of_a_forgotten_tenant_no_trend_is_left():
    calibrator = Calibrator(1, load_policy(None))
    told_by(calibrator, [[*map(falling, range(201)), Promise(source=0, until_ms=2**60)]])

    calibrator.on_forgotten(TENANT, "f1", 0)
    step = calibrator.finish()

    stream = f"{TENANT}/send_email/email_engagement/86400000/self_report"
    assert step.changes[f"n/{stream}".encode()] is None
    assert {(out.key, out.value) for out in outs_of(step)["trend-changes"]} == {
        (f"{stream}/{metric}".encode(), None) for metric in ("success_rate", "calibration_gap")
    }

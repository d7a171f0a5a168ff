"""However many outcomes a promise releases, a step lets in a bounded number, in order."""

from dataclasses import replace

import msgspec

from agents_topics.events import Promise
from agents_topics.label_rates import LabelCounts
from tables.calibrator import ENTERED_PER_STEP_MAX, Calibrator
from tests.integration.test_postgres_writer import outcome, settled

COUNT = 2 * ENTERED_PER_STEP_MAX + 5
TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"


def test_a_promise_that_releases_much_is_kept_in_bounded_steps_across_a_restart():
    rows = {}

    def finish(calibrator):
        step = calibrator.finish()
        for key, row in step.changes.items():
            if row is None:
                del rows[key]
            else:
                rows[key] = msgspec.msgpack.encode(row)
        return step

    calibrator = Calibrator(1)
    one = settled(outcome(tenant_id=TENANT))
    for number in range(COUNT):
        calibrator.on_settled(replace(one, id=f"{number}"))
    finish(calibrator)
    calibrator.on_promise(Promise(source=0, until_ms=one.settled_at_ms))
    entered = []
    while calibrator.is_entering:
        (entry,) = finish(calibrator).updates
        entered.append(entry[1].all.n)
        restored = Calibrator(1)
        restored.promises = calibrator.promises
        for key, row in rows.items():
            restored.restore(key, msgspec.msgpack.decode(row))
        calibrator = restored

    assert entered == [ENTERED_PER_STEP_MAX, 2 * ENTERED_PER_STEP_MAX, COUNT]
    assert [key[:2] for key in rows] == [b"b/"]


def test_labels_outlive_a_restart_and_enter_no_bin():
    one = settled(outcome(tenant_id=TENANT, predicted_confidence=None, confidence_label="high"))
    calibrator = Calibrator(1)
    calibrator.on_settled(replace(one, id="1", is_lead=True))
    calibrator.on_settled(replace(one, id="2", is_lead=False, status="ambiguous"))
    calibrator.on_promise(Promise(source=0, until_ms=one.settled_at_ms))
    calibrator.finish()  # the first to write, so that the rows are those of the second
    calibrator.on_settled(replace(one, id="3", is_lead=False, status="negative"))
    rows = calibrator.finish().changes

    restored = Calibrator(1)
    for key, row in rows.items():
        restored.restore(key, msgspec.msgpack.decode(msgspec.msgpack.encode(row)))
    restored.promises = calibrator.promises
    restored.on_settled(replace(one, id="4", is_lead=True))
    ((key, rate),) = restored.finish().updates

    assert key == (f"{TENANT}/send_email/email_engagement/86400000/self_report/label/high")
    assert rate.all == LabelCounts(n=3, positive=2, negative=1, ambiguous=1)
    assert rate.lead == LabelCounts(n=2, positive=2)
    assert (restored.bins, restored.entered_count) == ({}, 4)


def test_an_outcome_that_waits_since_an_earlier_release_enters_its_bin():
    one = settled(outcome(tenant_id=TENANT))
    calibrator = Calibrator(1)
    calibrator.on_settled(one)
    ((key, row),) = calibrator.finish().changes.items()

    restored = Calibrator(1)
    restored.restore(key, msgspec.msgpack.decode(msgspec.msgpack.encode(row[:-1])))
    restored.on_promise(Promise(source=0, until_ms=one.settled_at_ms))
    ((_, update),) = restored.finish().updates

    assert (row[-1], update.bin_index, update.all.n) == (None, 7, 1)

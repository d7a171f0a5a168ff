"""However many outcomes a promise releases, a step lets in a bounded number, in order."""

from dataclasses import replace

import msgspec

from agents_topics.events import Promise
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

"""What settles in quick succession enters its streams together; readers are told once for all."""

import asyncio
import json
from dataclasses import replace

from agents_topics.events import Promise
from agents_topics.policy_file import load_policy
from agents_topics.topics import CALIBRATION_UPDATES, CALIBRATOR_CHANGELOG
from streams import changelog
from streams.calibrate import ENTER_S, CalibratorWork, encode
from streams.changelog import PROGRESS_KEY, progress_of
from tests.integration.test_postgres_writer import outcome, settled
from tests.simulation.loop import VirtualLoop
from tests.unit.test_decisions_passed_on import SETTLED, TENANT, Written, record, tools

COUNT = 5


def calibrator():
    work = CalibratorWork(0, tools(), load_policy(None))
    work._producer = Written()
    return work


async def settle(work, number):
    """An outcome settles and is promised, in a step of its own."""
    one = settled(outcome(tenant_id=TENANT))
    one = replace(one, id=f"{number}", settled_at_ms=one.settled_at_ms + number)
    promise = Promise(source=0, until_ms=one.settled_at_ms)
    values = [(b"t/send_email", encode(one)), (None, encode(promise))]
    work.take(SETTLED, [record(SETTLED, 2 * number + k, *out) for k, out in enumerate(values)])
    await work.commit()


def bins_told(work):
    """How many records the bin had, each time it was told."""
    outs = work._producer.outs.get((CALIBRATION_UPDATES.name, 0), [])
    said = [json.loads(out.value) for out in outs]
    return [one["all"]["n"] for one in said if "bin_index" in one and "kind" not in one]


def restarted(work):
    """Another worker's task, from what this one's changelog holds."""
    rows = {out.key: out.value for out in work._producer.outs[CALIBRATOR_CHANGELOG.name, 0]}
    made = calibrator()
    made.begin(progress_of(rows.pop(PROGRESS_KEY), made.name))
    for key, value in rows.items():
        if value is not None:
            made.restore_row(key, changelog.decode(value))
    return made


def test_the_first_is_told_at_once_and_those_that_follow_it_together_with_the_next_tick():
    async def story():
        work = calibrator()
        for number in range(COUNT):
            await settle(work, number)
            await asyncio.sleep(ENTER_S / 2 / COUNT)
        told_before = bins_told(work)
        await work.tick(is_drained=True)
        return told_before, bins_told(work)

    assert VirtualLoop().run(story()) == ([1], [1, COUNT])


def test_those_that_come_seconds_apart_are_each_told_at_once():
    async def story():
        work = calibrator()
        for number in range(COUNT):
            await settle(work, number)
            await asyncio.sleep(ENTER_S)
        return bins_told(work)

    assert VirtualLoop().run(story()) == [1, 2, 3, 4, 5]


def test_a_crash_before_they_are_told_loses_nothing_and_tells_nothing_twice():
    async def story():
        work = calibrator()
        for number in range(COUNT):
            await settle(work, number)
        successor = restarted(work)
        await successor.tick(is_drained=True)
        again = restarted(successor)
        await again.tick(is_drained=True)
        return bins_told(successor), bins_told(again)

    assert VirtualLoop().run(story()) == ([COUNT], [])

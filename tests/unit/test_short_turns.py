"""Neither the collector nor a restore stops the loop for long: transactions have deadlines."""

import asyncio
import gc
from contextlib import contextmanager
from itertools import pairwise

from agents_topics.roster import RESOLVER
from streams.changelog import encode
from streams.garbage import collect_seldom
from streams.work import StatefulWork
from tests.unit.test_refusals import tools

OBJECTS_MAX = 1_000_000
TURN_BYTES_MAX = 60_000


@contextmanager
def as_a_worker_collects():
    """Inside the block; tells each collection's generation and how many objects it looked at."""
    before, looked = gc.get_threshold(), []

    def look(phase, info):
        if phase == "start":
            generation = info["generation"]
            young = [len(gc.get_objects(generation=n)) for n in range(generation + 1)]
            looked.append((generation, sum(young)))

    gc.collect()
    collect_seldom()
    gc.callbacks.append(look)
    try:
        yield looked
    finally:
        gc.callbacks.remove(look)
        gc.set_threshold(*before)


def test_what_a_growing_state_makes_is_looked_through_in_small_parts():
    with as_a_worker_collects() as looked:
        held = [[] for _ in range(2 * OBJECTS_MAX)]

    assert len(held) == 2 * OBJECTS_MAX
    assert max(generation for generation, _ in looked) == 1
    assert max(count for _, count in looked) < OBJECTS_MAX


class Rows(StatefulWork):
    """Takes rows back and counts their bytes."""

    restored_bytes = 0

    def restore_row(self, key, row):
        self.restored_bytes += len(encode(row))


async def test_while_a_state_is_restored_others_have_their_turn_after_every_few_rows():
    work, seen = Rows(RESOLVER, 0, tools()), [0]

    async def other():
        while True:
            seen.append(work.restored_bytes)
            await asyncio.sleep(0)

    others = asyncio.create_task(other())
    await work._restore({b"a/%d" % n: encode(["x" * 200] * 5) for n in range(1_000)})
    others.cancel()

    assert work.restored_bytes > 10 * TURN_BYTES_MAX
    assert max(b - a for a, b in pairwise(seen)) < TURN_BYTES_MAX

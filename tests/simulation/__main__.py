"""`make simulate SEED=… SEEDS=…`: runs seeds on every core; a failing one is shortened and told."""

import argparse
import gc
import os
import sys
import time
from multiprocessing import Pool

from tests.simulation.judge import judge
from tests.simulation.plants import PLANTS
from tests.simulation.shortening import report, shortened
from tests.simulation.world import SOUND, World, make_plan
from trueup.printing import print_line

TOLD_EVERY = 500
FAILURES_MAX = 3


def is_exact(seed, plant=SOUND):
    """Whether a seed's run is as its workload and the audit say."""
    return not judge(World(make_plan(seed), plant).run())


def _run(seed):
    return seed, is_exact(seed)


def _tune():
    """The cyclic collector takes a third of the time at its usual pace."""
    gc.set_threshold(100_000, 20, 20)


def _failing(seeds):
    """The seeds that fail, the first few of them."""
    failing, started_s = [], time.monotonic()
    with Pool(os.cpu_count(), _tune) as pool:
        for count, (seed, was_exact) in enumerate(pool.imap_unordered(_run, seeds, 10), 1):
            if not was_exact:
                failing.append(seed)
                print_line(f"seed {seed} fails")
            if len(failing) >= FAILURES_MAX:
                break
            if count % TOLD_EVERY == 0 or count == len(seeds):
                print_line(
                    f"{count:,} of {len(seeds):,} seeds, {time.monotonic() - started_s:.0f} s"
                )
    return failing


def main():
    """Runs them; exit 1 where one fails."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--plant", choices=PLANTS, help="a bug to plant; one seed only")
    parser.add_argument("--story", action="store_true", help="tell the events of one seed")
    told = parser.parse_args()
    plant = PLANTS[told.plant] if told.plant else SOUND
    if told.story:
        print_line("\n".join(World(make_plan(told.seed), plant).run().told))
    if told.seeds == 1:
        failing = [] if is_exact(told.seed, plant) else [told.seed]
    else:
        failing = _failing(range(told.seed, told.seed + told.seeds))
    for seed in failing:
        print_line(report(shortened(make_plan(seed), plant), plant))
    print_line(f"{len(failing)} of the seeds fail" if failing else "exact")
    sys.exit(bool(failing))


if __name__ == "__main__":
    main()

"""`python -m tests.faults.skewed_worker HOURS`: the worker, its wall clock so many hours ahead.

The clock is the one that Python's `time` tells; the monotonic one, by which a worker waits, goes as
it goes, as on a machine whose time was set wrongly.
"""

import runpy
import sys
import time


def set_ahead(hours):
    """From now on the wall clock of this process is ahead."""
    real_s, real_ns = time.time, time.time_ns
    time.time = lambda: real_s() + hours * 3_600
    time.time_ns = lambda: real_ns() + int(hours * 3_600_000_000_000)


if __name__ == "__main__":
    set_ahead(float(sys.argv[1]))
    sys.argv = ["trueup", "worker"]
    runpy.run_module("trueup", run_name="__main__")

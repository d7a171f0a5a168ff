"""A worker that a demo or `trueup up` has started ends when that process is gone."""

import os
import signal
import time

PARENT = "TRUEUP_PARENT"
STOP_S_MAX = 15


def end_with_parent() -> None:
    """Checks, in a thread of the worker, whether the process that started it is gone."""
    parent = int(os.environ[PARENT])
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_S_MAX)
    os._exit(1)

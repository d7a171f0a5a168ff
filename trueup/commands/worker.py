"""`trueup worker`."""

import os
import threading

from streams.app import from_environment, run
from trueup.parent import PARENT, end_with_parent
from trueup.running import adopt_running


def command() -> None:
    """Runs in the foreground; a worker that was started for somebody ends with that process."""
    adopt_running(os.environ)
    if PARENT in os.environ:
        threading.Thread(target=end_with_parent, daemon=True).start()
    run(from_environment())

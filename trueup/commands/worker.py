"""`trueup worker`."""

import asyncio
import os
import threading

from streams.app import WorkerApp, from_environment, run
from streams.logs import configure_logs
from streams.settings import read_settings
from trueup.parent import PARENT, end_with_parent
from trueup.running import adopt_running
from trueup.unreached import listen


def command() -> None:
    """Runs in the foreground; a worker that was started for somebody ends with that process."""
    adopt_running(os.environ)
    if PARENT in os.environ:
        threading.Thread(target=end_with_parent, daemon=True).start()
    configure_logs(read_settings().log_format)
    listen()
    app = from_environment()
    _check(app)
    run(app)


def _check(app: WorkerApp) -> None:
    """The worker checks it itself, but what it raises inside Faust ends in a traceback."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(app.check())
    finally:
        loop.close()

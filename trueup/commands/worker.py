"""`trueup worker`."""

import asyncio
import os
import threading

from streams.app import WorkerApp, from_environment, run
from streams.problems import WorkerProblem
from streams.topic_admin import check_topics
from trueup.parent import PARENT, end_with_parent
from trueup.running import adopt_running


def command() -> None:
    """Runs in the foreground; a worker that was started for somebody ends with that process."""
    adopt_running(os.environ)
    if PARENT in os.environ:
        threading.Thread(target=end_with_parent, daemon=True).start()
    app = from_environment()
    _check_topics(app)
    run(app)


def _check_topics(app: WorkerApp) -> None:
    """The worker checks them itself, but what it raises inside Faust ends in a traceback."""
    loop = asyncio.new_event_loop()
    try:
        checking = check_topics(app.connection, app.worker.tasks.tools.partition_count)
        problems = loop.run_until_complete(checking)
    finally:
        loop.close()
    if problems:
        raise WorkerProblem("; ".join(f"topic {p.topic} {p.reason}" for p in problems))

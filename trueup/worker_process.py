"""A worker as a child process: started, waited for until it is ready, watched, stopped."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trueup.embedded.ports import free_port
from trueup.embedded.problems import EnvironmentProblem
from trueup.parent import PARENT, STOP_S_MAX
from trueup.status_page import page_of

READY_S_MAX = 60
WORKER = ("-m", "trueup", "worker")


class WorkerProcess:
    """One `trueup worker`, its log in a file, its page on a free port of 127.0.0.1.

    Args:
        environment: Settings of its own.
        log_file: Where all it says goes.
        inherited: What it gets besides; its own settings win.
        module: What Python runs; a test may have a worker that crashes.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        log_file: Path,
        inherited: Mapping[str, str] = os.environ,
        module: Sequence[str] = WORKER,
    ) -> None:
        self.port = free_port()
        self.log_file = log_file
        settings = {
            "TRUEUP_WEB_PORT": str(self.port),
            PARENT: str(os.getpid()),
            "PYTHONUNBUFFERED": "1",
        }
        # A secret in a file of the user's would win over the address that is given here.
        others = {n: v for n, v in inherited.items() if n.removesuffix("_FILE") not in environment}
        with log_file.open("ab") as log:
            self.process = subprocess.Popen(
                # -P: a `tables.py` in the user's folder is none of ours.
                [sys.executable, "-P", *module],
                env={**others, **environment, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def url(self) -> str:
        """The address of its page."""
        return f"http://127.0.0.1:{self.port}"

    def status(self) -> dict[str, Any] | None:
        """What its status page says; None while there is none."""
        return page_of(self.url)

    async def wait_until_ready(self, seconds_max: float = READY_S_MAX) -> None:
        """Every task runs.

        Raises:
            EnvironmentProblem: It ended, or was not ready in time.
        """
        deadline_s = time.monotonic() + seconds_max
        while time.monotonic() < deadline_s:
            if self.process.poll() is not None:
                break
            status = await asyncio.to_thread(self.status)
            if status and status["ready"]:
                return
            await asyncio.sleep(0.1)
        raise EnvironmentProblem(
            f"The worker did not become ready (exit {self.process.poll()}).",
            f"Its log says why: {self.log_file}",
        )

    def stop(self) -> None:
        """It drains and ends; it is killed if it does not in time."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

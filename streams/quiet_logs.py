"""The driver's log lines, so few that a person can read them.

A client without a broker says so hundreds of times a second; what a worker itself logs, and its
health page, already tell the story.
"""

import logging
import time
from collections.abc import Callable

REPEAT_S = 10.0


class SeldomFilter(logging.Filter):
    """Lets each of aiokafka's sentences through once in a while, whatever it is filled in with."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._due_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if not record.name.startswith("aiokafka"):
            return True
        now_s, sentence = self._clock(), str(record.msg)
        if now_s < self._due_s.get(sentence, now_s):
            return False
        self._due_s[sentence] = now_s + REPEAT_S
        return True

"""A calibrator task's state, made again from the settled outcomes and promises it had applied.

What enters, and in which order, follows from those alone: feeding them to the same core gives the
same sums, wherever its steps were cut. What was forgotten comes among them, as the task heard it.
"""

from collections.abc import Sequence
from typing import Any

from agents_topics.policy import Policy
from tables.calibrator import Calibrator


class CalibratorRebuild:
    """The rebuilding of one task; `calibrator` takes what is read, then `finish` is called.

    Args:
        source_count: How many resolver tasks feed it.
        policy: What the streams were judged by.
    """

    def __init__(self, source_count: int, policy: Policy) -> None:
        self.calibrator = Calibrator(source_count, policy)
        self.rows: dict[bytes, Any] = {}
        """All that the task's changelog must hold beside its progress."""
        self.updates: dict[str, Any] = {}
        """What was said last of each bin, label and stream."""

    def finish(self) -> None:
        """Ends a step: everything whose turn has come enters."""
        self.calibrator.enter()
        step = self.calibrator.finish()
        self._let_go(step.gone)
        self.updates.update(step.updates)
        for key, row in step.changes.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    def _let_go(self, gone: Sequence[str]) -> None:
        """Of a stream that is gone nothing counts but that it is: what was said of it before its
        tenant was forgotten depends on where steps were cut.
        """
        beginnings = tuple(f"{stream}/" for stream in gone)
        if gone:
            self.updates = {
                key: update
                for key, update in self.updates.items()
                if not key.startswith(beginnings)
            }

"""How many records a task takes into a step, so that its transaction is written in time.

The law: what was written quickly may be twice as much next time, what took long must be less, and
after a transaction that was not written in time half as much is taken, and more again only slowly.
Begun small: how busy the machine is only the first transactions tell, and one that misses its
deadline costs a restore.
"""

from streams.transactions import DEADLINE_S

FIRST_RECORDS = 4_000
WRITTEN_S_MAX = DEADLINE_S / 2
"""A step that took longer is followed by a smaller one."""
CUT_RECORDS_MIN = 1_000
"""A broker that is slow whatever it is sent is not helped by less."""


class StepSize:
    """The size of a task's next step in records: at most `records_max`, at least one."""

    def __init__(self, records_max: int) -> None:
        self._records_max = records_max
        self._doubles_below = records_max
        self.records = min(records_max, FIRST_RECORDS)

    def on_written(self, taken_count: int, seconds: float) -> None:
        """A step of so many records took so long from its end to its commit."""
        if seconds > WRITTEN_S_MAX:
            fitting = int(taken_count * WRITTEN_S_MAX / seconds)
            self.records = min(self.records, max(fitting, CUT_RECORDS_MIN))
        elif seconds * 2 < WRITTEN_S_MAX and taken_count >= self.records:
            more = self.records if self.records < self._doubles_below else self._records_max // 50
            self.records = min(self.records + max(more, 1), self._records_max)

    def on_failed(self) -> None:
        """A step was not written: were it its size, the same one would fail for ever."""
        self.records = self._doubles_below = max(1, self.records // 2)

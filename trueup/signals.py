"""A demo or `trueup up` that is told to end, or whose terminal is closed, ends as by Ctrl-C."""

import signal
from types import FrameType


def end_in_order() -> None:
    """SIGTERM and SIGHUP undo what was begun; one that the user has ignored (nohup) stays so."""
    for number in (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")):
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what is being undone is not broken off
    raise KeyboardInterrupt

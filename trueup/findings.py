"""What `trueup doctor` finds: one line a check, ok or FAIL, and then the fix."""

from dataclasses import dataclass
from typing import Literal

SKEW_S_MAX = 5.0

Word = Literal["ok", "FAIL", "-"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. The word `-` stands for one that could not be made, or need not be."""

    name: str
    word: Word
    said: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"{self.word:<4}  {self.name}: {self.said}"
        return f"{line}. {self.fix}" if self.fix else line


def judged(name: str, problem: str | None, well: str, fix: str = "") -> Finding:
    """Ok with what is well, or FAIL with the problem and its fix.

    >>> str(judged("disk", None, "9 GB free")), str(judged("disk", "is full", "", "Free some."))
    ('ok    disk: 9 GB free', 'FAIL  disk: is full. Free some.')
    """
    return Finding(name, "FAIL", problem, fix) if problem else Finding(name, "ok", well)


def not_made(name: str, why: str) -> Finding:
    """A check that was not made."""
    return Finding(name, "-", why)


def clock(name: str, there_s: float, before_s: float, after_s: float) -> Finding:
    """How far another clock, read between two moments of ours, is from ours."""
    skew_s = there_s - (before_s + after_s) / 2
    unsure_s = (after_s - before_s) / 2
    is_off = abs(skew_s) - unsure_s > SKEW_S_MAX
    return judged(
        name,
        f"{skew_s:+.1f} s against this machine's" if is_off else None,
        f"{skew_s:+.1f} s against this machine's (±{unsure_s:.1f} s)",
        "Let both machines keep time, by NTP.",
    )

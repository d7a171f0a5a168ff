"""What `trueup doctor` finds: one line a check, ok or FAIL, and then the fix."""

from dataclasses import dataclass
from typing import Literal

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

"""Lines of ours on any terminal: arrows, dashes and small digits only where it has them."""

import sys
from collections.abc import Iterable

from trueup.printing import print_line
from trueup.reliability_picture import needs_ascii

_PLAIN = {"→": "->", "–": "-", "₂": "2", "±": "+-"}


def in_ascii(line: str) -> str:
    """A line of ours where a terminal has ASCII alone.

    >>> in_ascii("qualify → deal, 0.70–0.76")
    'qualify -> deal, 0.70-0.76'
    """
    for ours, plain in _PLAIN.items():
        line = line.replace(ours, plain)
    return line


def print_words(lines: Iterable[str]) -> None:
    """Writes lines as the terminal can take them."""
    ascii_only = needs_ascii(sys.stdout)
    for line in lines:
        print_line(in_ascii(line) if ascii_only else line)

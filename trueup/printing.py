"""What commands print, and how they end early."""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any, NoReturn, TextIO


def print_line(text: str, stream: TextIO | None = None) -> None:
    """Writes a line to a stream of any encoding; a reader that went away is no error."""
    out = stream or sys.stdout
    encoding = out.encoding or "ascii"
    try:
        out.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        out.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def print_table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes tab-separated rows under their columns' names."""
    print_line("\t".join(columns))
    for row in rows:
        print_line("\t".join("" if value is None else str(value) for value in row))


def print_json(value: Any) -> None:
    """Writes a value for a program, in ASCII."""
    print_line(json.dumps(value, indent=2, default=str, ensure_ascii=True))


def print_step(text: str, seconds: float) -> None:
    """Writes what was done and how long it took."""
    print_line(f"{text} ({seconds:.1f} s)")


def fail(text: str, code: int) -> NoReturn:
    """Says why and ends."""
    print_line(text, sys.stderr)
    sys.exit(code)

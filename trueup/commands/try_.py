"""`trueup try`."""

import sys
from typing import Annotated

import typer

from trueup.commands.options import AsJson
from trueup.printing import print_line
from trueup.reliability_picture import needs_ascii
from trueup.try_file import Asked, answer


def command(
    file: Annotated[str, typer.Argument(help="CSV or NDJSON, or - for standard input.")],
    confidence: Annotated[str | None, typer.Option(metavar="COLUMN", help="0 to 1.")] = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="1 or 0, true or false, or a status.")
    ] = None,
    at: Annotated[str | None, typer.Option("--time", metavar="COLUMN", help="RFC 3339.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was found, and what could not be read."""
    found = answer(file, Asked(confidence, outcome, at), as_json, needs_ascii(sys.stdout))
    for stream, lines in ((sys.stderr, found.problems), (sys.stdout, found.lines)):
        for line in lines:
            print_line(line, stream)
    sys.exit(found.code)

"""`trueup check`."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from agents_topics.policy_file import load_policy
from streams.settings import read_settings
from trueup.check import check_lines
from trueup.commands.options import AsJson
from trueup.exits import BAD_INPUT
from trueup.printing import print_json, print_line
from trueup.surroundings import readable


def command(
    file: Annotated[str, typer.Argument(help="NDJSON.")],
    topic: Annotated[str | None, typer.Option(help="Guessed from the fields if absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Every problem on a line of its own."""
    with readable(file).open("rb") as lines:
        problems = list(check_lines(lines, topic, load_policy(read_settings().policy)))
    if as_json:
        print_json([asdict(problem) for problem in problems])
    else:
        for problem in problems:
            print_line(str(problem))
    if any(not problem.is_warning for problem in problems):
        sys.exit(BAD_INPUT)
    if not as_json:
        print_line("Every line can be sent.")

"""`trueup curve`."""

import asyncio
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from agents_topics.policy_file import load_policy
from streams.settings import read_settings
from tables.day_curve import Span
from trueup.commands.options import ActionType, AsJson, Of, Source, Tenant, day_at
from trueup.curve import Asked, Curve, read_curves
from trueup.curve_numbers import curve_json, number_lines
from trueup.curve_words import curve_lines, mean_evidence, mean_evidence_words
from trueup.embedded.problems import EnvironmentProblem
from trueup.exits import BAD_INPUT, USAGE
from trueup.printing import fail, print_json, print_line
from trueup.reliability_picture import needs_ascii
from trueup.surroundings import database_here, tenant_here

PICTURES = (".svg", ".png")


def command(
    tenant: Tenant,
    action_type: ActionType,
    outcome_type: Of = None,
    source: Source = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="The last days of actions that have settled.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="From this day of actions on: 2026-03-01.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Up to this one.")] = None,
    half_life: Annotated[
        float | None,
        typer.Option(min=0.01, metavar="DAYS", help="A day counts half as much so much later."),
    ] = None,
    known_by: Annotated[
        str | None, typer.Option(metavar="DAY", help="What was known at the end of this day.")
    ] = None,
    segment: Annotated[
        str | None, typer.Option(metavar="FIELD=VALUE", help="One segment: model=small.")
    ] = None,
    numbers: Annotated[bool, typer.Option("--numbers", help="Every figure.")] = False,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture: .svg, .png.")] = None,
) -> None:
    """Settled actions stand beside those still open; a sentence says what was found."""
    if days is not None and (since or until):
        fail("--days goes with neither --since nor --until.", USAGE)
    if out is not None and out.suffix not in PICTURES:
        fail(f"--out {out}: its name ends in {' or '.join(PICTURES)}", USAGE)
    ends = day_at("--since", since), day_at("--until", until), day_at("--known-by", known_by)
    span = Span(*ends, half_life)
    asked = Asked(span, days, _segment(segment))
    if asked.segment and asked != Asked(segment=asked.segment):
        fail("--segment goes with no span of days: segments are kept over all of them.", USAGE)
    policy = load_policy(read_settings().policy)
    curves = asyncio.run(
        read_curves(
            database_here(), policy, tenant_here(tenant), action_type, asked, outcome_type, source
        )
    )
    if not curves:
        fail(f"Nothing of {action_type} has settled for {tenant}.", BAD_INPUT)
    if out is not None:
        _save(curves, out)
    if as_json:
        told = {"ln_e": mean_evidence(curves), "streams": [curve_json(one) for one in curves]}
        print_json({"action_type": action_type} | told)
    else:
        print_line("\n".join(_lines(curves, numbers)))


def _lines(curves: list[Curve], with_numbers: bool) -> list[str]:
    ascii_only, lines = needs_ascii(sys.stdout), list[str]()
    for curve in curves:
        lines += ["", *curve_lines(curve, ascii_only)]
        lines += [f"  {n}" for n in number_lines(curve, ascii_only)] if with_numbers else []
    more = ["", mean_evidence_words(curves)] if len(curves) > 1 else []
    return [*lines[1:], *more]


def _save(curves: list[Curve], out: Path) -> None:
    if find_spec("matplotlib") is None:
        raise EnvironmentProblem(
            "A picture is drawn by matplotlib, which is not here.",
            "Install it: pip install 'trueup[pictures]'",
        )
    import_module("trueup.curve_picture").save_picture(curves, out)
    print_line(f"{out} is written.", sys.stderr)


def _segment(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    dimension, equals, value = text.partition("=")
    if not (dimension and equals):
        fail(f"--segment {text}: it is a field and its value, like model=small", USAGE)
    return dimension, value

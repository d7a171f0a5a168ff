"""`trueup rebuild`."""

import asyncio
from collections.abc import Iterator
from typing import Annotated

import typer

from streams.settings import read_settings
from trueup.connecting import connection_here
from trueup.printing import print_line
from trueup.rebuild import rebuild
from trueup.rebuild_plan import Found, examine, in_words, site_of


def command(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; otherwise it is only told.")] = False,
) -> None:
    """Changelogs that were lost are made again from the source topics, as recorded.

    Nothing is judged afresh and nothing is said twice; a worker then goes on exactly. Without --yes
    nothing is changed.
    """
    asyncio.run(_run(yes))


async def _run(yes: bool) -> None:
    async with site_of(connection_here(), read_settings()) as site:
        found = await examine(site)
        print_line("\n".join(_plan(found, site.connection.prefix)))
        if not found.lost and not found.to_make:
            return
        if not yes:
            print_line("Nothing was changed. `trueup rebuild --yes` does it.")
            return
        await rebuild(site, found, print_line)
        print_line("It is done: start the workers.")
        print_line("An empty database: `trueup migrate`, then `trueup replay`, before that.")


def _plan(found: Found, prefix: str) -> Iterator[str]:
    for topic in found.to_make:
        yield f"anew   topic {prefix}{topic.name}"
    for lost in found.lost:
        yield f"lost   {lost.reason}"
        noted = "as it noted last" if lost.noted else "as the group's offsets say"
        yield f"again  {lost.name}: from {in_words(lost.applied)}, {noted}"
    for problem in found.others:
        yield f"other  {problem}"
    if not found.lost and not found.to_make:
        yield "No changelog is lost: there is nothing to rebuild."

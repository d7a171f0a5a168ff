"""`trueup config`."""

from typing import Annotated

import typer

from trueup.commands.env import tell_settings
from trueup.commands.options import AsJson

command = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@command.callback()
def config() -> None:
    """The settings of this process."""


@command.command()
def show(
    effective: Annotated[
        bool, typer.Option("--effective", help="Those too that are at their default.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What is set and where each comes from; secrets are hidden."""
    tell_settings(only_set=not effective, as_json=as_json)

"""`trueup dead-letters`."""

import asyncio
import sys
import time
from typing import Annotated

import typer

from agents_topics.policy_file import load_policy
from streams.settings import Settings
from trueup.commands.options import AsJson
from trueup.connecting import connection_here
from trueup.dead_letters import (
    list_letters,
    listing_as_json,
    listing_lines,
    show_letter,
    shown_as_json,
    shown_lines,
)
from trueup.exits import BAD_INPUT, USAGE
from trueup.letters import Selection, parse_id, parse_since
from trueup.mending import EditCommand, MendedFile
from trueup.printing import fail, print_json, print_line
from trueup.redrive import Mending, MendProblem, Wishes, redrive_lines
from trueup.redrive import redrive as redrive_letters
from trueup.surroundings import readable, tenant_here

command = typer.Typer(
    help="Records that were refused, and why; they can be mended and sent again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Topic = Annotated[str | None, typer.Option(help="Only of this input topic.")]
Reason = Annotated[str | None, typer.Option(help="Only with this reason.")]
Tenant = Annotated[str | None, typer.Option(help="Only of this tenant, where the key tells.")]
Since = Annotated[
    str | None, typer.Option(help="Only refused since: RFC 3339, or an age like 2h or 7d.")
]


@command.command("list")
def list_command(
    topic: Topic = None,
    reason: Reason = None,
    tenant: Tenant = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=0, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest first, and how many there are by reason; never what is in them."""
    selection = _selection([], topic, reason, tenant, since)
    listing = asyncio.run(list_letters(connection_here(), selection, limit))
    if as_json:
        print_json(listing_as_json(listing))
    else:
        print_line("\n".join(listing_lines(listing)))


@command.command()
def show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="As the list gives it: 2:17.")],
    raw: Annotated[bool, typer.Option("--raw", help="Write the record's bytes, as they are.")] = (
        False
    ),
    as_json: AsJson = False,
) -> None:
    """One letter: where it came from, why it was refused, how to fix it, and its bytes."""
    _check_id(letter)
    found = asyncio.run(show_letter(connection_here(), letter))
    if found is None:
        fail(f"There is no dead letter {letter}; `trueup dead-letters list` has them.", BAD_INPUT)
    if raw:
        if found.value is None:
            fail(f"{letter} has no bytes to give.", BAD_INPUT)
        sys.stdout.buffer.write(found.value)
        sys.stdout.buffer.flush()
    elif as_json:
        print_json(shown_as_json(found))
    else:
        print_line("\n".join(shown_lines(found)))


@command.command()
def redrive(
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="As the list gives them.")
    ] = None,
    topic: Topic = None,
    reason: Reason = None,
    tenant: Tenant = None,
    since: Since = None,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    edit: Annotated[
        str | None, typer.Option(metavar="CMD", help="Each body goes through this command.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(help='NDJSON of mended events, or {"letter": ID, "event": {…}} a line.'),
    ] = None,
    rekey: Annotated[bool, typer.Option("--rekey", help="Take the key from the body.")] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Send also what would count for nothing.")
    ] = False,
    is_dry: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become of each; send nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sends records to their topics again, each once however often this is run."""
    if edit is not None and file is not None:
        fail("--edit and --file exclude each other", USAGE)
    for one in letters or []:
        _check_id(one)
    selection = _selection(letters or [], topic, reason, tenant, since)
    try:
        mending = _mending(edit, file, letters or [])
        if selection == Selection() and isinstance(mending, MendedFile):
            selection = Selection(ids=mending.ids)
        if selection == Selection() and not everything:
            fail("Which ones? Name ids, or --topic, --reason, --tenant, --since, --all.", USAGE)
        settings = Settings()
        done = asyncio.run(
            redrive_letters(
                connection_here(),
                load_policy(settings.policy),
                settings.grace_ms,
                selection,
                Wishes(mending=mending, rekey=rekey, anyway=anyway, is_dry=is_dry),
            )
        )
    except MendProblem as problem:
        fail(f"{problem}; nothing was sent.", BAD_INPUT)
    if as_json:
        print_json({"is_dry_run": done.is_dry, "letters": [one.to_json() for one in done.resends]})
    else:
        print_line("\n".join(redrive_lines(done)))
    if done.count("held"):
        sys.exit(BAD_INPUT)


def _mending(edit: str | None, file: str | None, ids: list[str]) -> Mending | None:
    if edit is not None:
        return EditCommand(edit)
    if file is None:
        return None
    with readable(file).open("rb") as lines:
        return MendedFile(lines, ids[0] if len(ids) == 1 else None)


def _check_id(text: str) -> None:
    if parse_id(text) is None:
        fail(f"{text!r} is no id of a dead letter: PARTITION:OFFSET, like 2:17", USAGE)


def _selection(
    ids: list[str], topic: str | None, reason: str | None, tenant: str | None, since: str | None
) -> Selection:
    try:
        since_ms = parse_since(since, int(time.time() * 1000)) if since else None
    except ValueError as problem:
        fail(f"--since: {problem}", USAGE)
    tenant_id = tenant_here(tenant) if tenant else None
    return Selection(tuple(ids), topic, reason, tenant_id, since_ms)

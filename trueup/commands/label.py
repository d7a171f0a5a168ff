"""`trueup label`."""

import asyncio
import time
from enum import StrEnum
from typing import Annotated

import typer

from agents_topics.events import to_timestamp
from trueup.connecting import connection_here
from trueup.exits import BAD_INPUT, USAGE
from trueup.label import Label, LabelProblem, send_label
from trueup.printing import fail, print_line
from trueup.surroundings import database_here, tenant_here


class Verdict(StrEnum):
    """What a person may say."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    AMBIGUOUS = "ambiguous"


def command(
    action_id: str,
    verdict: Verdict,
    score: Annotated[float | None, typer.Option(min=0, max=1, help="How good, 0 to 1.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Who says so.")] = None,
    at: Annotated[str | None, typer.Option(help="When: RFC 3339, zoned; otherwise now.")] = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant's name or UUID.")] = None,
    conversation: Annotated[str | None, typer.Option(help="Where action ids repeat.")] = None,
) -> None:
    """It decides over every signal; a settled outcome never changes, and is refused with exit 4."""
    label = Label(
        action_id=action_id,
        verdict=verdict,
        at=at or to_timestamp(time.time_ns() // 1_000_000),
        tenant_id=tenant_here(tenant) if tenant else None,
        conversation_id=conversation,
        score=score,
        reviewer=reviewer,
    )
    try:
        decided = asyncio.run(send_label(connection_here(), database_here(), label))
    except LabelProblem as problem:
        fail(f"Not labelled: {problem}.", BAD_INPUT)
    except (ValueError, TypeError) as problem:
        fail(f"--at {at}: {problem}", USAGE)
    print_line(f"{action_id} is {verdict.value}: {', '.join(decided)}.")

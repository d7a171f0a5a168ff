"""Whether a command that failed lacks rights on the broker."""

import asyncio
from collections.abc import Sequence

from agents_topics.rights import COMMANDS, rights_of
from streams.rights import lacking
from streams.settings import read_settings
from trueup.connecting import connection_here
from trueup.exits import ending_of


def lacking_here(words: Sequence[str]) -> str | None:
    """What the command of these words lacks, in one sentence; None if nothing is found."""
    command = _named(words)
    if command is None:
        return None
    try:
        connection = connection_here()
        agents = read_settings().rows
        return asyncio.run(lacking(connection, rights_of(command, connection.prefix, agents)))
    except Exception as problem:
        if ending_of(problem) is None:
            raise
        return None  # what has failed is worse, and is told already


def _named(words: Sequence[str]) -> str | None:
    """Whose rights are meant.

    >>> _named(["doctor", "--json", "--kafka"]), _named(["topics", "check"]), _named(["sql", "x"])
    ('doctor-kafka', 'topics-check', None)
    """
    named = [word.lstrip("-") for word in words]
    pairs = [f"{named[0]}-{other}" for other in named[1:]] if named else []
    return next((name for name in (*pairs, *named[:1]) if name in COMMANDS), None)

"""Mended bodies for dead letters: from a command that rewrites each, or from a file.

A file's line is one JSON object: `{"letter": ID, "event": {...}}`, or a whole event, which mends
the one selected letter whose body has its event_id, or the only letter that is selected.
"""

import os
import shlex
import subprocess
from collections.abc import Iterable

import msgspec

from trueup.check import body_of
from trueup.letters import Letter, parse_id
from trueup.redrive import MendProblem, event_id_of

EDIT_S_MAX = 60


class EditCommand:
    """Each body goes through a command's standard input and output; no shell is in between.

    The command finds `TRUEUP_LETTER_ID` and `TRUEUP_LETTER_REASON` in its environment.

    Raises:
        MendProblem: there is no command, or it fails on a body.
    """

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as problem:
            raise MendProblem(f"--edit: {problem}") from None
        if not self._words:
            raise MendProblem("--edit names no command")

    def mend(self, letter: Letter, value: bytes | None) -> bytes:
        """What the command makes of a body."""
        name = self._words[0]
        about = {"TRUEUP_LETTER_ID": letter.id, "TRUEUP_LETTER_REASON": letter.reason}
        try:
            done = subprocess.run(
                self._words, input=value or b"", capture_output=True, timeout=EDIT_S_MAX,
                env={**os.environ, **about}, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired, ValueError) as problem:
            why = f"--edit: {name}: {type(problem).__name__}"
            raise MendProblem(f"{letter.id}: {why}") from None
        if done.returncode:
            raise MendProblem(f"{letter.id}: --edit: {name} ended with {done.returncode}")
        if not done.stdout.strip():
            raise MendProblem(f"{letter.id}: --edit: {name} gave nothing")
        return done.stdout.strip()

    def skip(self, letter: Letter, value: bytes | None) -> None:
        """No command need run."""

    def check(self) -> None:
        """No body is without a letter."""


class MendedFile:
    """The bodies of a file.

    Args:
        lines: NDJSON.
        only: The id of the one letter that is selected: a single plain event is its.

    Raises:
        MendProblem: a line cannot be read, mends nothing, or mends what another one mends.
    """

    def __init__(self, lines: Iterable[bytes], only: str | None = None) -> None:
        self._by_letter: dict[str, bytes] = {}
        self._by_event: dict[str, bytes] = {}
        for number, line in enumerate(lines, 1):
            if line.strip():
                self._take(number, line.strip())
        if only and not self._by_letter and len(self._by_event) == 1:
            self._by_letter, self._by_event = {only: self._by_event.popitem()[1]}, {}
        self._unused = {*self._by_letter, *self._by_event}

    def _take(self, number: int, line: bytes) -> None:
        body = body_of(line)
        if isinstance(body, str):
            raise MendProblem(f"line {number}: {body}")
        if "letter" in body:
            name, event = body["letter"], body.get("event")
            if not isinstance(name, str) or parse_id(name) is None or not isinstance(event, dict):
                raise MendProblem(f'line {number}: must be {{"letter": "2:17", "event": {{…}}}}')
            held, value = self._by_letter, bytes(_decode_line(line).event)
        else:
            found = event_id_of(line)
            if found is None:
                raise MendProblem(f"line {number}: has neither letter nor event_id")
            name, held, value = found, self._by_event, line
        if name in held:
            raise MendProblem(f"line {number}: a second body for {name}")
        held[name] = value

    @property
    def ids(self) -> list[str]:
        """The letters that the file names; none where it mends by event_id too."""
        return [] if self._by_event else list(self._by_letter)

    def mend(self, letter: Letter, value: bytes | None) -> bytes | None:
        """The body for a letter; None where the file has none."""
        event_id = event_id_of(value)
        for name, held in ((letter.id, self._by_letter), (event_id, self._by_event)):
            if name is not None and name in held:
                self._unused.discard(name)
                return held[name]
        return None

    def skip(self, letter: Letter, value: bytes | None) -> None:
        """Its line has done its work."""
        self.mend(letter, value)

    def check(self) -> None:
        """Every line has mended a letter."""
        if self._unused:
            first = sorted(self._unused)[0]
            raise MendProblem(
                f"{len(self._unused)} of the file's bodies belong to no selected letter, the first "
                f"is that of {first}"
            )


class _Line(msgspec.Struct):
    event: msgspec.Raw


_decode_line = msgspec.json.Decoder(_Line).decode

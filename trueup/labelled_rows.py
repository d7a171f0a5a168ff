"""Rows of a CSV or NDJSON stream, one at a time, and what their cells say of a prediction.

Nothing is guessed: the content tells CSV from NDJSON and the header a CSV's delimiter, and a cell
that could mean two things is bad. Bad data is a value: a `Bad` with its reason.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from agents_topics.events import OutcomeStatus
from tables.calibration_bins import millionths_of
from trueup.check import body_of

LINE_BYTES_MAX = 16 << 20
COLUMNS_MAX = 1_000
SHOWN_CHARACTERS_MAX = 40

_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK = b"\xef\xbb\xbf"
_GZIP_MAGIC = b"\x1f\x8b"
_DELIMITERS = ",;\t"
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?")
_STATUSES = {
    "true": OutcomeStatus.POSITIVE,
    "false": OutcomeStatus.NEGATIVE,
    "": OutcomeStatus.PENDING,
    **{status.value: status for status in OutcomeStatus},
}

Cells = dict[str, Any]


class Unreadable(Exception):
    """The stream as a whole is no CSV or NDJSON: says why and what to do."""


class Bad(NamedTuple):
    """Why a row or a cell says nothing; `is_percent` if it looks like a number of percent."""

    reason: str
    is_percent: bool = False


@dataclass(slots=True)
class Table:
    """A stream's columns and its rows with their line numbers, read once and not kept.

    `columns` are a CSV's header; those of NDJSON are what the rows read so far have named.
    """

    columns: dict[str, None]
    has_header: bool
    rows: Iterator[tuple[int, Cells | Bad]]


def read_table(stream: BinaryIO) -> Table:
    """The table of a stream.

    Raises:
        Unreadable: it is no text, or its first line is neither a header nor a JSON object.
    """
    lines = enumerate(_lines_of(stream), 1)
    for number, line in lines:
        if number == 1:
            _refuse_binary(line)
            line = line.removeprefix(_UTF8_MARK)
        if text := line.strip():
            rest = chain([(number, line)], lines)
            if text[:1] == b"[":
                raise Unreadable("is a JSON array: write one object a line, `jq -c '.[]'` does it")
            return _json_table(rest) if text[:1] == b"{" else _csv_table(rest)
    raise Unreadable("is empty")


def _lines_of(stream: BinaryIO) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise Unreadable(f"has a line of more than {LINE_BYTES_MAX >> 20} MB, line {number}")
        yield line


def _refuse_binary(line: bytes) -> None:
    if line.startswith(_GZIP_MAGIC):
        raise Unreadable("is compressed: `gunzip -c FILE | trueup try - …`")
    if line.startswith(_BYTE_ORDER_MARKS):
        raise Unreadable("is UTF-16: save it as UTF-8")
    if b"\0" in line:
        raise Unreadable("is no text: write it as CSV or as one JSON object a line")


def _json_table(lines: Iterable[tuple[int, bytes]]) -> Table:
    columns: dict[str, None] = {}

    def rows() -> Iterator[tuple[int, Cells | Bad]]:
        for number, line in lines:
            if not (text := line.strip()):
                continue
            body = body_of(text)
            if isinstance(body, str):
                yield number, Bad(body)
                continue
            if len(columns) < COLUMNS_MAX:
                columns.update(dict.fromkeys(body))
            yield number, body

    return Table(columns, has_header=False, rows=rows())


def _csv_table(lines: Iterable[tuple[int, bytes]]) -> Table:
    numbered = iter(lines)
    first_number, first = next(numbered)
    header_text = first.decode(errors="replace")
    delimiter = max(_DELIMITERS, key=header_text.count)
    # A name in another encoding is no reason to refuse the figures beside it.
    texts = chain([header_text], (line.decode(errors="replace") for _, line in numbered))
    reader = csv.reader(texts, delimiter=delimiter, skipinitialspace=True)
    try:
        header = [name.strip() for name in next(reader)]
    except csv.Error as problem:
        raise Unreadable(f"is no CSV: its header: {problem}") from None

    def rows() -> Iterator[tuple[int, Cells | Bad]]:
        while True:
            number = first_number + reader.line_num
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as problem:
                yield number, Bad(f"is no CSV: {problem}")
                continue
            if len(row) == len(header):
                yield number, dict(zip(header, row, strict=True))
            elif any(cell.strip() for cell in row):
                yield number, Bad(f"has {len(row)} cells where the header has {len(header)}")

    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise Unreadable(f"has two columns {twice!r}: rename one")
    return Table(dict.fromkeys(header), has_header=True, rows=rows())


def confidence_of(cell: Any) -> int | Bad:
    """A confidence in millionths; percent is refused, for 1 would be either 1 % or 100 %.

    >>> confidence_of("0.82"), confidence_of("82%").reason
    (820000, "'82%' is in percent: write the fraction, 0.82")
    """
    if cell is None or cell == "":
        return Bad("is empty")
    text = cell.strip() if isinstance(cell, str) else ""
    number = _number_of(text.removesuffix("%") if text else cell)
    if number is None:
        hint = ": write 0.82, not 0,82" if re.fullmatch(r"\d+,\d+%?", text) else ""
        return Bad(f"{_shown(cell)} is no number{hint}")
    if text.endswith("%") and 0 <= number <= 100:
        return Bad(f"{_shown(cell)} is in percent: write the fraction, {number / 100:g}", True)
    if 1 < number <= 100:
        reason = f"{_shown(cell)} is above 1: if it is in percent, write {number / 100:g}"
        return Bad(reason, True)
    if not 0 <= number <= 1:
        return Bad(f"{_shown(cell)} is not between 0 and 1")
    return millionths_of(number)


def outcome_of(cell: Any) -> OutcomeStatus | Bad:
    """What became of a prediction: 1 or 0, true or false, or a status; nothing yet is pending.

    >>> [str(outcome_of(cell)) for cell in ("1", False, 0.5, "expired", "")]
    ['positive', 'negative', 'ambiguous', 'expired', 'pending']
    """
    if cell is None:
        return OutcomeStatus.PENDING
    word = str(cell).strip().lower() if isinstance(cell, str | bool) else None
    if word in _STATUSES:
        return _STATUSES[word]
    number = _number_of(cell)
    if number is None:
        statuses = ", ".join(OutcomeStatus)
        return Bad(f"{_shown(cell)} is none of 1, 0, true, false, {statuses}")
    if number in (0, 1):
        return OutcomeStatus.POSITIVE if number else OutcomeStatus.NEGATIVE
    if 0 < number < 1:
        return OutcomeStatus.AMBIGUOUS
    return Bad(f"{_shown(cell)} is not between 0 and 1")


def time_of(cell: Any) -> datetime | Bad:
    """A moment; without a zone it is UTC, and a number is bad: of which unit is not said.

    >>> str(time_of("2022-02-13")), str(time_of("2022-02-13T18:30:00-05:00"))
    ('2022-02-13 00:00:00+00:00', '2022-02-13 23:30:00+00:00')
    """
    text = cell.strip() if isinstance(cell, str) else ""
    if _TIME.fullmatch(text):
        try:
            at = datetime.fromisoformat(text)
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    return Bad(f"{_shown(cell)} is no day or time like 2026-01-05 or 2026-01-05T09:30:00Z")


def _number_of(cell: Any) -> float | None:
    if isinstance(cell, bool):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None


def _shown(cell: Any) -> str:
    text = repr(cell)
    short = SHOWN_CHARACTERS_MAX
    return text if len(text) <= short else text[: short - 2] + ".."

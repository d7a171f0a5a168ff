"""`trueup try`: what a file of predictions and their outcomes says, from `tables` alone.

The law: an outcome of 1 or 0 counts, an expired one as 0; an ambiguous one and one still open do
not, and are counted. A row with a named cell that cannot be read is bad: it is left out, counted,
and the first of them are named. Only where no row is usable is there no answer. The file is read
once, row by row; of a row nothing is kept but its part of the sums (`examination` says what more
where times are named).
"""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from agents_topics.events import OutcomeStatus
from tables.calibration_bins import BIN_COUNT, UNIT, Sums, bin_index_of, y_of
from tables.scores import brier_score, expected_calibration_error
from trueup.examination import Examination, examination_json, examination_words
from trueup.labelled_rows import (
    Bad,
    Cells,
    Table,
    Unreadable,
    confidence_of,
    outcome_of,
    read_table,
    time_of,
)
from trueup.reliability_picture import NOTHING_SEEN, in_words, picture, picture_bin, reading_of

USAGE, BAD_INPUT = 2, 4
NAMED_MAX = 20
SAMPLE_ROWS = 200
SHOWN_COLUMNS_MAX = 40
_HINTS = {
    "confidence": ("confid", "prob", "certain", "score", "pred"),
    "outcome": ("outcome", "status", "result", "correct", "success", "label", "resol", "truth"),
    "time": ("time", "date", "occurred", "created", "_at", "day"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The columns that were named."""

    confidence: str | None
    outcome: str | None
    time: str | None = None

    def named(self) -> dict[str, str]:
        """By option."""
        return {name: column for name, column in asdict(self).items() if column is not None}


@dataclass(slots=True)
class Tried:
    """What was read of a file: sums by bin, evidence, rows by status, bad rows, span of time."""

    bins: list[Sums] = field(default_factory=lambda: [Sums() for _ in range(BIN_COUNT)])
    examined: Examination = field(default_factory=Examination)
    statuses: Counter[str] = field(default_factory=Counter)
    bad_count: int = 0
    percent_count: int = 0
    named: list[str] = field(default_factory=list)
    first_at: datetime | None = None
    last_at: datetime | None = None

    @property
    def row_count(self) -> int:
        """How many rows there were."""
        return self.statuses.total() + self.bad_count

    @property
    def n(self) -> int:
        """How many rows count."""
        return sum(sums.n for sums in self.bins)

    def update(self, millionths: int, status: str, at: datetime | None) -> None:
        """Counts a row that can be read."""
        self.statuses[status] += 1
        if status != OutcomeStatus.PENDING:
            y = y_of(status, expired_counts=True)
            self.bins[bin_index_of(millionths)].update(millionths, y)
            self.examined.update(millionths, y, at)
        if at is not None:
            self.first_at = at if self.first_at is None else min(self.first_at, at)
            self.last_at = at if self.last_at is None else max(self.last_at, at)

    def refuse(self, number: int, column: str, bad: Bad) -> None:
        """Counts a bad row, and names it if it is one of the first."""
        self.bad_count += 1
        self.percent_count += bad.is_percent
        if self.bad_count <= NAMED_MAX:
            self.named.append(f"line {number}: {column}{': ' if column else ''}{bad.reason}")


@dataclass(slots=True)
class Answer:
    """Lines for standard output, lines for standard error, and the exit code."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    code: int = 0


def answer(file: str, asked: Asked, as_json: bool, ascii_only: bool) -> Answer:
    """What `trueup try` says of a file, or of standard input where it is `-`."""
    if file == "-":
        return _answer(sys.stdin.buffer, file, asked, as_json, ascii_only)
    try:
        with Path(file).open("rb") as stream:
            return _answer(stream, file, asked, as_json, ascii_only)
    except OSError as problem:
        return Answer(problems=[f"{file}: {problem.strerror or problem}"], code=USAGE)


def _answer(stream: BinaryIO, file: str, asked: Asked, as_json: bool, ascii_only: bool) -> Answer:
    try:
        table = read_table(stream)
        if asked.confidence is None or asked.outcome is None:
            return Answer(problems=_suggestion(file, asked, table), code=USAGE)
        missing = _missing(file, asked, table) if table.has_header else []
        tried = Tried() if missing else tally(table, asked)
        missing = missing or _missing(file, asked, table)
    except Unreadable as problem:
        return Answer(problems=[f"{file} {problem}."], code=BAD_INPUT)
    if missing:
        return Answer(problems=missing, code=USAGE)
    problems = [*tried.named, *_left_out(tried)]
    refusal = _refusal(tried)
    if refusal:
        return Answer(problems=[*problems, f"{file}: {refusal}"], code=BAD_INPUT)
    if tried.percent_count:
        problems.append(
            f"Confidences that look like percent: {tried.percent_count:,}. If the whole column is"
            " in percent, divide it by 100: what is at most 1 in it was read as a fraction."
        )
    name = "standard input" if file == "-" else Path(file).name
    lines = [json.dumps(to_json(tried), indent=2)] if as_json else words(name, tried, ascii_only)
    return Answer(lines, problems)


def tally(table: Table, asked: Asked) -> Tried:
    """Reads all rows.

    Raises:
        Unreadable: a line is too long to be one.
    """
    tried = Tried()
    for number, cells in table.rows:
        if isinstance(cells, Bad):
            tried.refuse(number, "", cells)
        else:
            _count(tried, number, cells, asked)
    tried.examined.finish()
    return tried


def _count(tried: Tried, number: int, cells: Cells, asked: Asked) -> None:
    assert asked.confidence is not None and asked.outcome is not None
    confidence = confidence_of(cells.get(asked.confidence))
    if isinstance(confidence, Bad):
        return tried.refuse(number, asked.confidence, confidence)
    outcome = outcome_of(cells.get(asked.outcome))
    if isinstance(outcome, Bad):
        return tried.refuse(number, asked.outcome, outcome)
    at = None if asked.time is None else time_of(cells.get(asked.time))
    if isinstance(at, Bad):
        return tried.refuse(number, asked.time or "", at)
    return tried.update(confidence, outcome, at)


def _refusal(tried: Tried) -> str:
    """Why there is no answer; empty where there is one."""
    if 2 * tried.percent_count > tried.row_count:
        return (
            "the confidences look like percent. Trueup takes fractions and does not guess, for 1"
            " would be either 1 % or 100 %: divide the column by 100."
        )
    if not tried.n:
        of = ", ".join(f"{count:,} {status}" for status, count in tried.statuses.items())
        return (
            f"none of {tried.row_count:,} rows is usable ({of or 'all of them bad'}): each needs a"
            " confidence between 0 and 1 and an outcome of 1 or 0, true or false, positive,"
            " negative or expired."
        )
    return ""


def _left_out(tried: Tried) -> Iterator[str]:
    if tried.bad_count > len(tried.named):
        yield f"… and {tried.bad_count - len(tried.named):,} more"
    if tried.bad_count:
        yield f"{tried.bad_count:,} of {tried.row_count:,} rows are bad and were left out."


def words(name: str, tried: Tried, ascii_only: bool) -> list[str]:
    """The picture, the sentence, the scores, the verdict and what was left out."""
    bins = [picture_bin(sums.n, sums.sp, sums.sy) for sums in tried.bins]
    read = reading_of(bins)
    if read.verdict == NOTHING_SEEN:  # in the mean; evidence sees more
        read = replace(read, verdict=str(tried.examined.verdict(tried.bins)))
    span = ""
    if tried.first_at and tried.last_at:
        span = f", {tried.first_at.date()} to {tried.last_at.date()}"
    low, high = (f"{100 * end:.1f}" for end in (read.low, read.high))
    return [
        *picture(name, bins, ascii_only),
        in_words(name, read, ascii_only),
        f"  Brier {brier_score(tried.bins):.4f}, ECE {expected_calibration_error(tried.bins):.4f},"
        f" n {tried.n:,}{span}",
        f"  its true rate lies between {low} and {high} %: 95 % sure, however often you look",
        *(f"  {line}" for line in examination_words(tried.bins, tried.examined, ascii_only)),
        *(f"  {line}" for line in _not_counted(tried)),
    ]


def _not_counted(tried: Tried) -> Iterator[str]:
    count = tried.statuses
    if count[OutcomeStatus.AMBIGUOUS]:
        yield f"{count[OutcomeStatus.AMBIGUOUS]:,} ambiguous, left out"
    if count[OutcomeStatus.PENDING]:
        yield (
            f"{count[OutcomeStatus.PENDING]:,} without an outcome yet, left out: where good news"
            " comes first, the rate is too high until they are known"
        )
    if count[OutcomeStatus.EXPIRED]:
        yield f"{count[OutcomeStatus.EXPIRED]:,} expired, counted as 0"


def to_json(tried: Tried) -> dict[str, Any]:
    """The same in plain values."""
    read = reading_of([picture_bin(s.n, s.sp, s.sy) for s in tried.bins])
    return {
        "n": tried.n,
        "brier": brier_score(tried.bins),
        "ece": expected_calibration_error(tried.bins),
        "stated": read.stated,
        "actual": read.actual,
        "low": read.low,
        "high": read.high,
        "verdict": read.verdict,
        "statuses": {status.value: tried.statuses[status] for status in OutcomeStatus},
        "bad_rows": tried.bad_count,
        "bad": tried.named,
        "first_at": tried.first_at and tried.first_at.isoformat(),
        "last_at": tried.last_at and tried.last_at.isoformat(),
        "bins": [
            {"index": index, "n": s.n, "stated": s.sp / UNIT / s.n, "actual": s.sy / s.n}
            for index, s in enumerate(tried.bins)
            if s.n
        ],
        **examination_json(tried.bins, tried.examined),
    }


# --- which columns -------------------------------------------------------------------------------


def _missing(file: str, asked: Asked, table: Table) -> list[str]:
    """What to say if a named column is not there."""
    gone = [repr(column) for column in asked.named().values() if column not in table.columns]
    if not gone:
        return []
    options = " ".join(f"--{name} COLUMN" for name in asked.named())
    return [
        f"{file} has no column {' and no column '.join(gone)}. {_columns(table)}",
        f"Name one of them for each: trueup try {shlex.quote(file)} {options}",
    ]


def _columns(table: Table) -> str:
    names = list(table.columns)
    more = f" and {len(names) - SHOWN_COLUMNS_MAX:,} more" * (len(names) > SHOWN_COLUMNS_MAX)
    return f"Its columns are: {', '.join(names[:SHOWN_COLUMNS_MAX])}{more}."


def _suggestion(file: str, asked: Asked, table: Table) -> list[str]:
    """The columns, and a command that names those that could be meant; none is taken unasked."""
    sample = [cells for _, cells in islice(table.rows, SAMPLE_ROWS) if not isinstance(cells, Bad)]
    named = asked.named()
    found = {name: _candidate(name, table, sample) for name in _HINTS}
    options = [
        f"--{name} {shlex.quote(named.get(name) or found[name] or 'COLUMN')}"
        for name in _HINTS
        if name != "time" or named.get(name) or found[name]
    ]
    return [
        f"Say which column is the confidence and which the outcome. {_columns(table)}",
        f"Perhaps: trueup try {shlex.quote(file)} {' '.join(options)}",
    ]


def _candidate(option: str, table: Table, sample: list[Cells]) -> str | None:
    fits: dict[str, Callable[[Iterable[Any]], bool]] = {
        "confidence": _are_confidences,
        "outcome": _are_outcomes,
        "time": _are_times,
    }
    able = [
        column
        for column in table.columns
        if fits[option]([c for cells in sample if (c := cells.get(column)) not in (None, "")])
    ]

    def is_unlikely(column: str) -> bool:
        return not any(hint in column.lower() for hint in _HINTS[option])

    return min(able, key=is_unlikely, default=None)


def _are_confidences(cells: Iterable[Any]) -> bool:
    read = [confidence_of(cell) for cell in cells]
    return not any(isinstance(p, Bad) for p in read) and not set(read) <= {0, UNIT}


def _are_outcomes(cells: Iterable[Any]) -> bool:
    read = [outcome_of(cell) for cell in cells]
    count = Counter(status for status in read if not isinstance(status, Bad))
    return (
        count.total() == len(read)
        and {OutcomeStatus.POSITIVE} < set(count)
        and 2 * count[OutcomeStatus.AMBIGUOUS] < len(read)
    )


def _are_times(cells: Iterable[Any]) -> bool:
    read = [time_of(cell) for cell in cells]
    return bool(read) and not any(isinstance(at, Bad) for at in read)

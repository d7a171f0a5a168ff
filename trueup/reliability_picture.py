"""An agent's reliability for the terminal: what it says against how often it is right.

Nothing is printed here: callers give sums and take lines. Each bar's interval misses
its truth in 5 % of cases *each*, so that ten bars together miss more often: the picture decides
nothing, and the sentence rests on the pooled interval alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from tables.watched_interval import watched_interval

OVER_CONFIDENT = "over-confident"
UNDER_CONFIDENT = "under-confident"
NOTHING_SEEN = "no miscalibration seen"

BAR_COLUMNS = 50
WIDTH_MAX = 100
_UNIT = 1_000_000


@dataclass(frozen=True, slots=True)
class PictureBin:
    """The sums of one bin, and the interval of its actual rate, as [0, 1].

    Sums that are weighted or estimated need not be whole.
    """

    n: int
    sp_millionths: float
    sy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reading:
    """All bins together: mean stated confidence, actual rate with its interval, what they say."""

    stated: float
    actual: float
    low: float
    high: float
    count: int
    verdict: str


@dataclass(frozen=True, slots=True)
class _Ink:
    """The characters of a picture: sure, likely, possible, stated, nothing, edge, dash."""

    sure: str
    likely: str
    possible: str
    stated: str
    edge: str
    dash: str


_BLOCKS = _Ink(sure="█", likely="▓", possible="░", stated="◆", edge="│", dash="–")
_ASCII = _Ink(sure="#", likely="=", possible="-", stated="O", edge="|", dash="-")


def needs_ascii(stream: TextIO) -> bool:
    """Whether the stream's encoding cannot take the block characters."""
    try:
        "█▓░◆│–".encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return True
    return False


def picture(
    name: str, bins: Sequence[PictureBin], ascii_only: bool, counted: str = "settled"
) -> list[str]:
    """Lines of at most 100 columns: a bar for each bin that has records, which are `counted`.

    >>> empty, ninth = PictureBin(0, 0, 0, 0.0, 1.0), PictureBin(200, 164_000_000, 116, 0.5, 0.65)
    >>> print(picture("closer-bot", [empty] * 8 + [ninth], ascii_only=True)[2])
      80-90 %  |#########################====---         O        |  82 %    58 % ( 50-65 )      200
    """
    ink = _ASCII if ascii_only else _BLOCKS
    count = sum(held.n for held in bins)
    if not count:
        return [f"{name}: nothing has settled yet"]
    head = _shorten(name, 40, ascii_only)
    right, likely = ink.sure * 2 + ink.likely * 2, ink.likely * 2 + ink.possible * 2
    return [
        f"{head}   {right} right   {likely} interval, 95 % each   {ink.stated} says",
        f"  {'it says':9}{_scale()}  says   right  {'interval':9}  {counted:>7}",
        *(_bar(index, held, ink) for index, held in enumerate(bins) if held.n),
    ]


def _shorten(name: str, columns: int, ascii_only: bool) -> str:
    shown = name.encode("ascii", "replace").decode() if ascii_only else name
    return shown if len(shown) <= columns else shown[: columns - 2] + ".."


def _scale() -> str:
    cells = ["0"] + [" "] * (BAR_COLUMNS + 1)
    for percent in (20, 40, 60, 80):
        at = percent * BAR_COLUMNS // 100
        cells[at : at + 2] = str(percent)
    return " " + "".join(cells[: BAR_COLUMNS - 4]) + "100 %"


def _bar(index: int, held: PictureBin, ink: _Ink) -> str:
    stated, actual = held.sp_millionths / _UNIT / held.n, held.sy / held.n
    low_at, at, high_at = (round(rate * BAR_COLUMNS) for rate in (held.low, actual, held.high))
    cells = [
        ink.sure if cell < low_at else ink.likely if cell < at else ink.possible
        for cell in range(max(at, high_at))
    ]
    cells += [" "] * (BAR_COLUMNS - len(cells))
    cells[min(int(stated * BAR_COLUMNS), BAR_COLUMNS - 1)] = ink.stated
    interval = f"({_percent(held.low):>3}{ink.dash}{_percent(held.high):<3})"
    span = f"{index * 10}{ink.dash}{index * 10 + 10} %"
    return (
        f"  {span:9}{ink.edge}{''.join(cells)}{ink.edge} {_percent(stated):>3} %"
        f"   {_percent(actual):>3} % {interval}  {held.n:>7,}"
    )


def _percent(rate: float) -> str:
    return str(int(rate * 100 + 0.5))


def stated_and_actual(bins: Sequence[PictureBin]) -> tuple[float, float, int]:
    """Mean stated confidence, actual rate and count over all bins; zeros where all are empty."""
    count = sum(held.n for held in bins)
    if not count:
        return 0.0, 0.0, 0
    stated = sum((held.sp_millionths for held in bins), 0.0) / _UNIT / count
    return stated, sum((held.sy for held in bins), 0.0) / count, count


def picture_bin(n: int, sp_millionths: int, sy: int) -> PictureBin:
    """The bin of these sums, with the interval that may be watched.

    >>> picture_bin(20, 16_000_000, 20).low > 0.77
    True
    """
    return PictureBin(n, sp_millionths, sy, *watched_interval(sy, n))


def reading_of(bins: Sequence[PictureBin]) -> Reading:
    """What the sentence rests on: the pooled interval alone."""
    stated, actual, count = stated_and_actual(bins)
    low, high = watched_interval(round(sum((held.sy for held in bins), 0.0)), count)
    return Reading(stated, actual, low, high, count, verdict_of(stated, low, high))


def verdict_of(stated: float, low: float, high: float) -> str:
    """What a mean confidence outside the actual rate's interval says; inside, nothing is proven.

    >>> verdict_of(0.82, 0.54, 0.62), verdict_of(0.5, 0.54, 0.62), verdict_of(0.6, 0.54, 0.62)
    ('over-confident', 'under-confident', 'no miscalibration seen')
    """
    if stated > high:
        return OVER_CONFIDENT
    return UNDER_CONFIDENT if stated < low else NOTHING_SEEN


def sentence(
    name: str,
    stated: float,
    actual: float,
    low: float,
    high: float,
    settled: int,
    verdict: str,
    ascii_only: bool = False,
) -> str:
    """The picture in words.

    >>> sentence("closer-bot", 0.82, 0.58, 0.54, 0.62, 1204, "over-confident")
    'closer-bot says 82 %, is right 58 % (54–62), 1,204 settled: over-confident'
    """
    if not settled:
        return f"{name}: nothing has settled yet"
    dash = (_ASCII if ascii_only else _BLOCKS).dash
    return (
        f"{name} says {_percent(stated)} %, is right {_percent(actual)} % "
        f"({_percent(low)}{dash}{_percent(high)}), {settled:,} settled: {verdict}"
    )


def in_words(name: str, read: Reading, ascii_only: bool) -> str:
    """The sentence of a reading."""
    return sentence(
        name, read.stated, read.actual, read.low, read.high, read.count, read.verdict, ascii_only
    )

"""Checksums of what is settled: equal where two databases hold the same results.

They are over what is law: not over revisions, broker times, lineage and log offsets, which differ
from run to run. A checksum is a sum over the rows, so their order means nothing.
"""

from dataclasses import dataclass

from sinks.postgres.outcome_rows import OUTCOME_COLUMNS
from sinks.postgres.queries import run_bound
from sinks.postgres.statements import (
    ADJUSTMENTS,
    ALARMS,
    DAYS,
    DELAYS,
    FORECASTS,
    LABEL_RATES,
    MAPS,
    SEGMENTS,
    STREAM_BINS,
    STREAMS,
    TRENDS,
    Staged,
)

_OUTSIDE = ("known_at", "revision", "lineage", "output_partition", "output_offset")
END_OF_TIME_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """How many rows, and 128 bits over them."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Checksums:
    """Of outcomes settled by a time, and of all that is known of streams."""

    outcomes: Checksum
    bins: Checksum
    label_rates: Checksum
    days: Checksum
    segments: Checksum
    delays: Checksum
    streams: Checksum
    alarms: Checksum
    adjustments: Checksum
    maps: Checksum
    trends: Checksum
    forecasts: Checksum


def _over(columns: tuple[str, ...], rows: str) -> str:
    """The statement: rows, and the sums of both halves of each row's MD5."""
    told = ", ".join(_number_of(column) for column in columns if column not in _OUTSIDE)
    halves = ", ".join(
        f"coalesce(sum(('x' || substr(hash, {first}, 16))::bit(64)::bigint::numeric), 0)"
        for first in (1, 17)
    )
    hashed = f"SELECT md5(row({told})::text) AS hash FROM {rows}"
    return f"SELECT count(*), {halves} FROM ({hashed}) AS hashed"


def _number_of(column: str) -> str:
    """A time or a day as a number: its text depends on the server's settings."""
    if column.endswith("_at"):
        return f"(extract(epoch FROM {column}) * 1000)::bigint"
    return f"{column} - 'epoch'::date" if column.endswith("_day") else column


_SETTLED = "WHERE is_settled AND settled_at <= 'epoch'::timestamptz + $1 * interval '1 millisecond'"
_OUTCOMES = _over(OUTCOME_COLUMNS, f"tenant.outcome_records {_SETTLED}")
_SHADOW = _over(OUTCOME_COLUMNS, f"tenant.shadow_outcome_records {_SETTLED} AND shadow = $2")


def _of(staged: Staged, only: str = "true") -> str:
    return _over(staged.columns, f"tenant.{staged.table} WHERE {only}")


_OF_STREAMS = {
    "bins": _of(STREAM_BINS, "curve = 'settled'"),
    "label_rates": _of(LABEL_RATES),
    "days": _of(DAYS),
    "segments": _of(SEGMENTS),
    "delays": _of(DELAYS),
    "streams": _of(STREAMS),
    "alarms": _of(ALARMS),
    "adjustments": _of(ADJUSTMENTS),
    "maps": _of(MAPS),
    "trends": _of(TRENDS),
    # Until then a label may overrule a signal that had been heard.
    "forecasts": _of(FORECASTS, "came IS NOT NULL"),
}


async def checksums(url: str, as_of_ms: int = END_OF_TIME_MS) -> Checksums:
    """Of the live tables.

    Raises:
        PostgresProblem: Postgres is not there or refuses.
    """
    found = {name: await _asked(url, sql) for name, sql in _OF_STREAMS.items()}
    return Checksums(outcomes=await _asked(url, _OUTCOMES, as_of_ms), **found)


async def shadow_checksum(url: str, name: str, as_of_ms: int = END_OF_TIME_MS) -> Checksum:
    """Of a shadow's outcomes."""
    return await _asked(url, _SHADOW, as_of_ms, name)


async def _asked(url: str, sql: str, *values: object) -> Checksum:
    (row,) = (await run_bound(url, sql, *values)).rows
    count, left, right = map(int, row)
    return Checksum(count, f"{left % 2**64:016x}{right % 2**64:016x}")

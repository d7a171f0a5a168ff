"""Checksums of what is settled: equal where two databases hold the same results.

They are over what is law: not over revisions, broker times, lineage and log offsets, which differ
from run to run. A checksum is a sum over the rows, so their order means nothing.
"""

from dataclasses import dataclass

from sinks.postgres.queries import run_bound
from sinks.postgres.rows import COLUMN_OF, OUTCOME_COLUMNS, STREAM_BIN_COLUMNS

_OUTSIDE = ("known_at", "revision", "lineage", "output_partition", "output_offset")
_TIMES = {
    "last_settled_at",
    *(column for field, column in COLUMN_OF.items() if field.endswith("_at_ms")),
}
END_OF_TIME_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """How many rows, and 128 bits over them."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Checksums:
    """Of outcomes settled by a time, and of all bins."""

    outcomes: Checksum
    bins: Checksum


def _over(columns: tuple[str, ...], rows: str) -> str:
    """The statement: rows, and the sums of both halves of each row's MD5."""
    told = ", ".join(
        f"(extract(epoch FROM {column}) * 1000)::bigint" if column in _TIMES else column
        for column in columns
        if column not in _OUTSIDE
    )
    halves = ", ".join(
        f"coalesce(sum(('x' || substr(hash, {first}, 16))::bit(64)::bigint::numeric), 0)"
        for first in (1, 17)
    )
    hashed = f"SELECT md5(row({told})::text) AS hash FROM {rows}"
    return f"SELECT count(*), {halves} FROM ({hashed}) AS hashed"


_SETTLED = "WHERE is_settled AND settled_at <= 'epoch'::timestamptz + $1 * interval '1 millisecond'"
_OUTCOMES = _over(OUTCOME_COLUMNS, f"tenant.outcome_records {_SETTLED}")
_SHADOW = _over(OUTCOME_COLUMNS, f"tenant.shadow_outcome_records {_SETTLED} AND shadow = $2")
_BINS = _over(STREAM_BIN_COLUMNS, "tenant.calibration_stream_bins WHERE curve = 'settled'")


async def checksums(url: str, as_of_ms: int = END_OF_TIME_MS) -> Checksums:
    """Of the live tables.

    Raises:
        PostgresProblem: Postgres is not there or refuses.
    """
    return Checksums(await _asked(url, _OUTCOMES, as_of_ms), await _asked(url, _BINS))


async def shadow_checksum(url: str, name: str, as_of_ms: int = END_OF_TIME_MS) -> Checksum:
    """Of a shadow's outcomes."""
    return await _asked(url, _SHADOW, as_of_ms, name)


async def _asked(url: str, sql: str, *values: object) -> Checksum:
    (row,) = (await run_bound(url, sql, *values)).rows
    count, left, right = map(int, row)
    return Checksum(count, f"{left % 2**64:016x}{right % 2**64:016x}")

"""Forecasts in Postgres: which are due, what they rest on, and their rows.

The law: a row is of a stream and of the end of a day. It is written when the day has closed for the
stream and again with its score, after which it never changes.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sinks.postgres.calibration_readings import (
    MILLIONTHS,
    OF_STREAM,
    OUTCOMES_OF_STREAM,
    SIGNALLED,
    StreamKey,
    day_delays_sql,
    ms_of,
)
from sinks.postgres.queries import run_bound
from sinks.postgres.row_types import STREAM_COLUMNS, Row, Version
from sinks.postgres.statements import FORECASTS, OF_A_REPLAY
from sinks.postgres.writer import upsert

DAYS_MAX = 20
"""Of which forecasts are made at a time."""
_POSITIVES_MIN = 100
"""With fewer there is no delay curve and so no forecast."""
_DAY_MS = 86_400_000
_KEY = ", ".join(("tenant_id::text", *STREAM_COLUMNS[1:]))

_CLOSED_DAYS = f"""\
SELECT {_KEY}, floor(extract(epoch FROM last_settled_at) / 86400)::int - 1
FROM tenant.calibration_streams
WHERE CASE WHEN $1::int IS NULL THEN {OF_A_REPLAY}
  ELSE output_partition = $1 AND output_offset >= $2::bigint END
ORDER BY {", ".join(STREAM_COLUMNS)}"""
_FIRST_DAY = f"""\
SELECT greatest(
  (SELECT min(known_day) FROM (
    SELECT known_day, sum(sum(positive_count)) OVER (ORDER BY known_day) AS positives
    FROM tenant.calibration_days WHERE {OF_STREAM} AND record_set = 'all' GROUP BY known_day
  ) AS told WHERE positives >= {_POSITIVES_MIN}) - date '1970-01-01',
  (SELECT max(as_of_day) FROM tenant.calibration_forecasts WHERE {OF_STREAM})
    - date '1970-01-01' + 1,
  (SELECT max(known_day) FROM tenant.calibration_days WHERE {OF_STREAM} AND holds_earlier)
    - date '1970-01-01' + 1)"""
_UNSCORED = f"""\
SELECT as_of_day - date '1970-01-01' FROM tenant.calibration_forecasts
WHERE {OF_STREAM} AND came IS NULL
  AND extract(epoch FROM settles_at) < ($6::bigint + 1) * 86400 ORDER BY 1"""
_WAS_KNOWN = f"""\
SELECT EXISTS (
  SELECT FROM tenant.calibration_days WHERE {OF_STREAM} AND output_offset < $6::bigint)"""
_OPEN = f"""\
WITH own AS (
  SELECT {MILLIONTHS} AS millionths, {ms_of("created_at", "created_ms")},
    {ms_of("settled_at", "settled_ms")}, is_settled, expired_counts,
    outcome_status = 'positive' AS is_positive,
    CASE WHEN {SIGNALLED} THEN (extract(epoch FROM resolved_at) * 1000)::bigint END AS signal_ms
  {OUTCOMES_OF_STREAM}
    AND created_at >= to_timestamp(($6::bigint[])[1] * 86400.0 + 86400 - $4 / 1000.0)
    AND created_at < to_timestamp(($6::bigint[])[cardinality($6::bigint[])] * 86400.0 + 86400)
)
SELECT day::int, millionths, least((at_ms - created_ms) * 48 / $4, 47)::int,
  count(*) FILTER (WHERE is_silent), count(*) FILTER (WHERE is_silent AND is_positive),
  max(settled_ms), bool_and(expired_counts)
FROM (
  SELECT own.*, day, at_ms, signal_ms IS NULL OR signal_ms >= at_ms AS is_silent
  FROM own
  CROSS JOIN generate_series(created_ms / {_DAY_MS}, (created_ms + $4) / {_DAY_MS}) AS day
  CROSS JOIN LATERAL (SELECT (day + 1) * {_DAY_MS} AS at_ms) AS ended
  WHERE day = ANY($6::bigint[]) AND created_ms < at_ms AND at_ms - created_ms < $4
    AND (NOT is_settled OR settled_ms >= at_ms)
) AS waits
GROUP BY 1, 2, 3"""
_SUMS = f"""\
SELECT greatest(known_day - date '1970-01-01', $6::int), bin_index,
  coalesce(sum(n) FILTER (WHERE record_set = 'lead'), 0)::bigint,
  coalesce(sum(sp) FILTER (WHERE record_set = 'lead'), 0)::bigint,
  coalesce(sum(sy) FILTER (WHERE record_set = 'lead'), 0)::bigint,
  coalesce(sum(n - sy) FILTER (WHERE record_set = 'all'), 0)::bigint
FROM tenant.calibration_days WHERE {OF_STREAM} GROUP BY 1, 2"""
_DELAYS = day_delays_sql("greatest(known_day, $6::int)")
_DROP_UNSCORED = f"""\
DELETE FROM tenant.calibration_forecasts
WHERE {OF_STREAM} AND came IS NULL AND as_of_day - date '1970-01-01' = ANY($6::int[])"""
_SCORED = f"""\
SELECT as_of_day - date '1970-01-01', expected, low, high, waiting, came
FROM tenant.calibration_forecasts WHERE {OF_STREAM} AND came IS NOT NULL
  AND as_of_day - date '1970-01-01' BETWEEN $6::int AND $7::int ORDER BY 1"""


class Told(NamedTuple):
    """What a forecast says, in the order of the table's columns."""

    as_of_day: int
    waiting: int
    expected: float
    low: float
    high: float
    settles_at_ms: int
    came: int | None


class Basis(NamedTuple):
    """What the forecasts of some days rest on.

    The rows are in the order of `tables.day_forecasts.OpenGroup` and `DayKnown`, and of
    `tables.open_actions.DayDelays`.
    """

    open: list[Row]
    sums: list[Row]
    delays: list[Row]


async def closed_days(
    connection: Any, partition: int | None, since_offset: int
) -> list[tuple[StreamKey, int]]:
    """The last day that has closed for each stream that a publisher's partition has told since an
    offset, or that a replay has told where it is None.
    """
    rows = await connection.fetch(_CLOSED_DAYS, partition, since_offset)
    return [(tuple(row[:5]), row[5]) for row in rows]


async def due_days(connection: Any, stream: StreamKey, closed_day: int) -> tuple[range, list[int]]:
    """The days of which no forecast was made, if there can be one, and those that can be scored."""
    first: int | None = await connection.fetchval(_FIRST_DAY, *stream)
    unscored = await connection.fetch(_UNSCORED, *stream, closed_day)
    began = closed_day + 1 if first is None else first
    return range(began, closed_day + 1), [row[0] for row in unscored]


async def was_known_before(connection: Any, stream: StreamKey, offset: int) -> bool:
    """Whether something is left that was told of a stream before an offset of its partition.

    What is told of closed days is not told again, so nothing is left of a stream that has been
    forgotten since, even if more was told of it after that.
    """
    return bool(await connection.fetchval(_WAS_KNOWN, *stream, offset))


async def basis_of(connection: Any, stream: StreamKey, days: Sequence[int]) -> Basis:
    """What is known of these days, which are in order; what was known before them as of the first.

    None of it is to be taken for a later day's that is not among them.
    """
    return Basis(
        await connection.fetch(_OPEN, *stream, list(days)),
        await connection.fetch(_SUMS, *stream, days[0]),
        await connection.fetch(_DELAYS, *stream, days[0]),
    )


async def write_forecasts(
    connection: Any, stream: StreamKey, told: Iterable[Told], version: Version, statement: str
) -> int:
    """Stores forecasts of a stream, by the publisher's statement or a replay's; how many."""
    rows = [(*stream, *one, *version) for one in told]
    return await upsert(connection, FORECASTS, rows, statement) if rows else 0


async def drop_unscored(connection: Any, stream: StreamKey, days: Sequence[int]) -> None:
    """The forecasts of these days are to be made anew, but for those that have their score."""
    await connection.execute(_DROP_UNSCORED, *stream, list(days))


async def stored_scores(url: str, stream: StreamKey, first_day: int, last_day: int) -> list[Row]:
    """Day, expected, low, high, how many waited and how many came, of those that have a score."""
    return (await run_bound(url, _SCORED, *stream, first_day, last_day)).rows

"""Day rows that are too old are added up: what is kept by the day has an end, and no sum changes.

The law: a row with `holds_earlier` is the sum of the rows of its bin up to its days, both of which
are the latest of what it holds. Sums commute, so that it is the same however often it was added to;
what was known before the test in force began stays apart, since nothing else says what the test has
seen. Added up is only what can change no more and what no forecast will ask for.
"""

from typing import Any

from sinks.postgres.calibration_readings import OF_STREAM, StreamKey
from sinks.postgres.row_types import STREAM_COLUMNS, VERSION_COLUMNS
from sinks.postgres.sum_rows import SUM_COLUMNS

_EPOCH = "date '1970-01-01'"
_TESTED_SINCE = f"""\
(SELECT (tested_since_at AT TIME ZONE 'UTC')::date FROM tenant.calibration_streams
  WHERE {OF_STREAM})"""
_BINS = ", ".join((*STREAM_COLUMNS, "bin_index", "record_set"))
_SUMS = ", ".join(SUM_COLUMNS)
_ADDED = ", ".join(f"sum({name})" for name in SUM_COLUMNS)
_NEWEST = ", ".join(
    f"(array_agg({name} ORDER BY lineage DESC, output_offset DESC))[1]" for name in VERSION_COLUMNS
)


def _added_up(table: str, columns: str, values: str) -> str:
    """The statement for a table of days: $6 is the last day that is not kept."""
    return f"""\
WITH gone AS (DELETE FROM tenant.{table} WHERE {OF_STREAM} AND known_day <= {_EPOCH} + $6::int
  RETURNING *)
INSERT INTO tenant.{table} ({_BINS}, action_day, known_day, {_SUMS}{columns})
SELECT {_BINS}, max(action_day), max(known_day), {_ADDED}{values} FROM gone
GROUP BY {_BINS}, known_day < {_TESTED_SINCE}"""


_DAYS = _added_up(
    "calibration_days",
    f", {', '.join(VERSION_COLUMNS)}, holds_earlier",
    f", {_NEWEST}, true",
)
_CORRECTIONS = _added_up("calibration_day_corrections", "", "")
_HORIZON = f"""\
SELECT least($6::int, (SELECT min(as_of_day) FROM tenant.calibration_forecasts
  WHERE {OF_STREAM} AND came IS NULL) - {_EPOCH})"""
_ADDED_UP_TO = f"""\
SELECT max(known_day) - {_EPOCH} FROM tenant.calibration_days WHERE {OF_STREAM} AND holds_earlier"""


async def add_up_days(connection: Any, stream: StreamKey, closed_day: int, days_kept: int) -> None:
    """Keeps of a stream the rows of its last days of settle times, and of those before their sums.

    Called when the forecasts of the last day that has closed are made; a forecast that has no score
    yet will be made again, of what was known on its day.
    """
    horizon = await connection.fetchval(_HORIZON, *stream, closed_day + 1 - days_kept)
    await _add_up(connection, stream, horizon)


async def add_up_again(connection: Any, stream: StreamKey) -> None:
    """Adds what was put among days that are not kept to their sums."""
    last_day: int | None = await connection.fetchval(_ADDED_UP_TO, *stream)
    if last_day is not None:
        await _add_up(connection, stream, last_day)


async def _add_up(connection: Any, stream: StreamKey, last_day: int) -> None:
    for statement in (_DAYS, _CORRECTIONS):
        await connection.execute(statement, *stream, last_day)

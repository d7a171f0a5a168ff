"""What people ask of a stream's calibration, answered in the records that the calibrator tells.

Asked as the operator, who sees every tenant. Values are always bound.
"""

from collections.abc import Sequence
from typing import Any

from agents_topics.calibration import (
    CalibrationAlarm,
    DaySums,
    DelaySums,
    SegmentSums,
    StreamCalibration,
    StreamTrend,
    ThresholdAdjustment,
)
from agents_topics.events import BinSums
from sinks.postgres.queries import run_bound

StreamKey = tuple[str, str, str, int, str]
"""Tenant, action type, outcome type, window in milliseconds, confidence source."""

_STREAM = "tenant_id, action_type, outcome_type, window_ms, confidence_source"
_STREAM_NAMES = tuple(_STREAM.split(", "))
_SUMS = ("n", "sp", "spp", "sy", "spy", "excluded_n", "excluded_sp", "excluded_spp")
_COUNTS = ("positive", "negative", "ambiguous", "expired")
_THIRD = 48


def ms_of(column: str, name: str) -> str:
    """A time in milliseconds since 1970, under a name."""
    return f"(extract(epoch FROM {column}) * 1000)::bigint AS {name}"


def _scaled(column: str, unit: int, name: str) -> str:
    return f"({column} * {unit})::bigint AS {name}"


_ASKED = """
WHERE ($1::uuid IS NULL OR tenant_id = $1) AND ($2::text IS NULL OR action_type = $2)"""
OF_STREAM = """
tenant_id = $1 AND action_type = $2 AND outcome_type = $3 AND window_ms = $4::bigint
AND confidence_source = $5"""
OUTCOMES_OF_STREAM = """\
FROM tenant.outcome_records WHERE tenant_id = $1 AND action_type = $2 AND outcome_type = $3
AND window_expires_at - created_at = $4::bigint * interval '1 ms' AND confidence_source = $5
AND calibrates AND predicted_confidence IS NOT NULL"""
MILLIONTHS = "floor(predicted_confidence * 1000000 + 0.5)::bigint"
SIGNALLED = "outcome_status IN ('positive', 'negative', 'ambiguous')"

_NANOS, _UNIT = 1_000_000_000, 1_000_000
_STREAMS = f"""\
SELECT {_STREAM}, policy_version, n, excluded_n, verdict, is_calibrated, error, error_low,
  error_high, is_threshold_held, reason, {ms_of("tested_since_at", "tested_since_ms")},
  {ms_of("alarm_at", "alarm_at_ms")}, {ms_of("map_adopted_at", "map_adopted_at_ms")},
  {ms_of("threshold_changed_at", "threshold_changed_at_ms")},
  {ms_of("last_settled_at", "last_settled_at_ms")},
  {_scaled("log_evidence", _NANOS, "log_evidence_nanos")},
  {_scaled("worst_log_evidence", _NANOS, "worst_log_evidence_nanos")},
  {_scaled("peak_log_evidence", _NANOS, "peak_log_evidence_nanos")},
  {_scaled("map_log_evidence", _NANOS, "map_log_evidence_nanos")},
  {_scaled("map_a", _UNIT, "map_a_millionths")}, {_scaled("map_b", _UNIT, "map_b_millionths")},
  {_scaled("threshold", _UNIT, "threshold_millionths")}
FROM tenant.calibration_streams {_ASKED} ORDER BY {_STREAM}"""
_ALARMS = f"""\
SELECT {_STREAM}, number, n, direction, direction_at_threshold, shape, closed_by,
  {ms_of("opened_at", "opened_at_ms")}, {ms_of("closed_at", "closed_at_ms")},
  {_scaled("log_evidence", _NANOS, "log_evidence_nanos")}
FROM tenant.calibration_alarms {_ASKED} AND ($3 OR closed_at IS NULL)
ORDER BY opened_at DESC, {_STREAM}, number DESC LIMIT $4"""
_ADJUSTMENTS = f"""\
SELECT {_STREAM}, number, cause, direction, magnitude, old_threshold, new_threshold, reason, n,
  expected_before, expected_after, observed_before, observed_after, observed_n_before,
  observed_n_after, {ms_of("adjusted_at", "at_ms")},
  {_scaled("map_a", _UNIT, "map_a_millionths")}, {_scaled("map_b", _UNIT, "map_b_millionths")},
  {_scaled("log_evidence", _NANOS, "log_evidence_nanos")}
FROM (SELECT *, row_number() OVER (PARTITION BY {_STREAM} ORDER BY number DESC) AS newest
  FROM tenant.threshold_adjustments {_ASKED}) AS own
WHERE newest <= $3 ORDER BY {_STREAM}, number DESC"""
_TRENDS = f"""\
SELECT {_STREAM}, metric, n, previous_mean, current_mean, change_percent, direction, evidence,
  supported_direction, low, high, compared_count, half_size,
  {ms_of("compared_at", "compared_at_ms")}
FROM tenant.calibration_trends {_ASKED} ORDER BY {_STREAM}, metric DESC"""
_DELAYS = f"""\
SELECT positive, negative, counts, sum_ms FROM tenant.calibration_delays WHERE {OF_STREAM}"""


def _sums_of(table: str, own: str, key: str) -> str:
    """Rows of `table`: their own columns, sums of all and of lead records, counts by status."""
    every = ", ".join(f"every.{name}" for name in (*_SUMS, *(f"{s}_count" for s in _COUNTS)))
    lead = ", ".join(f"coalesce(lead.{name}, 0)" for name in _SUMS)
    return f"""\
SELECT {own}, {every}, {lead}
FROM (SELECT * FROM tenant.{table} WHERE {OF_STREAM} AND record_set = 'all') AS every
LEFT JOIN (SELECT * FROM tenant.{table} WHERE {OF_STREAM} AND record_set = 'lead') AS lead
USING ({key}) ORDER BY {key}"""


_DAYS = _sums_of(
    "calibration_days",
    "bin_index, action_day - date '1970-01-01', known_day - date '1970-01-01', every.holds_earlier",
    "bin_index, action_day, known_day",
)
_SEGMENTS = _sums_of(
    "calibration_segments", "bin_index, dimension, segment", "dimension, segment, bin_index"
)
_BOUNDS = f"""\
SELECT (extract(epoch FROM min(created_at) FILTER (WHERE NOT is_settled)) * 1000)::bigint,
  (extract(epoch FROM max(settled_at - created_at)) * 1000)::bigint,
  (extract(epoch FROM greatest(max(created_at), max(resolved_at) FILTER (WHERE {SIGNALLED}),
    max(settled_at) FILTER (WHERE is_settled))) * 1000)::bigint,
  (array_agg(expired_counts ORDER BY created_at DESC))[1]
{OUTCOMES_OF_STREAM}"""
_FOLLOWED = f"""\
SELECT {MILLIONTHS}, {ms_of("created_at", "created_at_ms")}, {ms_of("settled_at", "settled_at_ms")},
  CASE WHEN {SIGNALLED} THEN (extract(epoch FROM resolved_at) * 1000)::bigint END, outcome_status,
  is_settled
{OUTCOMES_OF_STREAM} AND created_at >= to_timestamp($6::float8 / 1000) ORDER BY created_at, id"""


def day_delays_sql(known_day: str) -> str:
    """A stream's delays, by an expression over the day on which they were known."""
    return f"""\
SELECT {known_day}, least({MILLIONTHS} / 100000, 9) * 3 / 10 AS third,
  least(greatest(delay_ms, 0) * 48 / $4, 47) AS bucket,
  count(*) FILTER (WHERE outcome_status = 'positive'),
  count(*) FILTER (WHERE outcome_status = 'negative')
FROM (SELECT predicted_confidence, outcome_status,
    floor(extract(epoch FROM settled_at) / 86400)::int AS known_day,
    (extract(epoch FROM resolved_at - created_at) * 1000)::bigint AS delay_ms
  {OUTCOMES_OF_STREAM} AND is_settled AND outcome_status IN ('positive', 'negative')) AS heard
GROUP BY 1, 2, 3"""


_RESIDUALS = f"""\
SELECT p / 5000, count(*), sum((p - y * 1000000) * (5000 - p % 5000)),
  sum((p - y * 1000000) * (p % 5000))
FROM (SELECT {MILLIONTHS} AS p, (outcome_status = 'positive')::int AS y
  {OUTCOMES_OF_STREAM} AND is_settled AND outcome_status <> 'ambiguous'
  AND (outcome_status <> 'expired' OR expired_counts)
  AND ($6::date IS NULL OR created_at >= $6::date::timestamp AT TIME ZONE 'UTC')
  AND ($7::date IS NULL OR created_at < ($7::date + 1)::timestamp AT TIME ZONE 'UTC')
  AND ($8::date IS NULL OR settled_at < ($8::date + 1)::timestamp AT TIME ZONE 'UTC')) AS counted
GROUP BY 1"""


async def calibration_streams(
    url: str, tenant_id: str | None = None, action_type: str | None = None
) -> list[StreamCalibration]:
    """Where streams stand: of an action type, of a tenant, or of all."""
    answer = await run_bound(url, _STREAMS, tenant_id, action_type)
    return [StreamCalibration(**row) for row in _named(answer.columns, answer.rows)]


async def calibration_alarms(
    url: str,
    tenant_id: str | None = None,
    action_type: str | None = None,
    *,
    with_closed: bool = False,
    limit: int = 1000,
) -> list[CalibrationAlarm]:
    """Alarms, the latest first."""
    answer = await run_bound(url, _ALARMS, tenant_id, action_type, with_closed, limit)
    return [CalibrationAlarm(**row) for row in _named(answer.columns, answer.rows)]


async def threshold_adjustments(
    url: str, tenant_id: str | None = None, action_type: str | None = None, *, per_stream: int = 1
) -> list[ThresholdAdjustment]:
    """The last adjustments of each stream, the latest first."""
    answer = await run_bound(url, _ADJUSTMENTS, tenant_id, action_type, per_stream)
    return [ThresholdAdjustment(**row) for row in _named(answer.columns, answer.rows)]


async def calibration_trends(
    url: str, tenant_id: str | None = None, action_type: str | None = None
) -> list[StreamTrend]:
    """The trends of streams, each stream's success first."""
    answer = await run_bound(url, _TRENDS, tenant_id, action_type)
    return [StreamTrend(**row) for row in _named(answer.columns, answer.rows)]


async def stream_days(url: str, stream: StreamKey) -> tuple[list[DaySums], list[DaySums]]:
    """The day rows of a stream: those of its kept days, and the sums of those before.

    The days of a sum are the latest of what it holds.
    """
    answer = await run_bound(url, _DAYS, *stream)
    kept, earlier = list[DaySums](), list[DaySums]()
    for bin_index, action_day, known_day, holds_earlier, *sums in answer.rows:
        row = DaySums(
            **_key(stream),
            bin_index=bin_index,
            action_day=action_day,
            known_day=known_day,
            **_told(sums),
        )
        (earlier if holds_earlier else kept).append(row)
    return kept, earlier


async def stream_segments(url: str, stream: StreamKey) -> list[SegmentSums]:
    """All segments of a stream, by dimension."""
    answer = await run_bound(url, _SEGMENTS, *stream)
    return [
        SegmentSums(
            **_key(stream),
            bin_index=bin_index,
            dimension=dimension,
            segment=segment,
            **_told(sums),
        )
        for bin_index, dimension, segment, *sums in answer.rows
    ]


async def stream_delays(url: str, stream: StreamKey) -> DelaySums | None:
    """The delays of a stream's closed windows; None where none has closed."""
    answer = await run_bound(url, _DELAYS, *stream)
    for positive, negative, counts, sum_ms in answer.rows:
        return DelaySums(
            **_key(stream),
            positive=_thirds(positive),
            negative=_thirds(negative),
            counts=list(counts),
            sum_ms=int(sum_ms),
        )
    return None


async def followed_bounds(url: str, stream: StreamKey) -> tuple[int | None, int, int, bool] | None:
    """Of a stream's actions: the oldest unsettled one's time, the longest wait, the latest event.

    And whether an expired one counts as 0, by the rules of the latest. Times are in milliseconds;
    None where there is no action.
    """
    answer = await run_bound(url, _BOUNDS, *stream)
    oldest_open_ms, wait_ms, latest_ms, expired_counts = answer.rows[0]
    return None if wait_ms is None else (oldest_open_ms, wait_ms, latest_ms, expired_counts)


async def followed_actions(url: str, stream: StreamKey, since_ms: int) -> list[tuple[Any, ...]]:
    """A stream's actions since a moment, in the order of `tables.open_actions.Followed`."""
    return (await run_bound(url, _FOLLOWED, *stream, since_ms)).rows


async def day_delays(url: str, stream: StreamKey) -> list[tuple[Any, ...]]:
    """A stream's delays by known day, in the order of `tables.open_actions.DayDelays`."""
    return (await run_bound(url, day_delays_sql("known_day"), *stream)).rows


async def residual_cells(
    url: str, stream: StreamKey, since: Any = None, until: Any = None, known_by: Any = None
) -> list[tuple[int, int, int, int]]:
    """Of settled outcomes, by 200th of confidence: cell, count, mass of it and of the next.

    Args:
        url: The database's address.
        stream: Whose outcomes.
        since: The first day of the actions, a date; None leaves it open.
        until: The last one.
        known_by: The last day of the settle times.
    """
    answer = await run_bound(url, _RESIDUALS, *stream, since, until, known_by)
    return [(cell, n, int(own), int(following)) for cell, n, own, following in answer.rows]


def _key(stream: StreamKey) -> dict[str, Any]:
    return dict(zip(_STREAM_NAMES, stream, strict=True))


def _named(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    return [row | {"tenant_id": str(row["tenant_id"])} for row in named]


def _told(values: Sequence[Any]) -> dict[str, Any]:
    """The sums of all and of lead records, and counts by status, from a row's end."""
    every, counts, lead = values[:8], values[8:12], values[12:]
    statuses = {name: n for name, n in zip(_COUNTS, counts, strict=True) if n}
    return {"all": _bin_sums(every), "lead": _bin_sums(lead), "counts": statuses}


def _bin_sums(values: Sequence[Any]) -> BinSums:
    told = dict(zip(_SUMS, map(int, values), strict=True))
    big = {name: str(told[name]) for name in ("spp", "excluded_spp")}
    return BinSums(**told | big)  # type: ignore[arg-type]  # the big ones travel as text


def _thirds(counts: Sequence[int]) -> list[list[int]]:
    return [list(counts[at : at + _THIRD]) for at in range(0, len(counts), _THIRD)]

"""What a shadow's rows say of streams beside what live says: verdict, alarms, thresholds.

Live's are decided, seen and followed, and no promotion changes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sinks.postgres.queries import run_bound
from sinks.postgres.row_types import STREAM_COLUMNS
from sinks.postgres.shadows import Shadow

_KEY = ", ".join(STREAM_COLUMNS)
_LIVE = f"""\
SELECT tenant_id::text, action_type, outcome_type, window_ms, confidence_source, verdict, n,
  log_evidence::float8, threshold::float8,
  (SELECT count(*) FROM tenant.calibration_alarms AS alarm
    WHERE ({", ".join(f"alarm.{name}" for name in STREAM_COLUMNS)})
      = ({", ".join(f"stream.{name}" for name in STREAM_COLUMNS)})),
  (SELECT count(*) FROM tenant.threshold_adjustments AS moved
    WHERE ({", ".join(f"moved.{name}" for name in STREAM_COLUMNS)})
      = ({", ".join(f"stream.{name}" for name in STREAM_COLUMNS)}))
FROM tenant.calibration_streams AS stream
WHERE $1::uuid[] IS NULL OR tenant_id = ANY($1) ORDER BY {_KEY}"""


@dataclass(frozen=True, slots=True)
class StreamView:
    """Where a stream stands: `evidence` is ln E over `n` lead records."""

    verdict: str
    n: int
    evidence: float
    threshold: float
    alarms: int
    adjustments: int


@dataclass(frozen=True, slots=True)
class ComparedStream:
    """A stream in live and in the shadow; None where one does not have it."""

    stream: tuple[str, str, str, int, str]
    live: StreamView | None
    shadow: StreamView | None


async def compared_streams(url: str, shadow: Shadow) -> list[ComparedStream]:
    """Every stream of what the shadow covers.

    Raises:
        PostgresProblem: Postgres is not there or refuses.
    """
    rows = (await run_bound(url, _LIVE, shadow.about["tenants"])).rows
    live = {tuple(row[:5]): StreamView(*row[5:]) for row in rows}
    own = {_stream_of(told): _view_of(told) for told in shadow.about.get("streams", [])}
    return [
        ComparedStream(stream, live.get(stream), own.get(stream))
        for stream in sorted(live.keys() | own.keys())
    ]


def _stream_of(told: Mapping[str, Any]) -> Any:
    return tuple(told[name] for name in STREAM_COLUMNS)


def _view_of(told: Mapping[str, Any]) -> StreamView:
    return StreamView(
        verdict=told["verdict"],
        n=told["n"],
        evidence=told["log_evidence_nanos"] / 1e9,
        threshold=told["threshold_millionths"] / 1e6,
        alarms=told["alarms"],
        adjustments=told["adjustments"],
    )

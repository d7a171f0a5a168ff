"""Bins counted anew from rows: as the calibrator counts, in exact integers, by the server.

Every settled outcome that calibrates enters its bin once; what says nothing (ambiguous; expired
where the policy says so) is counted apart. `all` and `lead` stand in a row of their own each.
"""

from sinks.postgres.sum_rows import (
    STREAM_BIN_KEYS,
    SUM_COLUMNS,
)

_MEANS = (
    "CASE outcome_status WHEN 'positive' THEN 1 WHEN 'negative' THEN 0"
    " WHEN 'expired' THEN CASE WHEN expired_counts THEN 0 END END"
)
_SUMS = {
    "n": "count(*) FILTER (WHERE y IS NOT NULL AND is_in)",
    "sp": "sum(p) FILTER (WHERE y IS NOT NULL AND is_in)",
    "spp": "sum(p * p) FILTER (WHERE y IS NOT NULL AND is_in)",
    "sy": "sum(y) FILTER (WHERE is_in)",
    "spy": "sum(p * y) FILTER (WHERE is_in)",
    "excluded_n": "count(*) FILTER (WHERE y IS NULL AND is_in)",
    "excluded_sp": "sum(p) FILTER (WHERE y IS NULL AND is_in)",
    "excluded_spp": "sum(p * p) FILTER (WHERE y IS NULL AND is_in)",
}
_COUNTED = "CASE record_set WHEN 'all' THEN count(*) FILTER (WHERE outcome_status = '{}') END"


MILLIONTHS = "floor(predicted_confidence * 1000000 + 0.5)::numeric(38, 0)"
"""An outcome's confidence, as it is summed."""


def bin_index_sql(millionths: str) -> str:
    """The bin that a confidence is in."""
    return f"least(floor({millionths} * 10 / 1000000), 9)::int"


def sums_sql(rows: str) -> str:
    """The bins of some rows of outcomes: keys, sums, counts by status, `last_settled_at`.

    Args:
        rows: A table or a subquery with the columns of `outcome_records`.
    """
    sums = [f"coalesce({_SUMS[name]}, 0)::numeric AS {name}" for name in _SUMS]
    counts = [
        f"{_COUNTED.format(name.removesuffix('_count'))} AS {name}"
        for name in SUM_COLUMNS
        if name not in _SUMS
    ]
    return f"""\
SELECT tenant_id, action_type, outcome_type, window_ms, confidence_source, bin_index, record_set,
  'settled' AS curve, {", ".join([*sums, *counts])}, max(settled_at) AS last_settled_at
FROM (
  SELECT *, {bin_index_sql("p")} AS bin_index,
    record_set = 'all' OR is_lead AS is_in
  FROM (
    SELECT *, {MILLIONTHS} AS p, {_MEANS} AS y,
      (extract(epoch FROM window_expires_at - created_at) * 1000)::bigint AS window_ms
    FROM {rows} AS outcomes
    WHERE is_settled AND calibrates AND predicted_confidence IS NOT NULL
  ) AS weighed CROSS JOIN (VALUES ('all'), ('lead')) AS sets (record_set)
) AS entered
GROUP BY {", ".join(STREAM_BIN_KEYS)}"""


FIRST_TIME_MS = -62_135_596_800_000
"""The year 1: nothing is older."""

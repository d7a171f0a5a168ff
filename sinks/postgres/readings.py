"""What readers ask of outcomes and calibration, answered in the contract's shapes.

Asked as `trueup_operator`, who sees every tenant, or as `trueup_api`, to whom row level security
shows the given tenant alone, whatever the statement says. Values are always bound.
"""

import json
from typing import Any, Literal

from agents_topics.identifiers import conversation_state_id_of, is_uuid
from agents_topics.shapes import CalibrationBin, CalibrationCurve, OutcomeRecord
from sinks.postgres.queries import Answer, ask

Role = Literal["trueup_operator", "trueup_api"]

_OUTCOME = ", ".join(OutcomeRecord.model_fields)
_PENDING = f"SELECT {_OUTCOME} FROM tenant.outcome_records WHERE outcome_status = 'pending'"
_PENDING_ORDER = " ORDER BY window_expires_at, id LIMIT "
OF_CONVERSATION = f"""\
SELECT {_OUTCOME} FROM tenant.outcome_records WHERE tenant_id = $1 AND conversation_state_id = $2
ORDER BY created_at, id LIMIT $3"""
BINS_OF_ACTION_TYPE = f"""\
SELECT {", ".join(CalibrationBin.model_fields)} FROM tenant.calibration_bins
WHERE tenant_id = $1 AND action_type = $2 ORDER BY bin_index"""


async def get_pending_outcomes(
    url: str,
    tenant_id: str | None = None,
    outcome_type: str | None = None,
    expired_only: bool = False,
    *,
    limit: int = 1000,
    role: Role = "trueup_operator",
) -> list[OutcomeRecord]:
    """Outcomes without a signal yet, those whose window closes first at the front.

    Args:
        url: The database's address.
        tenant_id: Of one tenant; else of all, which only an operator sees.
        outcome_type: Of one type.
        expired_only: Only overdue ones, whose window has closed by the database's clock.
        limit: At most so many.
        role: Who asks.
    """
    sql, *values = pending_sql(tenant_id, outcome_type, expired_only, limit)
    return _outcomes(await ask(url, role, tenant_id, sql, *values))


def pending_sql(
    tenant_id: str | None, outcome_type: str | None, expired_only: bool, limit: int
) -> tuple[Any, ...]:
    """The statement and its values: one condition for each filter given."""
    sql, values = _PENDING, []
    for column, value in (("tenant_id", tenant_id), ("outcome_type", outcome_type)):
        if value is not None:
            values.append(value)
            sql += f" AND {column} = ${len(values)}"
    if expired_only:
        sql += " AND window_expires_at <= now()"
    return (sql + _PENDING_ORDER + f"${len(values) + 1}", *values, limit)


async def get_outcomes_for_conversation(
    url: str,
    tenant_id: str,
    conversation_state_id: str,
    *,
    limit: int = 1000,
    role: Role = "trueup_operator",
) -> list[OutcomeRecord]:
    """Every outcome of a conversation, whatever its status, in the order of the actions.

    `conversation_state_id` is the conversation's UUID or its id.
    """
    state_id = (
        conversation_state_id
        if is_uuid(conversation_state_id)
        else conversation_state_id_of(tenant_id, conversation_state_id)
    )
    return _outcomes(await ask(url, role, tenant_id, OF_CONVERSATION, tenant_id, state_id, limit))


async def get_calibration_bins(
    url: str, tenant_id: str, action_type: str, *, role: Role = "trueup_operator"
) -> list[CalibrationBin]:
    """The bins of an action type that have had a record."""
    answer = await ask(url, role, tenant_id, BINS_OF_ACTION_TYPE, tenant_id, action_type)
    return [CalibrationBin(**row) for row in _named(answer)]


async def get_calibration_curve(
    url: str, tenant_id: str, action_type: str, *, role: Role = "trueup_operator"
) -> CalibrationCurve:
    """The settled curve of an action type over its streams, all ten bins."""
    bins = await get_calibration_bins(url, tenant_id, action_type, role=role)
    return CalibrationCurve.of_bins(action_type, bins)


def _outcomes(answer: Answer) -> list[OutcomeRecord]:
    return [
        OutcomeRecord(**row | {"metadata_json": json.loads(row["metadata_json"])})
        for row in _named(answer)
    ]


def _named(answer: Answer) -> list[dict[str, Any]]:
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]

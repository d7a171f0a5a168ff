"""Records of our output topics as rows.

The columns' names are the schema's, held to it by a test: a worker, which only writes rows, need
not load SQLAlchemy, which was a third of its start. Times stay integer milliseconds and UUIDs text
until the driver encodes them: this runs once for every outcome, and the values' classes would cost
more than the rows.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from agents_topics.events import BinSums, CalibrationUpdate, Outcome
from agents_topics.identifiers import conversation_state_id_of
from agents_topics.label_rates import LabelCounts, LabelRate

Row = tuple[Any, ...]
Record = tuple[int, bytes]

COLUMN_OF = {
    "id": "id",
    "tenant_id": "tenant_id",
    "conversation_id": "conversation_id",
    "action_type": "action_type",
    "action_id": "action_id",
    "predicted_confidence": "predicted_confidence",
    "confidence_label": "confidence_label",
    "confidence_source": "confidence_source",
    "outcome_type": "outcome_type",
    "status": "outcome_status",
    "score": "outcome_score",
    "signal_source": "signal_source",
    "decided_by": "decided_by",
    "created_at_ms": "created_at",
    "window_expires_at_ms": "window_expires_at",
    "settled_at_ms": "settled_at",
    "resolved_at_ms": "resolved_at",
    "known_at_ms": "known_at",
    "revision": "revision",
    "is_settled": "is_settled",
    "calibrates": "calibrates",
    "is_lead": "is_lead",
    "expired_counts": "expired_counts",
    "policy_version": "policy_version",
    "rep_id": "rep_id",
    "agent_id": "agent_id",
    "agent_version": "agent_version",
    "model": "model",
    "cost_usd": "cost_usd",
    "latency_ms": "latency_ms",
}
"""The column of each field of the event `Outcome` that has one."""

_ADDED = (
    "conversation_state_id",
    "metadata_json",
    "lineage",
    "output_partition",
    "output_offset",
)
OUTCOME_COLUMNS = (*COLUMN_OF.values(), *_ADDED)
"""The columns of an outcome's row: the event's fields in this order, then what follows from it."""

STREAM_BIN_COLUMNS = (
    "tenant_id", "action_type", "outcome_type", "window_ms", "confidence_source", "bin_index",
    "record_set", "curve", "n", "sp", "spp", "sy", "spy", "excluded_n", "excluded_sp",
    "excluded_spp", "positive_count", "negative_count", "ambiguous_count", "expired_count",
    "last_settled_at", "lineage", "output_partition", "output_offset",
)  # fmt: skip
"""The columns of a stream bin's row, in the order of `stream_bin_rows`."""


LABEL_RATE_COLUMNS = (
    "tenant_id", "action_type", "outcome_type", "window_ms", "confidence_source",
    "confidence_label", "record_set", "n", "positive_count", "negative_count", "ambiguous_count",
    "expired_count", "actual_rate", "last_settled_at", "lineage", "output_partition",
    "output_offset",
)  # fmt: skip
"""The columns of a label rate's row, in the order of `label_rate_rows`."""


def _outcome_struct() -> Any:
    """The contract's `Outcome` as a struct, its fields in the columns' order.

    A struct is decoded three times as fast as a dataclass and becomes a tuple in one call. The
    fields that are no columns stand last.
    """
    types = {
        field.name: (field.type,) if field.default is MISSING else (field.type, field.default)
        for field in fields(Outcome)
    }
    names = [*COLUMN_OF, *(name for name in types if name not in COLUMN_OF)]
    listed = [(name, *types[name]) for name in names]
    return msgspec.defstruct("StoredOutcome", listed, kw_only=True, gc=False)


_outcome = msgspec.json.Decoder(_outcome_struct()).decode
_update = msgspec.json.Decoder(CalibrationUpdate).decode
_label_rate = msgspec.json.Decoder(LabelRate).decode
# A text inside a value has its quotes escaped: only a field's name can look like this.
_OF_A_LABEL = b'"confidence_label":'
_json = msgspec.json.Encoder().encode
# Several outcomes of a conversation come close together, each in several revisions.
_state_id = lru_cache(maxsize=1 << 16)(conversation_state_id_of)


def last_outcomes(records: Iterable[Record]) -> tuple[list[tuple[int, Any]], int]:
    """The last record of each id, and how many were refused: a settled one is the last."""
    last: dict[str, tuple[int, Any]] = {}
    refused = 0
    for offset, value in records:
        outcome = _outcome(value)
        held = last.get(outcome.id)
        if held is not None and held[1].is_settled:
            refused += outcome != held[1]
        else:
            last[outcome.id] = (offset, outcome)
    return list(last.values()), refused


def outcome_row(outcome: Any, lineage: int, partition: int, offset: int) -> Row:
    """The row of `outcome_records`."""
    own = msgspec.structs.astuple(outcome)[: len(COLUMN_OF)]
    return (*own, *_added(outcome), lineage, partition, offset)


def replayed_row(outcome: Outcome, lineage: int, partition: int, offset: int) -> Row:
    """The same of an outcome that comes from the core itself, its fields in the event's order."""
    return (*_in_columns_order(outcome), *_added(outcome), lineage, partition, offset)


_in_columns_order = attrgetter(*COLUMN_OF)


def _added(outcome: Any) -> tuple[str, str]:
    return _state_id(outcome.tenant_id, outcome.conversation_id), _metadata(outcome)


def _metadata(outcome: Any) -> str:
    """What came with the action, and where its deal stood then."""
    if not outcome.metadata and outcome.deal_stage is None and outcome.interaction_count is None:
        return "{}"
    metadata = dict(outcome.metadata or {})
    if outcome.deal_stage is not None:
        metadata["deal_stage_at_creation"] = outcome.deal_stage
    if outcome.interaction_count is not None:
        metadata["interaction_count_at_creation"] = outcome.interaction_count
    return _json(metadata).decode()


def last_updates(records: Iterable[Record]) -> list[tuple[int, CalibrationUpdate]]:
    """The last record of each bin of each stream; records carry absolute sums."""
    last: dict[tuple[Any, ...], tuple[int, CalibrationUpdate]] = {}
    for offset, value in records:
        if _OF_A_LABEL in value:
            continue
        update = _update(value)
        last[
            update.tenant_id,
            update.action_type,
            update.outcome_type,
            update.window_ms,
            update.confidence_source,
            update.bin_index,
        ] = (offset, update)
    return list(last.values())


def stream_bin_rows(
    update: CalibrationUpdate, lineage: int, partition: int, offset: int
) -> tuple[Row, Row]:
    """The rows of `calibration_stream_bins`, in its columns' order: of all and of lead records."""
    counts = update.counts
    by_status = tuple(counts.get(s, 0) for s in ("positive", "negative", "ambiguous", "expired"))
    return (
        _stream_bin_row(update, "all", update.all, by_status, (lineage, partition, offset)),
        _stream_bin_row(update, "lead", update.lead, (None,) * 4, (lineage, partition, offset)),
    )


def _stream_bin_row(
    update: CalibrationUpdate,
    record_set: str,
    sums: BinSums,
    by_status: Sequence[int | None],
    version: tuple[int, int, int],
) -> Row:
    return (
        update.tenant_id,
        update.action_type,
        update.outcome_type,
        update.window_ms,
        update.confidence_source,
        update.bin_index,
        record_set,
        "settled",
        sums.n,
        sums.sp,
        sums.spp,
        sums.sy,
        sums.spy,
        sums.excluded_n,
        sums.excluded_sp,
        sums.excluded_spp,
        *by_status,
        update.last_settled_at_ms,
        *version,
    )


def last_label_rates(records: Iterable[Record]) -> list[tuple[int, LabelRate]]:
    """The last record of each label of each stream; records carry absolute counts."""
    last: dict[tuple[Any, ...], tuple[int, LabelRate]] = {}
    for offset, value in records:
        if _OF_A_LABEL not in value:
            continue
        rate = _label_rate(value)
        last[
            rate.tenant_id,
            rate.action_type,
            rate.outcome_type,
            rate.window_ms,
            rate.confidence_source,
            rate.confidence_label,
        ] = (offset, rate)
    return list(last.values())


def label_rate_rows(rate: LabelRate, lineage: int, partition: int, offset: int) -> tuple[Row, Row]:
    """The rows of `calibration_label_rates`, in its columns' order: of all and of lead records."""
    version = (lineage, partition, offset)
    return (
        _label_rate_row(rate, "all", rate.all, version),
        _label_rate_row(rate, "lead", rate.lead, version),
    )


def _label_rate_row(
    rate: LabelRate, record_set: str, counts: LabelCounts, version: tuple[int, int, int]
) -> Row:
    return (
        rate.tenant_id,
        rate.action_type,
        rate.outcome_type,
        rate.window_ms,
        rate.confidence_source,
        rate.confidence_label,
        record_set,
        counts.n,
        counts.positive,
        counts.negative,
        counts.ambiguous,
        counts.expired,
        counts.positive / counts.n if counts.n else None,
        rate.last_settled_at_ms,
        *version,
    )


def display_bin_id(tenant_id: str, action_type: str, bin_index: int) -> str:
    """The id of a row of `calibration_bins`: the same after every replay."""
    return str(uuid.uuid5(uuid.UUID(tenant_id), f"calibration_bins/{action_type}/{bin_index}"))

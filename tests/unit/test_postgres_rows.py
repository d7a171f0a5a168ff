"""Rows without a server: what is last, what is refused, what a list can do."""

from __future__ import annotations

import json
from dataclasses import fields

import msgspec
import pytest

from agents_topics.events import Outcome
from sinks.contract import OffsetMoved, SinkBusy
from sinks.memory import MemorySink, Stored
from sinks.postgres import statements
from sinks.postgres.migrate import print_sql
from sinks.postgres.rows import OUTCOME_COLUMNS, display_bin_id, last_outcomes, outcome_row
from sinks.postgres.schema import (
    CalibrationBinModel,
    CalibrationLabelRateModel,
    CalibrationStreamBinModel,
    OutcomeRecordModel,
    SinkOffsetModel,
    TenantBase,
    table_of,
)

WRITTEN = (
    (statements.OUTCOMES, OutcomeRecordModel),
    (statements.STREAM_BINS, CalibrationStreamBinModel),
    (statements.LABEL_RATES, CalibrationLabelRateModel),
)
TENANT = "a47951f0-e4ec-5f4c-8d0b-bc4430f8fee5"


def value(**changes: object) -> bytes:
    event: dict[str, object] = {field.name: None for field in fields(Outcome)}
    event |= {
        "id": "1",
        "tenant_id": TENANT,
        "conversation_id": "c",
        "action_id": "a",
        "action_type": "t",
        "outcome_type": "o",
        "predicted_confidence": 1,
        "confidence_source": "unknown",
        "status": "pending",
        "created_at_ms": 1,
        "window_expires_at_ms": 2,
        "settled_at_ms": 2,
        "revision": 0,
        "is_settled": False,
        "calibrates": True,
        "expired_counts": True,
        "policy_version": "v",
        "of_a_later_release": [1],
    }
    return json.dumps(event | changes).encode()


@pytest.mark.parametrize(("staged", "model"), WRITTEN)
def test_what_is_written_is_the_schemas_table(
    staged: statements.Staged, model: type[TenantBase]
) -> None:
    table = table_of(model)

    assert f"tenant.{staged.table}" == table.fullname
    assert sorted(staged.columns) == sorted(table.columns.keys())
    assert staged.keys == tuple(table.primary_key.columns.keys())


@pytest.mark.parametrize(("staged", "model"), WRITTEN[1:])
def test_the_rows_of_calibration_are_in_the_schemas_order(
    staged: statements.Staged, model: type[TenantBase]
) -> None:
    assert staged.columns == tuple(table_of(model).columns.keys())


def test_the_statements_that_are_written_out_name_what_the_schema_has() -> None:
    bins = statements.UPSERT_BINS
    listed = bins[bins.index("(") + 1 : bins.index(")")].split(",")

    assert [name.strip() for name in listed] == table_of(CalibrationBinModel).columns.keys()
    for statement in (statements.LOCK_OFFSET, statements.FIRST_OFFSET, statements.STORE_OFFSET):
        assert table_of(SinkOffsetModel).fullname in statement


def test_a_settled_record_stays_the_last_of_its_id() -> None:
    log = [
        value(),
        value(revision=1),
        value(revision=2, is_settled=True),
        value(revision=2, is_settled=True),
        value(revision=3),
    ]

    last, refused = last_outcomes(enumerate(log))

    assert [(offset, outcome.revision) for offset, outcome in last] == [(2, 2)]
    assert refused == 1


def test_a_row_has_a_value_for_every_column() -> None:
    ((offset, outcome),), _ = last_outcomes([(7, value(deal_stage="discovery"))])

    row = dict(zip(OUTCOME_COLUMNS, outcome_row(outcome, 0, 3, offset), strict=True))

    assert row["metadata_json"] == '{"deal_stage_at_creation":"discovery"}'
    assert (row["output_partition"], row["output_offset"]) == (3, 7)
    assert row["predicted_confidence"] == 1.0


def test_a_record_of_ours_that_cannot_be_read_is_a_bug_and_says_so() -> None:
    with pytest.raises(msgspec.ValidationError):
        last_outcomes([(0, b"{}")])


def test_ids_of_displayed_bins_do_not_change() -> None:
    assert display_bin_id(TENANT, "qualify", 7) == "2cd8df5a-69bd-5c1b-bf2c-ed6600a72ccb"


def test_no_statement_takes_the_time_or_dice_of_the_server() -> None:
    texts = [print_sql(), *(text for text in vars(statements).values() if isinstance(text, str))]

    for word in ("now()", "random", "current_timestamp", "clock_"):
        assert not [text for text in texts if word in text.lower()]


async def test_the_list_keeps_the_contract_of_every_sink() -> None:
    sink = MemorySink()

    await sink.write("outcomes", 1, 0, 3, [(0, b"a"), (2, b"b")])
    with pytest.raises(OffsetMoved) as moved:
        await sink.write("outcomes", 1, 0, 3, [(0, b"a"), (2, b"b")])
    sink.busy = SinkBusy("full", 0.1)
    with pytest.raises(SinkBusy):
        await sink.write("outcomes", 1, 3, 4, [(3, b"c")])

    assert moved.value.expected == 3
    assert sink.stored == [Stored("outcomes", 1, 0, b"a"), Stored("outcomes", 1, 2, b"b")]
    assert await sink.next_offsets(1, ["outcomes", "other"]) == {"outcomes": 3, "other": 0}

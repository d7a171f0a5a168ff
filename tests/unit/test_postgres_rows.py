"""Rows without a server: what is last, what is refused, what a list can do."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

import msgspec
import pytest

from agents_topics.events import Outcome
from sinks.contract import OffsetMoved, SinkBusy
from sinks.memory import MemorySink, Stored
from sinks.postgres import statements
from sinks.postgres.calibration_records import family_of, last_told
from sinks.postgres.migrate import print_sql
from sinks.postgres.outcome_rows import OUTCOME_COLUMNS, last_outcomes, outcome_row
from sinks.postgres.schema import (
    CalibrationAlarmModel,
    CalibrationBinModel,
    CalibrationCorrectionModel,
    CalibrationDayCorrectionModel,
    CalibrationDayModel,
    CalibrationDelayCorrectionModel,
    CalibrationDelayModel,
    CalibrationLabelCorrectionModel,
    CalibrationLabelRateModel,
    CalibrationMapModel,
    CalibrationSegmentCorrectionModel,
    CalibrationSegmentModel,
    CalibrationStreamBinModel,
    CalibrationStreamModel,
    CalibrationTrendModel,
    OutcomeRecordModel,
    SinkOffsetModel,
    TenantBase,
    ThresholdAdjustmentModel,
    table_of,
)
from sinks.postgres.sum_rows import display_bin_id
from tests.told import every_kind

WRITTEN = (
    (statements.OUTCOMES, OutcomeRecordModel),
    (statements.STREAM_BINS, CalibrationStreamBinModel),
    (statements.LABEL_RATES, CalibrationLabelRateModel),
    (statements.DAYS, CalibrationDayModel),
    (statements.SEGMENTS, CalibrationSegmentModel),
    (statements.DELAYS, CalibrationDelayModel),
    (statements.STREAMS, CalibrationStreamModel),
    (statements.ALARMS, CalibrationAlarmModel),
    (statements.ADJUSTMENTS, ThresholdAdjustmentModel),
    (statements.MAPS, CalibrationMapModel),
    (statements.TRENDS, CalibrationTrendModel),
)
CORRECTED = {
    "calibration_corrections": CalibrationCorrectionModel,
    "calibration_label_corrections": CalibrationLabelCorrectionModel,
    "calibration_day_corrections": CalibrationDayCorrectionModel,
    "calibration_segment_corrections": CalibrationSegmentCorrectionModel,
    "calibration_delay_corrections": CalibrationDelayCorrectionModel,
}
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


def test_a_record_is_told_by_its_kind_whatever_its_texts_look_like() -> None:
    for table, one in every_kind(TENANT).items():
        for value in (msgspec.json.encode(one), json.dumps(asdict(one)).encode()):
            family = family_of(value)

            assert family.staged.table == table
            assert family.decode(value) == one


def test_of_several_records_of_a_key_the_last_is_written() -> None:
    one, other = every_kind(TENANT, 1), every_kind(TENANT, 2)
    log = [msgspec.json.encode(told) for told in (*one.values(), *other.values())]

    assert last_told(enumerate(log)) == {
        table: [(len(one) + place, told)] for place, (table, told) in enumerate(other.items())
    }


def test_everything_of_calibration_is_written() -> None:
    assert {staged.table for staged in statements.CALIBRATION} == {
        staged.table for staged, _ in WRITTEN[1:]
    }


@pytest.mark.parametrize(
    "staged", [s for s in statements.CALIBRATION if s.corrections], ids=lambda s: s.table
)
def test_corrections_have_a_corrected_tables_key_and_its_sums(staged: statements.Staged) -> None:
    assert staged.corrections is not None
    table = table_of(CORRECTED[staged.corrections.table])

    assert table.name == staged.corrections.table
    assert tuple(table.primary_key.columns.keys()) == staged.keys
    assert sorted(set(table.columns.keys()) - set(staged.keys)) == sorted(
        {*staged.corrections.sums, *staged.corrections.lists}
    )


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

"""The named tables hold the named columns: type, length, null, default; indexes and constraints.

Written out here a second time, so that neither models nor migrations can drift from it. Two
defaults are left out on purpose: no generated id and no time of the server's clock, because a
replay would write other rows; and a number for the confidence, because it may be a word alone. The
tables may have more columns than these.
"""

import asyncpg
import pytest

from sinks.postgres.migrate import migrate

COLUMNS = {
    "outcome_records": """
        id                    uuid
        tenant_id             uuid
        conversation_state_id uuid
        action_type           varchar(50)
        action_id             varchar(100)   null
        predicted_confidence  float          null
        outcome_type          varchar(50)
        outcome_status        varchar(20)         'pending'
        outcome_score         float          null
        signal_source         varchar(20)    null
        window_expires_at     timestamptz    null
        resolved_at           timestamptz    null
        metadata_json         json                '{}'
        created_at            timestamptz
        """,
    "feedback_entries": """
        id                    uuid
        tenant_id             uuid
        outcome_record_id     uuid           null
        conversation_state_id uuid
        target_type           varchar(20)
        target_id             varchar(100)
        source                varchar(20)
        rating                integer
        comment               varchar(1000)  null
        reviewer_id           uuid
        reviewer_role         varchar(20)
        metadata_json         json                '{}'
        created_at            timestamptz
        """,
    "calibration_bins": """
        id                    uuid
        tenant_id             uuid
        action_type           varchar(50)
        bin_index             integer
        bin_lower             float
        bin_upper             float
        sample_count          integer             0
        outcome_sum           float               0
        actual_rate           float          null
        brier_contribution    float          null
        last_updated          timestamptz    null
        created_at            timestamptz
        """,
    "conversation_states": """
        id                    uuid
        tenant_id             uuid
        account_id            varchar(100)
        contact_id            varchar(100)
        contact_email         varchar(255)
        contact_name          varchar(200)   null
        deal_stage            varchar(50)         'prospecting'
        persona_type          varchar(20)         'manager'
        qualification_data    json                '{}'
        interaction_count     integer             0
        last_interaction      timestamptz    null
        last_channel          varchar(20)    null
        escalated             boolean             false
        escalation_reason     varchar(500)   null
        confidence_score      float               0.5
        next_actions          json                '[]'
        follow_up_scheduled   timestamptz    null
        metadata_json         json                '{}'
        created_at            timestamptz
        updated_at            timestamptz    null
        """,
}
INDEXES = {
    ("outcome_records", "tenant_id, action_type, created_at"),
    ("outcome_records", "tenant_id, outcome_status, created_at"),
    ("outcome_records", "tenant_id, outcome_type, outcome_status"),
    ("feedback_entries", "tenant_id, conversation_state_id"),
    ("feedback_entries", "tenant_id, reviewer_id, created_at"),
    ("calibration_bins", "tenant_id, action_type"),
    ("conversation_states", "tenant_id, account_id"),
    ("conversation_states", "tenant_id, deal_stage"),
}
UNIQUE = {
    ("uq_calibration_bin_tenant_action_bin", "UNIQUE (tenant_id, action_type, bin_index)"),
    ("uq_conversation_state_tenant_account_contact", "UNIQUE (tenant_id, account_id, contact_id)"),
}
SHORT = {
    "character varying": "varchar",
    "double precision": "float",
    "timestamp with time zone": "timestamptz",
}


@pytest.fixture(scope="module")
def url(database_url):
    migrate(database_url)
    return database_url


async def rows_of(url, sql, *values):
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql, *values)]
    finally:
        await connection.close()


@pytest.mark.parametrize("table", COLUMNS)
async def test_the_named_columns_are_as_named(url, table):
    found = await rows_of(
        url,
        "SELECT column_name, data_type, character_maximum_length, is_nullable,"
        " split_part(column_default, '::', 1) FROM information_schema.columns"
        " WHERE table_schema = 'tenant' AND table_name = $1",
        table,
    )

    told = {}
    for name, kind, length, nullable, default in found:
        kind = SHORT.get(kind, kind) + (f"({length})" if length else "")
        null = ["null"] if nullable == "YES" else []
        told[name] = [kind, *null, *([default] if default else [])]
    named = {name: rest for name, *rest in map(str.split, COLUMNS[table].strip().splitlines())}
    assert {name: told.get(name) for name in named} == named


async def test_the_named_indexes_and_constraints_are_there(url):
    indexes = await rows_of(
        url,
        "SELECT tablename, substring(indexdef FROM 'USING btree [(]([^)]*)[)]$')"
        " FROM pg_indexes WHERE schemaname = 'tenant'",
    )
    unique = await rows_of(
        url,
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'u' AND connamespace = 'tenant'::regnamespace",
    )

    assert set(indexes) >= INDEXES
    assert set(unique) == UNIQUE
    assert await rows_of(
        url,
        "SELECT DISTINCT tablename::text FROM pg_policies WHERE policyname = 'tenant_isolation'"
        " AND tablename = ANY($1) ORDER BY 1",
        list(COLUMNS),
    ) == [(table,) for table in sorted(COLUMNS)]

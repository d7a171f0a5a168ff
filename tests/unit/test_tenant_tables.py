"""The lists of tables that forgetting and a reset follow, held to the schema."""

from sinks.postgres.schema import TenantBase
from sinks.postgres.tenant_tables import MADE_AGAIN, NOT_DERIVED, OF_CONVERSATIONS, OF_TENANTS

TABLES = {table.name: set(table.columns.keys()) for table in TenantBase.metadata.sorted_tables}
WHO_MAY_READ = "reader_tenants"


def having(*columns):
    return {name for name, own in TABLES.items() if own >= set(columns)}


def test_every_table_with_a_tenant_is_forgotten_but_who_may_read_it():
    assert sorted(OF_TENANTS) == sorted(having("tenant_id") - {WHO_MAY_READ})


def test_every_table_with_a_conversation_is_forgotten_with_the_conversation():
    assert sorted(OF_CONVERSATIONS) == sorted(having("tenant_id", "conversation_state_id"))


def test_a_reset_empties_every_table_that_is_made_again():
    assert sorted(MADE_AGAIN) == sorted(TABLES.keys() - NOT_DERIVED - {WHO_MAY_READ})

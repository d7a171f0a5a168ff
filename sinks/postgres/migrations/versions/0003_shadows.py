"""Replays beside the live rows: their names, their rows, and what a promotion adds to bins."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TENANT_TABLES = ("shadow_outcome_records", "calibration_corrections")


def upgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    create()
    for table in TENANT_TABLES:
        protect(f"tenant.{table}")
    grant()
    op.execute("RESET ROLE")


def downgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    op.execute("REVOKE DELETE ON tenant.outcome_records FROM trueup_writer")
    for table in (*TENANT_TABLES, "shadows"):
        op.drop_table(table, schema="tenant")
    op.execute("RESET ROLE")


def create() -> None:
    op.execute("""\
CREATE TABLE tenant.shadows (
  name varchar(63) PRIMARY KEY, state varchar(20) NOT NULL, as_of timestamptz NOT NULL,
  lineage integer, about json NOT NULL)""")
    op.execute("""\
CREATE TABLE tenant.shadow_outcome_records (
  shadow varchar(63) NOT NULL, LIKE tenant.outcome_records INCLUDING DEFAULTS,
  PRIMARY KEY (shadow, id))""")
    op.execute("""\
CREATE TABLE tenant.calibration_corrections (
  LIKE tenant.calibration_stream_bins,
  PRIMARY KEY (tenant_id, action_type, outcome_type, window_ms, confidence_source, bin_index,
    record_set, curve))""")
    for column in ("last_settled_at", "lineage", "output_partition", "output_offset"):
        op.execute(f"ALTER TABLE tenant.calibration_corrections DROP COLUMN {column}")


def protect(table: str) -> None:
    """Row level security as of every table with tenants, for the owner too."""
    own = "tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid"
    given = (
        "tenant_id IN (SELECT given.tenant_id FROM tenant.reader_tenants AS given"
        " WHERE given.role_name = current_user)"
    )
    for statement in (
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant_isolation ON {table} USING ({own}) WITH CHECK ({own})",
        f"CREATE POLICY writer_all ON {table} TO trueup_writer USING (true) WITH CHECK (true)",
        f"CREATE POLICY operator_reads ON {table} FOR SELECT TO trueup_operator USING (true)",
        f"CREATE POLICY reader_tenant ON {table} AS RESTRICTIVE TO trueup_reader USING ({given})",
    ):
        op.execute(statement)


def grant() -> None:
    """Promotion takes away what its shadow does not have, and a shadow may be dropped."""
    op.execute("GRANT DELETE ON tenant.outcome_records TO trueup_writer")
    for table in (*TENANT_TABLES, "shadows"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON tenant.{table} TO trueup_writer")
        op.execute(f"GRANT SELECT ON tenant.{table} TO trueup_operator")
    for table in TENANT_TABLES:
        op.execute(f"GRANT SELECT ON tenant.{table} TO trueup_api, trueup_reader")

"""Trends: two a stream."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLE = "tenant.calibration_trends"


def upgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    op.execute(f"""\
CREATE TABLE {TABLE} (
  tenant_id uuid NOT NULL, action_type varchar(50) NOT NULL, outcome_type varchar(50) NOT NULL,
  window_ms bigint NOT NULL, confidence_source varchar(20) NOT NULL, metric varchar(20) NOT NULL,
  n bigint NOT NULL, previous_mean float8 NOT NULL, current_mean float8 NOT NULL,
  change_percent float8, direction varchar(20) NOT NULL, evidence varchar(20) NOT NULL,
  supported_direction varchar(20) NOT NULL, low float8, high float8,
  compared_count bigint NOT NULL, half_size bigint NOT NULL, compared_at timestamptz,
  lineage integer NOT NULL, output_partition integer NOT NULL, output_offset bigint NOT NULL,
  PRIMARY KEY (tenant_id, action_type, outcome_type, window_ms, confidence_source, metric))""")
    protect()
    grant()
    op.execute("RESET ROLE")


def downgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    op.drop_table("calibration_trends", schema="tenant")
    op.execute("RESET ROLE")


def protect() -> None:
    """Row level security as of every table with tenants, for the owner too."""
    own = "tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid"
    given = (
        "tenant_id IN (SELECT given.tenant_id FROM tenant.reader_tenants AS given"
        " WHERE given.role_name = current_user)"
    )
    for statement in (
        f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant_isolation ON {TABLE} USING ({own}) WITH CHECK ({own})",
        f"CREATE POLICY writer_all ON {TABLE} TO trueup_writer USING (true) WITH CHECK (true)",
        f"CREATE POLICY operator_reads ON {TABLE} FOR SELECT TO trueup_operator USING (true)",
        f"CREATE POLICY reader_tenant ON {TABLE} AS RESTRICTIVE TO trueup_reader USING ({given})",
    ):
        op.execute(statement)


def grant() -> None:
    """A replay takes away what an earlier one has written."""
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO trueup_writer")
    op.execute(f"GRANT SELECT ON {TABLE} TO trueup_operator, trueup_reader, trueup_api")

"""Confidences in words: a column of outcomes, and how often each word came true."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "tenant"
OUTCOMES = f"{SCHEMA}.outcome_records"
RATES = f"{SCHEMA}.calibration_label_rates"


def upgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    op.execute(f"ALTER TABLE {OUTCOMES} ALTER COLUMN predicted_confidence DROP NOT NULL")
    op.add_column("outcome_records", sa.Column("confidence_label", sa.String(50)), schema=SCHEMA)
    create_rates()
    protect()
    grant()
    op.execute("RESET ROLE")


def downgrade() -> None:
    """Outcomes without a number go: the column must be full. Without FORCE the owner sees all."""
    op.execute("SET LOCAL ROLE trueup_owner")
    op.drop_table("calibration_label_rates", schema=SCHEMA)
    op.execute(f"ALTER TABLE {OUTCOMES} NO FORCE ROW LEVEL SECURITY")
    op.execute(f"DELETE FROM {OUTCOMES} WHERE predicted_confidence IS NULL")
    op.execute(f"ALTER TABLE {OUTCOMES} FORCE ROW LEVEL SECURITY")
    op.drop_column("outcome_records", "confidence_label", schema=SCHEMA)
    op.execute(f"ALTER TABLE {OUTCOMES} ALTER COLUMN predicted_confidence SET NOT NULL")
    op.execute("RESET ROLE")


def create_rates() -> None:
    counts = ("n", "positive_count", "negative_count", "ambiguous_count", "expired_count")
    op.create_table(
        "calibration_label_rates",
        sa.Column("tenant_id", sa.Uuid(), primary_key=True),
        sa.Column("action_type", sa.String(50), primary_key=True),
        sa.Column("outcome_type", sa.String(50), primary_key=True),
        sa.Column("window_ms", sa.BigInteger(), primary_key=True),
        sa.Column("confidence_source", sa.String(20), primary_key=True),
        sa.Column("confidence_label", sa.String(50), primary_key=True),
        sa.Column("record_set", sa.String(10), primary_key=True),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        sa.Column("actual_rate", sa.Float()),
        sa.Column("last_settled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lineage", sa.Integer(), nullable=False),
        sa.Column("output_partition", sa.Integer(), nullable=False),
        sa.Column("output_offset", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "record_set IN ('all', 'lead')", "ck_calibration_label_rates_record_set"
        ),
        schema=SCHEMA,
    )


def protect() -> None:
    """Row level security as of every table with tenants, for the owner too."""
    own = "tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid"
    given = (
        "tenant_id IN (SELECT given.tenant_id FROM tenant.reader_tenants AS given"
        " WHERE given.role_name = current_user)"
    )
    for statement in (
        f"ALTER TABLE {RATES} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {RATES} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant_isolation ON {RATES} USING ({own}) WITH CHECK ({own})",
        f"CREATE POLICY writer_all ON {RATES} TO trueup_writer USING (true) WITH CHECK (true)",
        f"CREATE POLICY operator_reads ON {RATES} FOR SELECT TO trueup_operator USING (true)",
        f"CREATE POLICY reader_tenant ON {RATES} AS RESTRICTIVE TO trueup_reader USING ({given})",
    ):
        op.execute(statement)


def grant() -> None:
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {RATES} TO trueup_writer")
    op.execute(f"GRANT SELECT ON {RATES} TO trueup_operator, trueup_reader, trueup_api")

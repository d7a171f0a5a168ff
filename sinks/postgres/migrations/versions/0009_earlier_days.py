"""Day rows have an end: which of them hold the sums of all that was before."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STREAM = "tenant_id, action_type, outcome_type, window_ms, confidence_source"


def upgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    op.execute(
        "ALTER TABLE tenant.calibration_days ADD COLUMN holds_earlier boolean NOT NULL"
        " DEFAULT false"
    )
    op.execute(
        "CREATE INDEX ix_calibration_days_holds_earlier ON tenant.calibration_days"
        f" ({STREAM}, known_day) WHERE holds_earlier"
    )
    op.execute("RESET ROLE")


def downgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    op.drop_index("ix_calibration_days_holds_earlier", "calibration_days", schema="tenant")
    op.drop_column("calibration_days", "holds_earlier", schema="tenant")
    op.execute("RESET ROLE")

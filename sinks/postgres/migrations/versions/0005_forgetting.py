"""Forgetting: the writer may delete what is kept of a conversation or of a whole tenant."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = (
    "feedback_entries",
    "conversation_states",
    "calibration_stream_bins",
    "calibration_label_rates",
    "calibration_bins",
)


def upgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    for table in TABLES:
        op.execute(f"GRANT DELETE ON tenant.{table} TO trueup_writer")
    op.execute("RESET ROLE")


def downgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    for table in TABLES:
        op.execute(f"REVOKE DELETE ON tenant.{table} FROM trueup_writer")
    op.execute("RESET ROLE")

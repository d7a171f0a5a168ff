"""An action's outcomes are found by its id alone, as `explain` and `label` ask."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEX = "ix_outcome_records_action_id"


def upgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    op.create_index(INDEX, "outcome_records", ["action_id"], schema="tenant")
    op.execute("RESET ROLE")


def downgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    op.drop_index(INDEX, "outcome_records", schema="tenant")
    op.execute("RESET ROLE")

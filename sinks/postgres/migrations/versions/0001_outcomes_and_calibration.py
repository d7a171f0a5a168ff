"""Outcomes and calibration: the schema `tenant`, its roles, row level security and grants."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "tenant"
ROLES = ("trueup_owner", "trueup_writer", "trueup_api", "trueup_operator", "trueup_reader")
TENANT_TABLES = (
    "outcome_records",
    "feedback_entries",
    "calibration_stream_bins",
    "calibration_bins",
    "conversation_states",
    "reader_tenants",
)
WRITTEN_TABLES = (
    "outcome_records",
    "calibration_stream_bins",
    "calibration_bins",
    "feedback_entries",
    "conversation_states",
    "sink_offsets",
)


def upgrade() -> None:
    make_roles()
    op.execute("CREATE SCHEMA IF NOT EXISTS tenant AUTHORIZATION trueup_owner")
    op.execute("SET LOCAL ROLE trueup_owner")
    create_outcomes()
    create_calibration()
    create_conversations()
    create_administration()
    protect()
    grant()
    op.execute("RESET ROLE")


def downgrade() -> None:
    """The roles stay: they belong to the cluster, and another database may use them."""
    op.execute("SET LOCAL ROLE trueup_owner")
    for table in (*TENANT_TABLES, "sink_offsets"):
        op.drop_table(table, schema=SCHEMA)
    op.execute("DROP SCHEMA tenant")
    op.execute("RESET ROLE")


def make_roles() -> None:
    """Roles belong to the cluster, and the lock of migrations to a database: two may meet here."""
    for role in ROLES:
        op.execute(f"""\
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
    CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$""")
    # Since Postgres 16 to have made a role is to be its member, but not yet to be able to set it.
    op.execute("""\
DO $$ BEGIN
  IF NOT pg_has_role(current_user, 'trueup_owner', CASE
    WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
  THEN
    EXECUTE 'GRANT trueup_owner TO ' || quote_ident(current_user);
  END IF;
END $$""")
    # The writer stages its rows in temporary tables, which a careful DBA has taken from PUBLIC.
    op.execute("""\
DO $$ BEGIN
  IF NOT has_database_privilege('trueup_writer', current_database(), 'TEMPORARY') THEN
    EXECUTE 'GRANT TEMPORARY ON DATABASE ' || quote_ident(current_database())
      || ' TO trueup_writer';
  END IF;
END $$""")


def text_column(name: str, length: int, *, nullable: bool = False, **options: Any) -> Any:
    return sa.Column(name, sa.String(length), nullable=nullable, **options)


def time_column(name: str, *, nullable: bool = False) -> Any:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def json_column(name: str, empty: str = "{}") -> Any:
    return sa.Column(name, sa.JSON(), nullable=False, server_default=sa.text(f"'{empty}'::json"))


def id_column() -> Any:
    return sa.Column("id", sa.Uuid(), primary_key=True)


def tenant_column(**options: Any) -> Any:
    return sa.Column("tenant_id", sa.Uuid(), nullable=False, **options)


def version_columns() -> tuple[Any, ...]:
    return (
        sa.Column("lineage", sa.Integer(), nullable=False),
        sa.Column("output_partition", sa.Integer(), nullable=False),
        sa.Column("output_offset", sa.BigInteger(), nullable=False),
    )


def index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns), schema=SCHEMA)


def create_outcomes() -> None:
    op.create_table(
        "outcome_records",
        id_column(),
        tenant_column(),
        sa.Column("conversation_state_id", sa.Uuid(), nullable=False),
        text_column("conversation_id", 200),
        text_column("action_type", 50),
        text_column("action_id", 100, nullable=True),
        sa.Column("predicted_confidence", sa.Float(), nullable=False),
        text_column("confidence_source", 20),
        text_column("outcome_type", 50),
        text_column("outcome_status", 20, server_default="pending"),
        sa.Column("outcome_score", sa.Float()),
        text_column("signal_source", 20, nullable=True),
        text_column("decided_by", 100, nullable=True),
        time_column("created_at"),
        time_column("window_expires_at", nullable=True),
        time_column("settled_at"),
        time_column("resolved_at", nullable=True),
        time_column("known_at", nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("is_settled", sa.Boolean(), nullable=False),
        sa.Column("calibrates", sa.Boolean(), nullable=False),
        sa.Column("is_lead", sa.Boolean()),
        sa.Column("expired_counts", sa.Boolean(), nullable=False),
        text_column("policy_version", 64),
        text_column("rep_id", 100, nullable=True),
        text_column("agent_id", 100, nullable=True),
        text_column("agent_version", 100, nullable=True),
        text_column("model", 100, nullable=True),
        sa.Column("cost_usd", sa.Float()),
        sa.Column("latency_ms", sa.Float()),
        json_column("metadata_json"),
        *version_columns(),
        schema=SCHEMA,
    )
    index("outcome_records", "tenant_id", "action_type", "created_at")
    index("outcome_records", "tenant_id", "outcome_status", "created_at")
    index("outcome_records", "tenant_id", "outcome_type", "outcome_status")
    index("outcome_records", "tenant_id", "conversation_state_id", "created_at")
    op.create_index(
        "ix_outcome_records_pending",
        "outcome_records",
        ["window_expires_at", "tenant_id", "outcome_type"],
        schema=SCHEMA,
        postgresql_where=sa.text("outcome_status = 'pending'"),
    )
    op.create_table(
        "feedback_entries",
        id_column(),
        tenant_column(),
        sa.Column("outcome_record_id", sa.Uuid()),
        sa.Column("conversation_state_id", sa.Uuid(), nullable=False),
        text_column("target_type", 20),
        text_column("target_id", 100),
        text_column("source", 20),
        sa.Column("rating", sa.Integer(), nullable=False),
        text_column("comment", 1000, nullable=True),
        sa.Column("reviewer_id", sa.Uuid(), nullable=False),
        text_column("reviewer_role", 20),
        json_column("metadata_json"),
        time_column("created_at"),
        schema=SCHEMA,
    )
    index("feedback_entries", "tenant_id", "conversation_state_id")
    index("feedback_entries", "tenant_id", "reviewer_id", "created_at")


def create_calibration() -> None:
    sums = ("n", "sp", "spp", "sy", "spy", "excluded_n", "excluded_sp", "excluded_spp")
    counts = ("positive_count", "negative_count", "ambiguous_count", "expired_count")
    op.create_table(
        "calibration_stream_bins",
        tenant_column(primary_key=True),
        text_column("action_type", 50, primary_key=True),
        text_column("outcome_type", 50, primary_key=True),
        sa.Column("window_ms", sa.BigInteger(), primary_key=True),
        text_column("confidence_source", 20, primary_key=True),
        sa.Column("bin_index", sa.Integer(), primary_key=True),
        text_column("record_set", 10, primary_key=True),
        text_column("curve", 20, primary_key=True),
        *(sa.Column(name, sa.Numeric(38, 0), nullable=False) for name in sums),
        *(sa.Column(name, sa.BigInteger()) for name in counts),
        time_column("last_settled_at"),
        *version_columns(),
        sa.CheckConstraint("bin_index BETWEEN 0 AND 9", "ck_calibration_stream_bins_bin_index"),
        sa.CheckConstraint(
            "record_set IN ('all', 'lead')", "ck_calibration_stream_bins_record_set"
        ),
        sa.CheckConstraint(
            "curve IN ('settled', 'provisional')", "ck_calibration_stream_bins_curve"
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "calibration_bins",
        id_column(),
        tenant_column(),
        text_column("action_type", 50),
        sa.Column("bin_index", sa.Integer(), nullable=False),
        sa.Column("bin_lower", sa.Float(), nullable=False),
        sa.Column("bin_upper", sa.Float(), nullable=False),
        sa.Column("sample_count", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("outcome_sum", sa.Float(), nullable=False, server_default=sa.text("0")),
        sa.Column("actual_rate", sa.Float()),
        sa.Column("brier_contribution", sa.Float()),
        time_column("last_updated", nullable=True),
        time_column("created_at"),
        sa.UniqueConstraint(
            "tenant_id", "action_type", "bin_index", name="uq_calibration_bin_tenant_action_bin"
        ),
        schema=SCHEMA,
    )
    index("calibration_bins", "tenant_id", "action_type")


def create_conversations() -> None:
    op.create_table(
        "conversation_states",
        id_column(),
        tenant_column(),
        text_column("account_id", 100),
        text_column("contact_id", 100),
        text_column("contact_email", 255),
        text_column("contact_name", 200, nullable=True),
        text_column("deal_stage", 50, server_default="prospecting"),
        text_column("persona_type", 20, server_default="manager"),
        json_column("qualification_data"),
        sa.Column("interaction_count", sa.Integer(), nullable=False, server_default=sa.text("0")),
        time_column("last_interaction", nullable=True),
        text_column("last_channel", 20, nullable=True),
        sa.Column("escalated", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        text_column("escalation_reason", 500, nullable=True),
        sa.Column("confidence_score", sa.Float(), nullable=False, server_default=sa.text("0.5")),
        json_column("next_actions", "[]"),
        time_column("follow_up_scheduled", nullable=True),
        json_column("metadata_json"),
        time_column("created_at"),
        time_column("updated_at", nullable=True),
        sa.UniqueConstraint(
            "tenant_id",
            "account_id",
            "contact_id",
            name="uq_conversation_state_tenant_account_contact",
        ),
        schema=SCHEMA,
    )
    index("conversation_states", "tenant_id", "account_id")
    index("conversation_states", "tenant_id", "deal_stage")


def create_administration() -> None:
    op.create_table(
        "reader_tenants",
        text_column("role_name", 63, primary_key=True),
        tenant_column(primary_key=True),
        schema=SCHEMA,
    )
    op.create_table(
        "sink_offsets",
        text_column("topic", 249, primary_key=True),
        sa.Column("partition", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("lineage", sa.Integer(), nullable=False),
        schema=SCHEMA,
    )


def protect() -> None:
    """Row level security, for the owner too: without FORCE an owner sees every tenant.

    A reader writes SQL and so can call `set_config`: a restrictive policy narrows whatever the
    setting says to the tenants that the role was given.
    """
    own = "tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid"
    given = (
        "tenant_id IN (SELECT given.tenant_id FROM tenant.reader_tenants AS given"
        " WHERE given.role_name = current_user)"
    )
    for name in TENANT_TABLES:
        table = f"{SCHEMA}.{name}"
        allowed = "role_name = current_user" if name == "reader_tenants" else given
        for statement in (
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY tenant_isolation ON {table} USING ({own}) WITH CHECK ({own})",
            f"CREATE POLICY writer_all ON {table} TO trueup_writer USING (true) WITH CHECK (true)",
            f"CREATE POLICY operator_reads ON {table} FOR SELECT TO trueup_operator USING (true)",
            f"CREATE POLICY reader_tenant ON {table} AS RESTRICTIVE TO trueup_reader"
            f" USING ({allowed})",
        ):
            op.execute(statement)


def grant() -> None:
    op.execute("GRANT USAGE ON SCHEMA tenant TO trueup_writer, trueup_api")
    op.execute("GRANT USAGE ON SCHEMA tenant TO trueup_operator, trueup_reader")
    for name in WRITTEN_TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON tenant.{name} TO trueup_writer")
    for name in TENANT_TABLES:
        op.execute(f"GRANT SELECT ON tenant.{name} TO trueup_operator, trueup_reader")
        if name != "reader_tenants":
            op.execute(f"GRANT SELECT ON tenant.{name} TO trueup_api")
    op.execute("GRANT SELECT ON tenant.sink_offsets TO trueup_operator")

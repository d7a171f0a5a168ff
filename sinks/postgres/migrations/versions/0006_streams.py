"""Calibration in settle order: days, segments, delays, tests, alarms, thresholds and maps."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STREAM = """\
  tenant_id uuid NOT NULL, action_type varchar(50) NOT NULL, outcome_type varchar(50) NOT NULL,
  window_ms bigint NOT NULL, confidence_source varchar(20) NOT NULL"""
STREAM_KEY = "tenant_id, action_type, outcome_type, window_ms, confidence_source"
SUMS = """\
  n numeric(38, 0) NOT NULL, sp numeric(38, 0) NOT NULL, spp numeric(38, 0) NOT NULL,
  sy numeric(38, 0) NOT NULL, spy numeric(38, 0) NOT NULL, excluded_n numeric(38, 0) NOT NULL,
  excluded_sp numeric(38, 0) NOT NULL, excluded_spp numeric(38, 0) NOT NULL,
  positive_count bigint, negative_count bigint, ambiguous_count bigint, expired_count bigint"""
VERSION = """\
  lineage integer NOT NULL, output_partition integer NOT NULL, output_offset bigint NOT NULL"""
NUMBERED = f"{STREAM}, number integer NOT NULL"
BIN = "bin_index integer NOT NULL, record_set varchar(10) NOT NULL"
DAY = f"action_day date NOT NULL, known_day date NOT NULL, {BIN}"
SEGMENT = f"dimension varchar(100) NOT NULL, segment varchar(200) NOT NULL, {BIN}"
DELAYS = """\
  positive bigint[] NOT NULL, negative bigint[] NOT NULL, counts bigint[] NOT NULL,
  sum_ms numeric(38, 0) NOT NULL"""
LABEL = "confidence_label varchar(50) NOT NULL, record_set varchar(10) NOT NULL"
LABEL_COUNTS = """\
  n bigint NOT NULL, positive_count bigint NOT NULL, negative_count bigint NOT NULL,
  ambiguous_count bigint NOT NULL, expired_count bigint NOT NULL"""
STANDS = """\
  policy_version varchar(64) NOT NULL, tested_since_at timestamptz NOT NULL, n bigint NOT NULL,
  excluded_n bigint NOT NULL, log_evidence numeric(24, 9) NOT NULL,
  worst_log_evidence numeric(24, 9) NOT NULL, peak_log_evidence numeric(24, 9) NOT NULL,
  alarm_at timestamptz, verdict varchar(20) NOT NULL, is_calibrated boolean NOT NULL, error float8,
  error_low float8, error_high float8, map_a numeric(14, 6), map_b numeric(14, 6),
  map_adopted_at timestamptz, map_log_evidence numeric(24, 9) NOT NULL,
  threshold numeric(14, 6) NOT NULL, threshold_changed_at timestamptz,
  is_threshold_held boolean NOT NULL, reason text NOT NULL, last_settled_at timestamptz NOT NULL"""
ALARM = """\
  opened_at timestamptz NOT NULL, n bigint NOT NULL, log_evidence numeric(24, 9) NOT NULL,
  direction varchar(20) NOT NULL, direction_at_threshold varchar(20) NOT NULL, shape varchar(20),
  closed_at timestamptz, closed_by varchar(20)"""
ADJUSTMENT = """\
  adjusted_at timestamptz NOT NULL, cause varchar(20) NOT NULL, direction varchar(20) NOT NULL,
  magnitude float8 NOT NULL, old_threshold float8 NOT NULL, new_threshold float8 NOT NULL,
  reason text NOT NULL, map_a numeric(14, 6), map_b numeric(14, 6), n bigint NOT NULL,
  log_evidence numeric(24, 9) NOT NULL, expected_before float8, expected_after float8,
  observed_before float8, observed_after float8, observed_n_before bigint NOT NULL,
  observed_n_after bigint NOT NULL"""
MAP = """\
  adopted_at timestamptz NOT NULL, n bigint NOT NULL, form varchar(20) NOT NULL,
  map_a numeric(14, 6) NOT NULL, map_b numeric(14, 6) NOT NULL, rates float8[] NOT NULL"""

OF_A_DAY = f"{STREAM_KEY}, action_day, known_day, bin_index, record_set"
OF_A_SEGMENT = f"{STREAM_KEY}, dimension, segment, bin_index, record_set"
OF_A_LABEL = f"{STREAM_KEY}, confidence_label, record_set"
# table -> columns in their order, primary key
WRITTEN = {
    "calibration_streams": ((STREAM, STANDS, VERSION), STREAM_KEY),
    "calibration_days": ((STREAM, DAY, SUMS, VERSION), OF_A_DAY),
    "calibration_segments": ((STREAM, SEGMENT, SUMS, VERSION), OF_A_SEGMENT),
    "calibration_delays": ((STREAM, DELAYS, VERSION), STREAM_KEY),
    "calibration_alarms": ((NUMBERED, ALARM, VERSION), f"{STREAM_KEY}, number"),
    "threshold_adjustments": ((NUMBERED, ADJUSTMENT, VERSION), f"{STREAM_KEY}, number"),
    "calibration_maps": ((NUMBERED, MAP, VERSION), f"{STREAM_KEY}, number"),
}
CORRECTIONS = {
    "calibration_day_corrections": ((STREAM, DAY, SUMS), OF_A_DAY),
    "calibration_segment_corrections": ((STREAM, SEGMENT, SUMS), OF_A_SEGMENT),
    "calibration_delay_corrections": ((STREAM, DELAYS), STREAM_KEY),
    "calibration_label_corrections": ((STREAM, LABEL, LABEL_COUNTS), OF_A_LABEL),
}
CHECKED = ("calibration_days", "calibration_segments")
WITH_RESIDUALS = ("calibration_stream_bins", "calibration_corrections")
SUMMED_BEFORE = ("calibration_stream_bins", "calibration_label_rates")


def upgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    create()
    for table in (*WRITTEN, *CORRECTIONS):
        protect(f"tenant.{table}")
        grant(f"tenant.{table}")
    for table in SUMMED_BEFORE:
        op.execute(f"GRANT DELETE ON tenant.{table} TO trueup_writer")
    op.execute("RESET ROLE")


def downgrade() -> None:
    op.execute("SET LOCAL ROLE trueup_owner")
    for table in WITH_RESIDUALS:
        op.execute(f"ALTER TABLE tenant.{table} DROP COLUMN residuals")
    for table in (*WRITTEN, *CORRECTIONS):
        op.drop_table(table, schema="tenant")
    for table in SUMMED_BEFORE:
        op.execute(f"REVOKE DELETE ON tenant.{table} FROM trueup_writer")
    op.execute("RESET ROLE")


def create() -> None:
    for table, (columns, key) in (WRITTEN | CORRECTIONS).items():
        listed = ",\n".join(columns)
        op.execute(f"CREATE TABLE tenant.{table} (\n{listed},\n  PRIMARY KEY ({key}))")
    for table in CHECKED:
        op.execute(f"""\
ALTER TABLE tenant.{table}
  ADD CONSTRAINT ck_{table}_bin_index CHECK (bin_index BETWEEN 0 AND 9),
  ADD CONSTRAINT ck_{table}_record_set CHECK (record_set IN ('all', 'lead'))""")
    for table in WITH_RESIDUALS:
        op.execute(
            f"ALTER TABLE tenant.{table}"
            " ADD COLUMN residuals numeric(38, 0)[] NOT NULL DEFAULT '{}'"
        )
    op.execute("""\
CREATE INDEX ix_calibration_alarms_open ON tenant.calibration_alarms (opened_at, tenant_id)
  WHERE closed_at IS NULL""")


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


def grant(table: str) -> None:
    """A replay takes away what an earlier one has written."""
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO trueup_writer")
    op.execute(f"GRANT SELECT ON {table} TO trueup_operator, trueup_reader, trueup_api")

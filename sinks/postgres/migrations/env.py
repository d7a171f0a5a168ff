"""Alembic's environment: migrations are rendered as SQL, which `sinks.postgres.migrate` runs.

So what a DBA is shown by `trueup migrate --print` is what is run, and Alembic needs no driver.
"""

from alembic import context

VERSION_TABLE = "trueup_schema_version"

assert context.is_offline_mode(), "use sinks.postgres.migrate"
# The caller puts all migrations into one transaction of its own, behind a lock.
context.configure(
    dialect_name="postgresql",
    literal_binds=True,
    transactional_ddl=False,
    version_table=VERSION_TABLE,
    version_table_schema="public",
)
context.run_migrations()

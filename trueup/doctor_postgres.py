"""What `trueup doctor` looks at in Postgres."""

from collections.abc import Iterator

from sinks.postgres.health import Health, health_of
from sinks.postgres.migrate import newest_revision
from trueup.findings import Finding, clock, judged

_MIGRATE = "`trueup migrate` brings it up to date."


async def postgres(url: str) -> list[Finding]:
    """The checks of the database.

    Raises:
        PostgresProblem: Postgres is not there or refuses.
    """
    return list(_judged(await health_of(url)))


def _judged(health: Health) -> Iterator[Finding]:
    yield judged(
        "postgres",
        f"version {health.version} is older than 15" if health.is_too_old else None,
        f"answers, version {health.version}",
        "Use a newer one: views of older ones do not obey the reader's row level security.",
    )
    newest = newest_revision()
    has = f"is at {health.revision}, not {newest}" if health.revision else "there is none"
    yield judged("schema", None if health.revision == newest else has, f"at {newest}", _MIGRATE)
    if health.revision is None:
        return
    yield judged(
        "roles",
        f"missing: {', '.join(health.missing_roles)}" if health.missing_roles else None,
        "all five are there",
        "`trueup migrate --print` shows how a DBA makes them.",
    )
    yield judged(
        "writer",
        None if health.may_write else "this user may not become trueup_writer",
        "this user may become trueup_writer",
        "GRANT trueup_writer TO the user of DATABASE_URL.",
    )
    past = ", ".join(health.roles_past_security)
    bare = ", ".join(health.unprotected_tables)
    problem = f"{past} may pass it by" if past else f"not forced on {bare}" if bare else None
    fix = "ALTER ROLE … NOSUPERUSER NOBYPASSRLS." if past else _MIGRATE
    yield judged("row level security", problem, "forced on every table of a tenant", fix)
    yield clock("database's clock", health.clock_s, health.before_s, health.after_s)

"""How Postgres is reached: one address form for every use, TLS options (`sslmode=…`) included."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg

CONNECT_TIMEOUT_S = 10.0
_UNREADABLE = (
    "DATABASE_URL cannot be read: it is postgresql://user:password@host:port/database, and in the "
    "password / @ : and such are written as %2F %40 %3A"
)


class PostgresProblem(Exception):
    """Postgres cannot be reached or refuses a statement: says what it said."""


class StatementProblem(PostgresProblem):
    """The statement itself is wrong, wherever it is run."""


async def connect(url: str, **options: Any) -> Any:
    """A connection to `postgresql://user:password@host:port/database?sslmode=…`.

    Raises:
        ClientConfigurationError: the address cannot be read; what is wrong may be the password.
    """
    plain = url.replace("postgresql+asyncpg://", "postgresql://", 1)
    try:
        _ = urlsplit(plain).port
    except ValueError:
        raise asyncpg.ClientConfigurationError(_UNREADABLE) from None
    return await asyncpg.connect(plain, timeout=CONNECT_TIMEOUT_S, **options)


@contextmanager
def problems_told() -> Iterator[None]:
    """For commands that a person waits for: the driver's errors become `PostgresProblem`.

    Raises:
        PostgresProblem: There was one.
    """
    try:
        yield
    except OSError as problem:
        said = str(problem) or "no answer in time"
        raise PostgresProblem(
            f"Postgres: {said}; check DATABASE_URL, and that it runs."
        ) from problem
    except asyncpg.PostgresSyntaxError as problem:
        raise StatementProblem(f"Postgres: {problem}") from problem
    except (
        asyncpg.UndefinedTableError,
        asyncpg.InvalidSchemaNameError,
        asyncpg.InvalidParameterValueError,  # SET ROLE: no such role
    ) as problem:
        is_ours = any(name in str(problem) for name in ('"tenant', '"trueup_'))
        fix = "; `trueup migrate` makes schema and roles" if is_ours else ""
        raise PostgresProblem(f"Postgres: {problem}{fix}") from problem
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
        raise PostgresProblem(f"Postgres: {problem}") from problem

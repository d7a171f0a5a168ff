"""Which errors mean "come again": everything about the server's state, nothing about the data.

An error that is not listed is a programmer's: it stops the task loudly.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from sinks.contract import SinkBusy

SOON_S, LATER_S, AFTER_A_PERSON_S = 0.2, 1.0, 5.0

_COLLIDED = (
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.LockNotAvailableError,
)
_AWAY = (
    OSError,  # refused, reset, unreachable, no such host; TimeoutError is one of them
    EOFError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # stopped, starting, cancelled by an administrator
    asyncpg.InsufficientResourcesError,  # too many connections
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby: the primary moved
    asyncpg.PostgresSystemError,
)
_NOT_SET_UP = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,  # an unknown user, a wrong password
    asyncpg.InvalidParameterValueError,  # SET ROLE: no such role
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ClientConfigurationError,  # an address that cannot be read
)

BROKEN = asyncpg.InternalClientError
LOST = (asyncpg.InterfaceError, BROKEN)
"""The driver's words for misuse, and for a connection that ended between two statements."""


@asynccontextmanager
async def busy_while_away() -> AsyncIterator[None]:
    """Turns an operating error into `SinkBusy`, with a sentence that says what to do."""
    try:
        yield
    except _COLLIDED as problem:
        raise SinkBusy(f"Postgres: collided with another writer: {problem}", SOON_S) from problem
    except _NOT_SET_UP as problem:
        fix = "run `trueup migrate`, or check DATABASE_URL and the grants"
        raise SinkBusy(f"Postgres is not set up: {problem}; {fix}", AFTER_A_PERSON_S) from problem
    except asyncpg.DiskFullError as problem:
        told = f"Postgres has no room left on its disk: {problem}; make room, nothing is lost"
        raise SinkBusy(told, AFTER_A_PERSON_S) from problem
    except _AWAY as problem:
        raise SinkBusy(f"Postgres is away: {_words(problem)}", LATER_S) from problem


def _words(problem: BaseException) -> str:
    return str(problem) or "no answer in time"

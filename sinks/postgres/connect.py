"""How Postgres is reached: one address form for every use, TLS options (`sslmode=…`) included."""

from typing import Any

import asyncpg

CONNECT_TIMEOUT_S = 10.0


async def connect(url: str, **options: Any) -> Any:
    """A connection to `postgresql://user:password@host:port/database?sslmode=…`."""
    plain = url.replace("postgresql+asyncpg://", "postgresql://", 1)
    return await asyncpg.connect(plain, timeout=CONNECT_TIMEOUT_S, **options)

"""A real PostgreSQL for tests: one for the session."""

from __future__ import annotations

import atexit
import os
from functools import lru_cache

import pytest
from benchmarks.postgres_server import PLACES, PostgresServer

__all__ = ["PostgresServer", "postgres_server"]

IS_REQUIRED = os.environ.get("HEADWAY_REQUIRE_SERVERS") == "1"


def missing(reason: str) -> None:
    """Skip the test, or fail it where servers are required."""
    if IS_REQUIRED:
        pytest.fail(f"HEADWAY_REQUIRE_SERVERS=1, and {reason}")
    pytest.skip(reason)


@lru_cache(maxsize=1)
def _server() -> PostgresServer:
    server = PostgresServer(PLACES[0])
    atexit.register(server.remove)
    return server


def postgres_server() -> PostgresServer:
    """The server of this session; without one the test is skipped, or fails where servers are required."""
    try:
        import psycopg  # noqa: F401
    except ModuleNotFoundError:
        missing("psycopg is not installed: pip install 'headway[postgres]'")
    if not PLACES:
        missing("there is no PostgreSQL in /usr/lib/postgresql")
    return _server()

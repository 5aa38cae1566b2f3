"""A PostgreSQL server on a port and in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Final, Optional

from benchmarks.small_servers import SmallServer

__all__ = ["PLACES", "PostgresServer"]

PLACES: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
"""Where the programs of PostgreSQL are, the newest first."""


class PostgresServer(SmallServer):
    """A server that can be ended as by a crash too."""

    name = "postgres"

    def __init__(self, binaries: Optional[Path] = None) -> None:
        self._binaries = binaries or PLACES[0]
        super().__init__()

    def prepare(self) -> None:
        """Make an empty database."""
        if self.user():
            shutil.chown(self.directory, "postgres", "postgres")
        initdb = [str(self._binaries / "initdb"), "-D", str(self.directory / "data"), "-A", "trust", "-U", "postgres"]
        ran = subprocess.run(
            [*initdb, "--no-sync", "-E", "UTF8", "--locale=C"],
            check=False,
            capture_output=True,
            cwd=self.directory,
            timeout=60,
            **self.user(),  # type: ignore[call-overload]
        )
        assert ran.returncode == 0, ran.stderr.decode()

    def user(self) -> dict[str, str]:
        """The server does not run as root."""
        return {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """The number of its first process, of which the others are children."""
        assert self._process is not None
        return self._process.pid

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            "shared_buffers": "16MB",
            "fsync": "off",
            "wal_level": "logical",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._binaries / "postgres"), "-D", str(self.directory / "data"), *options]

    def is_ready(self) -> bool:
        """Whether it takes connections now."""
        import psycopg

        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def crash(self) -> None:
        """End all of it at once, without a checkpoint: what is not in its log is lost."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=self.ready_s)

    def query(self, text: str, *given: Any) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(text.encode(), given or None)
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> None:
        """As `crash`: its processes end themselves."""
        self.crash()

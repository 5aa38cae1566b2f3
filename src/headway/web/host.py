"""The process of an HTTP server: in this one, or a child that a run starts, watches and ends.

`serve` runs an application in this process until it is told to stop. `HostProcess` runs `python -m MODULE` beside a
run. The run must not suffer from its server, and the other way round: parsing, decoding and many connections take
their time in a process of their own, and whatever ends that process does not end the run. So

* the run's process binds and listens, and hands the socket on: a port in use is told before the first event, and while
  a server that died is started again clients wait in the queue of the socket, and get no refusal;
* a server that dies is started again, after pauses that grow to 5 seconds;
* it ends when the run does, however that ends: the pipe of its commands closes.

The module's side of it is `headway.web.child`.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Optional

import msgspec

from headway import errors
from headway.basics.utf8 import is_utf8
from headway.errors import ClusterError, HeadwayError, InternalError
from headway.web.addresses import Address, listen
from headway.web.limits import ConnectionLimits
from headway.web.middleware import Gate
from headway.web.problems import App

__all__ = ["READY", "HostFailure", "HostProcess", "HostSpec", "serve"]

log = logging.getLogger("headway")

_LOG_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
READY: Final = b"ready\n"
DRAIN_S: Final = 10.0
"""How long requests that are under way may take once a server is to stop."""
_START_S: Final = 60.0
_LEAST_PAUSE_S: Final = 0.1
_MOST_PAUSE_S: Final = 5.0
_GOOD_S: Final = 30.0
"""A server that lived for so long is started again at once."""


class HostFailure(msgspec.Struct, frozen=True):
    """The error that ended the process of a server, as it crosses to the run."""

    kind: str
    message: str


class HostSpec(msgspec.Struct, frozen=True):
    """What the process of a server is told, as its only argument."""

    options: dict[str, Any]
    """Of the module, as plain values. Other users of the machine can read them: no secrets."""
    search_path: list[str]
    sockets: list[int]
    command_fd: int
    status_fd: int


def serve(
    app: App,
    sockets: Sequence[socket.socket],
    *,
    gate: Optional[Gate] = None,
    limits: Optional[ConnectionLimits] = None,
    stopping: Callable[[], bool] = lambda: False,
    drain_s: float = DRAIN_S,
) -> None:
    """Serve an application in this process, until `stopping` says so; then requests under way may take `drain_s` more.

    `gate` is that with which the application was guarded. `stopping` is asked ten times a second. Needs the extra
    `serve`, see `headway.web.extras`.
    """
    import asyncio

    from uvicorn import Config, Server

    from headway.web.connections import bounded_protocol

    limits = limits or ConnectionLimits()
    shared = gate or Gate()

    class _Server(Server):
        def capture_signals(self) -> Any:
            """Signals are whose process this is."""
            return nullcontext()

        async def on_tick(self, counter: int) -> bool:
            if stopping():
                shared.drain()
                return True
            return await super().on_tick(counter)

    config = Config(
        app,
        http=bounded_protocol(limits),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=int(limits.head_s) + 1,
        timeout_graceful_shutdown=int(drain_s),
    )
    asyncio.run(_Server(config).serve(list(sockets)))


@dataclass
class HostProcess:
    """A server beside a run: `with HostProcess(...)` it takes requests inside the block.

    `module` is run as `python -m`, with `options` for it; `what` names it in messages, such as `--listen`. What it has
    to say goes to `log_path`. `pass_fds` are descriptors that it inherits besides.
    """

    module: str
    address: Address
    what: str
    options: dict[str, Any]
    log_path: Path
    pass_fds: Sequence[int] = ()
    restarts: int = 0
    """How often it was started again."""
    _sockets: list[socket.socket] = field(default_factory=list)
    _process: Optional[subprocess.Popen[bytes]] = None
    _command_fd: int = -1
    _status_fd: int = -1
    _ended: threading.Event = field(default_factory=threading.Event)
    _watcher: Optional[threading.Thread] = None

    def __enter__(self) -> HostProcess:
        """Start it; returns once it takes requests.

        Raises `UsageError` when the address cannot be had, the `HeadwayError` that the process ended with, and
        `ClusterError` when it says nothing within a minute.
        """
        self._sockets = [listen(self.address, self.what)]
        try:
            self._start()
        except BaseException:
            self._end(drain_s=0)
            raise
        self._watcher = threading.Thread(target=self._watch, name=f"headway-{self.what}", daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Let it finish what is under way, and end it."""
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()
        self._end(drain_s=0 if error is not None else DRAIN_S)

    @property
    def url(self) -> str:
        """Where it is, with the port that it has got."""
        host, port = self._sockets[0].getsockname()[:2]
        return f"http://{Address(host, port)}"

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def _start(self) -> None:
        command_read, self._command_fd = os.pipe()
        self._status_fd, status_write = os.pipe()
        spec = HostSpec(
            options=self.options,
            search_path=[place for place in sys.path if is_utf8(place)],
            sockets=[sock.fileno() for sock in self._sockets],
            command_fd=command_read,
            status_fd=status_write,
        )
        log_fd = -1
        try:
            log_fd = os.open(self.log_path, _LOG_FLAGS, 0o600)
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, msgspec.json.encode(spec).decode()],
                pass_fds=(*spec.sockets, command_read, status_write, *self.pass_fds),
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                start_new_session=True,
            )
        except OSError as error:
            msg = (
                f"the server of {self.what} cannot be started: {error}; free memory, processes or disk, then run again"
            )
            raise ClusterError(msg) from error
        finally:
            for descriptor in (command_read, status_write, log_fd):
                if descriptor >= 0:
                    os.close(descriptor)
        self._await_ready()

    def _await_ready(self) -> None:
        said = b""
        until = time.monotonic() + _START_S
        os.set_blocking(self._status_fd, False)
        while time.monotonic() < until:
            try:
                piece = os.read(self._status_fd, 65_536)
            except BlockingIOError:
                if self._ended.wait(0.01):
                    return
                continue
            said += piece
            if said.startswith(READY):
                return
            if not piece:
                raise self._failure(said)
        msg = f"the server of {self.what} did not get ready within {_START_S:.0f} s; its log is {self.log_path}"
        raise ClusterError(msg)

    def _failure(self, said: bytes) -> HeadwayError:
        if said:
            failure = msgspec.json.decode(said, type=HostFailure)
            error: HeadwayError = getattr(errors, failure.kind, InternalError)(failure.message)
            return error
        assert self._process is not None
        code = self._process.wait()
        return ClusterError(f"the server of {self.what} ended with code {code} at its start; see {self.log_path}")

    def _watch(self) -> None:
        """Start it again whenever it ends before it is told to."""
        pause_s = _LEAST_PAUSE_S
        began = time.monotonic()
        while not self._ended.wait(0.05):
            assert self._process is not None
            code = self._process.poll()
            if code is None:
                continue
            pause_s = _LEAST_PAUSE_S if time.monotonic() - began > _GOOD_S else min(2 * pause_s, _MOST_PAUSE_S)
            log.warning(
                "the server of %s ended (%s) and is started again; its log is %s", self.what, code, self.log_path
            )
            self._close_pipes()
            if self._ended.wait(pause_s):
                return
            self.restarts += 1
            began = time.monotonic()
            try:
                self._start()
            except (HeadwayError, OSError) as error:
                log.warning("the server of %s could not start: %s", self.what, error)

    def _end(self, *, drain_s: float) -> None:
        for sock in self._sockets:
            sock.close()
        process, self._process = self._process, None
        self._close_pipes()  # That is the command to drain.
        if process is not None:
            try:
                process.wait(drain_s or 1.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _close_pipes(self) -> None:
        for descriptor in (self._command_fd, self._status_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._command_fd = self._status_fd = -1

"""The child's side of what `headway.web.host` describes: `run_child` is the whole `main` of a server's module."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec

from headway.errors import HeadwayError, InternalError, public_class
from headway.web.host import READY, HostFailure, HostSpec

__all__ = ["Child", "run_child"]

_MESSAGE_MAX = 20_000


@dataclass
class Child:
    """What the process of a server has been given."""

    options: dict[str, Any]
    sockets: list[socket.socket]
    _command_fd: int
    _status_fd: int

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        threading.Thread(target=self._listen, name="headway-commands", daemon=True).start()

    def stopping(self) -> bool:
        """Whether the run has ended, or asks to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End this process as if it had been asked to; the run starts it again."""
        self._stop.set()

    def ready(self) -> None:
        """Say that requests are taken."""
        os.write(self._status_fd, READY)

    def fail(self, error: BaseException) -> NoReturn:
        """Say why it cannot go on, and end."""
        if isinstance(error, HeadwayError):
            failure = HostFailure(public_class(error).__name__, str(error)[:_MESSAGE_MAX])
        else:
            text = "".join(traceback.format_exception(error)).rstrip()
            failure = HostFailure(InternalError.__name__, f"unexpected error in a server\n{text}"[:_MESSAGE_MAX])
            traceback.print_exception(error)
        try:
            os.write(self._status_fd, msgspec.json.encode(failure))
            sys.stderr.flush()
        finally:
            os._exit(getattr(error, "exit_code", InternalError.exit_code))

    def _listen(self) -> None:
        while os.read(self._command_fd, 1):
            pass
        self._stop.set()


def run_child(work: Callable[[Child], None]) -> None:
    """Run a server's process: `work` makes the application, calls `ready`, and serves until `stopping`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    spec = msgspec.json.decode(sys.argv[1], type=HostSpec)
    child = Child(
        spec.options, [socket.socket(fileno=number) for number in spec.sockets], spec.command_fd, spec.status_fd
    )
    sys.path.extend(place for place in spec.search_path if place not in sys.path)
    try:
        work(child)
    except BaseException as error:
        child.fail(error)
    sys.stdout.flush()
    os._exit(0)

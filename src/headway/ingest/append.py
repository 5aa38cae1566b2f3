"""Appending to a source's inbox from a command: by way of the server of a run where there is one, else by itself.

A log has one writer. While a run listens that is its server, and it takes batches on a socket in the state directory,
with the same answers as by HTTP. While none does, the command writes itself, and lets the log go every few seconds, so
that a server that starts meanwhile need not wait. Either way the same bytes are parsed, checked and committed.
"""

from __future__ import annotations

import http.client
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Optional

import msgspec

from headway.errors import InputError, LockedStateError, StateError, UsageError
from headway.inbox.commits import ConflictError, Inbox
from headway.ingest.bodies import parse, parts_behind, translated
from headway.ingest.door import Door, RefusedError
from headway.ingest.server import open_when_free, socket_path
from headway.web.problems import ProblemError, Scope

__all__ = ["Appending", "Batch", "Taken", "envelope"]

_HOLD_S: Final = 5.0
_PAUSE_S: Final = 0.2
_PATIENCE_S: Final = 60.0
"""How long a server may be busy, or be started again."""
_SOCKET_S: Final = 60.0


@dataclass(frozen=True)
class Batch:
    """Some events as the body of a request, and the key that makes it safe to send it again."""

    content_type: str
    body: bytes
    key: Optional[str]
    numbers: Sequence[int]
    """Which lines of the file they are, from 1."""
    behind: str = ""
    """What the path of the request has behind that of the source, with its query."""

    @property
    def first_line(self) -> int:
        """The number of its first line."""
        return self.numbers[0]

    @property
    def headers(self) -> dict[str, str]:
        """Those of the request."""
        keyed = {} if self.key is None else {"idempotency-key": self.key}
        return {"content-type": self.content_type, "host": "localhost", **keyed}


class Taken(msgspec.Struct, frozen=True):
    """What became of a batch."""

    events: int
    position: int
    duplicates: int


class _Receipt(msgspec.Struct, frozen=True):
    duplicate: bool


class _Answer(msgspec.Struct, frozen=True):
    position: int
    duplicate: bool
    events: int
    receipts: list[_Receipt] = []


class _Problem(msgspec.Struct, frozen=True):
    detail: str
    errors: list[dict[str, Any]] = []


class Appending:
    """Appends batches to a source, as long as the block lasts. Raises `InputError` for an event that is refused."""

    def __init__(self, door: Door, state_dir: Path) -> None:
        self._door = door
        self._state_dir = state_dir
        self._partition = door.input.partition_of(None)
        self._inbox: Optional[Inbox] = None
        self._held_since = 0.0
        self._connection: Optional[_Connection] = None

    def __enter__(self) -> Appending:
        return self

    def __exit__(self, *about: object) -> None:
        self.let_go()
        if self._connection is not None:
            self._connection.close()

    def append(self, batch: Batch) -> Taken:
        """Make a batch durable. Waits while a server is busy or is started again, for up to a minute."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self._try(batch)
            except (_BusyError, OSError, http.client.HTTPException, LockedStateError) as error:
                if self._connection is not None and not isinstance(error, _BusyError):
                    self._connection.close()
                    self._connection = None
                if time.monotonic() > until:
                    lines = f"the batch that begins at line {batch.first_line} could not be appended: {error}"
                    msg = f"{lines}; run it again, with --id-field so that nothing doubles"
                    if batch.behind:
                        msg = f"the log of requests takes nothing: {error}; run the command again"
                    raise StateError(msg) from error
                time.sleep(_PAUSE_S)

    def _try(self, batch: Batch) -> Taken:
        if self._inbox is not None and time.monotonic() - self._held_since > _HOLD_S:
            self.let_go()
            time.sleep(_PAUSE_S)  # A server that waits gets it.
        if self._inbox is None and self._connection is None:
            self._connection = _connected(socket_path(self._state_dir))
        if self._connection is not None:
            return self._by_server(batch, self._connection)
        if self._inbox is None:
            self._inbox = open_when_free(self._door, self._partition, within_s=0)
            self._held_since = time.monotonic()
        return self._by_itself(batch, self._inbox)

    def _by_server(self, batch: Batch, connection: _Connection) -> Taken:
        connection.request("POST", self._door.input.path + batch.behind, batch.body, batch.headers)
        response = connection.getresponse()
        body = response.read()
        if response.status == 200:
            told = msgspec.json.decode(body, type=_Answer)
            if not told.receipts:
                return Taken(told.events, told.position, told.events if told.duplicate else 0)
            return Taken(told.events, told.position, sum(receipt.duplicate for receipt in told.receipts))
        problem = msgspec.json.decode(body, type=_Problem)
        if response.status in (429, 503, 507):
            raise _BusyError(problem.detail)
        raise _refused(batch, problem.detail, problem.errors)

    def _by_itself(self, batch: Batch, inbox: Inbox) -> Taken:
        scope: Scope = {"headers": [(name.encode(), value.encode()) for name, value in batch.headers.items()]}
        try:
            path = self._door.input.path
            translator = self._door.input.translator
            if translator is None:
                parsed = parse(scope, batch.body, self._door.input.envelope)
            else:
                behind, _, query = batch.behind.partition("?")
                scope["query_string"] = query.encode()
                parts = parts_behind({"raw_path": (path + behind).encode()}, path)
                parsed = translated(scope, batch.body, translator, parts)
            self._door.check(parsed.lines, parsed.records)
        except ProblemError as error:
            raise _refused(batch, error.detail, error.more.get("errors", [])) from None
        except RefusedError as error:
            raise _refused(batch, str(error), error.refusals) from None
        outcome = inbox.commit([parsed.items])[0]
        if isinstance(outcome, ConflictError):
            raise _refused(batch, str(outcome), [{"index": outcome.number, "reason": str(outcome)}])
        if isinstance(outcome, StateError):
            raise outcome
        sizes = [item.records for item in parsed.items]
        duplicates = sum(size for size, receipt in zip(sizes, outcome) if receipt.duplicate)
        return Taken(parsed.records, max(receipt.position for receipt in outcome), duplicates)

    def let_go(self) -> None:
        """Let others write, such as a server that starts; the next batch takes the log again."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            inbox.close()


class _BusyError(Exception):
    """The server takes nothing now."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__("localhost", timeout=_SOCKET_S)
        self.sock = sock
        self.auto_open = 0


def _connected(path: Path) -> Optional[_Connection]:
    """A connection to the server of a run; None where there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(_SOCKET_S)
    try:
        if len(os.fsencode(path)) <= 100:
            sock.connect(str(path))
        else:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                sock.connect(f"/proc/self/fd/{folder}/{path.name}")
            finally:
                os.close(folder)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    return _Connection(sock)


def _refused(batch: Batch, detail: str, errors: list[Any]) -> InputError:
    if batch.behind:  # One request, and no line of a file.
        return InputError(detail)
    if not errors:
        return InputError(f"the batch that begins at line {batch.first_line} is refused: {detail}")
    line = batch.numbers[int(errors[0]["index"])]
    more = f" (and {len(errors) - 1} more in its batch)" if len(errors) > 1 else ""
    msg = (
        f"line {line} is refused: {errors[0]['reason']}{more}; nothing from line {batch.first_line} on was appended: "
        "correct it, and run it again with --id-field, or from that line on"
    )
    return InputError(msg)


def envelope(line: bytes, id_field: str, number: int) -> bytes:
    """A line as a CloudEvent whose id is a field of it. Raises `UsageError` where there is no such field."""
    try:
        found = msgspec.json.decode(line)
        value = found[id_field]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, IndexError):
        msg = (
            f"line {number} has no field {id_field!r}, or is no JSON object: --id-field names one that all events have"
        )
        raise UsageError(msg) from None
    identity = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    head = msgspec.json.encode(
        {"specversion": "1.0", "source": "headway-ingest", "type": "ingest", "id": f"{id_field}={identity}"}
    )
    return head[:-1] + b',"data":' + line + b"}"

"""How processes that are started by hand agree on the key of their run, before the engine opens its port.

All of them share the state directory, and in it the *secret*, which the first process makes there: who can read that
file can read the state as well. The key of a run must be new, or a recorded run could be played back to the next one.
So process 0 makes it, and hands it out on the port that the engine will use a moment later:

    process i → 0    hello, i, a random number of process i
    process 0 → i    a random number of the run, and a hash of both numbers and i under the secret
    process i → 0    another such hash
    process 0 → i    go, once all have come

Each side has seen the other prove that it knows the secret, over a number that it has just made itself: a recorded
talk convinces nobody. The key is a hash of the run's number under the secret, so who only listens does not learn it.
A talk takes some seconds at most: who connects and says nothing holds others up for that long.
"""

from __future__ import annotations

import hmac
import logging
import os
import socket
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from headway.errors import ClusterError, ForeignPeerError, StateError
from headway.state.private import read_private, write_private

__all__ = ["agree_on_key", "has_secret", "make_secret", "read_secret"]

log = logging.getLogger("headway")

SECRET_NAME: Final = "cluster-secret"
_SECRET_BYTES: Final = 32
_HELLO: Final = b"headway1"
_GO: Final = b"g"
_TALK_S: Final = 2.0
_DIAL_AGAIN_S: Final = 0.05

Clock = Callable[[], float]


def has_secret(directory: Path) -> bool:
    """Whether process 0 has made the secret of a state directory."""
    return (directory / SECRET_NAME).exists()


def make_secret(directory: Path) -> bytes:
    """The secret of a state directory, made where there is none. For the process that holds the lock."""
    if not has_secret(directory):
        write_private(directory / SECRET_NAME, os.urandom(_SECRET_BYTES).hex().encode() + b"\n")
    return read_secret(directory)


def read_secret(directory: Path) -> bytes:
    """The secret of a state directory.

    Raises `StateError` when it is not there, is no secret, or when others than its owner may read it.
    """
    path = directory / SECRET_NAME
    try:
        mode = path.lstat().st_mode
        text = read_private(path).decode("ascii").strip()
        secret = bytes.fromhex(text)
    except FileNotFoundError:
        msg = f"{path} does not exist: process 0 makes it; do all processes share the directory {directory}?"
        raise StateError(msg) from None
    except ValueError:
        secret = b""
    if len(secret) != _SECRET_BYTES:
        msg = f"{path} holds no secret of {_SECRET_BYTES} bytes: remove it, and process 0 makes a new one"
        raise StateError(msg)
    if stat.S_IMODE(mode) & 0o077:
        msg = (
            f"{path} has mode {stat.S_IMODE(mode):04o}, so others may read it: remove it, and process 0 makes a new one"
        )
        raise StateError(msg)
    return secret


def agree_on_key(
    secret: bytes,
    index: int,
    addresses: list[str],
    *,
    within_s: float,
    stopping: Callable[[], bool] = lambda: False,
    clock_s: Clock = time.monotonic,
) -> bytes:
    """The key of this run of processes that listen at `addresses`; returns once all of them have it.

    Raises `ClusterError` when not all come within `within_s` seconds, or when one knows another secret.
    """
    wait = _Wait(clock_s() + within_s, clock_s, stopping)
    nonce = _host(secret, addresses, wait) if index == 0 else _join(secret, index, addresses[0], wait)
    return hmac.digest(secret, b"headway run" + nonce, "sha256")


class _Wait:
    """How long to wait for others."""

    def __init__(self, until_s: float, clock_s: Clock, stopping: Callable[[], bool]) -> None:
        self._until_s = until_s
        self._clock_s = clock_s
        self._stopping = stopping

    def goes_on(self) -> bool:
        """Whether there is time left; raises `ClusterError` when the run is to stop."""
        if self._stopping():
            msg = "stopped before all processes of the cluster had come; nothing was read"
            raise ClusterError(msg)
        return self._clock_s() < self._until_s


def _host(secret: bytes, addresses: list[str], wait: _Wait) -> bytes:
    """As process 0: let the others come, then let all go."""
    nonce = os.urandom(_SECRET_BYTES)
    come: dict[int, socket.socket] = {}
    refused = ""
    with ExitStack() as held:
        listener = held.enter_context(_listener(addresses[0]))
        while len(come) < len(addresses) - 1 and wait.goes_on():
            try:
                connection, origin = listener.accept()
            except TimeoutError:
                continue
            held.callback(connection.close)
            try:
                other = _admit(secret, nonce, connection, len(addresses))
            except (OSError, ValueError) as error:
                connection.close()
                refused = f"; the last connection that was refused came from {origin[0]}:{origin[1]}: {error}"
                log.warning("a connection from %s:%s to %s was refused: %s", *origin[:2], addresses[0], error)
            else:
                come[other] = connection
        missing = [str(other) for other in range(1, len(addresses)) if other not in come]
        if missing:
            msg = f"process {', '.join(missing)} of {len(addresses)} has not come: start it too{refused}"
            raise ClusterError(msg)
        # The engine needs the port: nobody may dial it before this listener is gone.
        listener.close()
        try:
            for connection in come.values():
                connection.sendall(_GO)
        except OSError as error:
            msg = f"a process has gone before all had come ({error.strerror}): start all again"
            raise ClusterError(msg) from error
    return nonce


def _admit(secret: bytes, nonce: bytes, connection: socket.socket, processes: int) -> int:
    """The number of the process at the other end; raises `ValueError` when it does not know the secret."""
    connection.settimeout(_TALK_S)
    hello = _receive(connection, len(_HELLO) + 2 + _SECRET_BYTES)
    other = int.from_bytes(hello[len(_HELLO) :][:2], "big")
    theirs = hello[len(_HELLO) + 2 :]
    if not hello.startswith(_HELLO) or not 0 < other < processes:
        msg = "it is no process of this cluster"
        raise ValueError(msg)
    connection.sendall(nonce + _proof(secret, b"host", nonce, theirs, other))
    if not hmac.compare_digest(_receive(connection, _SECRET_BYTES), _proof(secret, b"join", nonce, theirs, other)):
        msg = f"it says that it is process {other}, but does not know the secret of this state directory"
        raise ValueError(msg)
    return other


def _join(secret: bytes, index: int, address: str, wait: _Wait) -> bytes:
    """As another process: dial process 0 until it listens, and wait for its word to go."""
    told = False
    while wait.goes_on():
        try:
            with socket.create_connection(_parts_of(address), timeout=_TALK_S) as connection:
                nonce = _introduce(secret, index, connection, address)
                while wait.goes_on():
                    with suppress(TimeoutError):
                        _receive(connection, len(_GO))
                        return nonce
        except OSError as error:  # It does not listen yet, or it has ended and is started again.
            if not told:
                log.warning("process %d waits for process 0 at %s: %s", index, address, error.strerror or error)
                told = True
            time.sleep(_DIAL_AGAIN_S)
    msg = f"process {index} has waited in vain for process 0 at {address}: start all processes, with the same addresses"
    raise ClusterError(msg)


def _introduce(secret: bytes, index: int, connection: socket.socket, address: str) -> bytes:
    """The number of the run, from a process 0 that has proved that it knows the secret."""
    ours = os.urandom(_SECRET_BYTES)
    connection.sendall(_HELLO + index.to_bytes(2, "big") + ours)
    answer = _receive(connection, 2 * _SECRET_BYTES)
    nonce, proof = answer[:_SECRET_BYTES], answer[_SECRET_BYTES:]
    if not hmac.compare_digest(proof, _proof(secret, b"host", nonce, ours, index)):
        msg = (
            f"what listens at {address} does not know the secret of this state directory: it is another program, or a "
            "process 0 with another directory; all processes need the same --addresses and share one --state"
        )
        raise ForeignPeerError(msg)
    connection.sendall(_proof(secret, b"join", nonce, ours, index))
    return nonce


def _proof(secret: bytes, side: bytes, nonce: bytes, theirs: bytes, index: int) -> bytes:
    return hmac.digest(secret, side + index.to_bytes(2, "big") + nonce + theirs, "sha256")


def _receive(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes; raises `OSError` when they do not come, in time or at all."""
    received = b""
    until_s = time.monotonic() + _TALK_S
    while len(received) < size:
        connection.settimeout(max(0.001, until_s - time.monotonic()))
        piece = connection.recv(size - len(received))
        if not piece:
            msg = "it was closed in the middle of the talk"
            raise ConnectionError(msg)
        received += piece
    return received


def _listener(address: str) -> socket.socket:
    host, port = _parts_of(address)
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(place[:2], family=family)
    except OSError as error:
        msg = f"process 0 cannot listen at {address}: {error.strerror or error}; give a free port of this machine"
        raise ClusterError(msg) from error
    listener.settimeout(_DIAL_AGAIN_S)
    return listener


def _parts_of(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)

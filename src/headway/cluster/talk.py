"""Connections between the supervisors of a cluster: whoever talks has proved that he knows the cluster's secret.

**The greeting.** Each side sends a random number, and then a hash of both numbers under the secret. So each has seen
the other prove that it knows the secret, over a number that it has made itself a moment ago: a recorded greeting
convinces nobody. From both numbers and the secret follow two keys, one for each direction.

**Messages** are MessagePack, behind their length and a keyed hash (HMAC with SHA-256) over their number in this
connection and their bytes. One that was changed, left out, repeated or sent back to its sender ends the connection.
Nothing is encrypted: what supervisors say to each other is no secret, and neither is the key of a run among it, which
both sides compute.

**Silence.** Each side sends at least a beat each second, from a thread of its own. A side that has said nothing for
`silent_after_ms` is lost, whatever the reason: its machine is gone, its network is cut in one direction or in both, or
its process is stopped. The connection is closed then, so that what comes later is heard by nobody.
"""

from __future__ import annotations

import hmac
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Optional

import msgspec

from headway.cluster.messages import BEAT, Message, decode, encode
from headway.errors import ForeignPeerError

__all__ = ["Line", "accept", "dial", "proof"]

_HELLO: Final = b"headway cluster 1"
_NUMBER_BYTES: Final = 32
_HASH_BYTES: Final = 32
_LENGTH_BYTES: Final = 4
_MESSAGE_MAX: Final = 256 << 20
_GREET_S: Final = 5.0
_BEAT_S: Final = 1.0

Heard = Callable[[Optional[Message]], None]
"""Hears each message, and None once the connection is gone."""


class Line:
    """One connection whose other side has proved itself.

    `heard` is called from a thread of the line, for each message in order, and last with None.
    """

    def __init__(self, connection: socket.socket, keys: tuple[bytes, bytes], silent_after_ms: int, origin: str) -> None:
        self.origin = origin
        """The address at the other end."""
        self.heard_s = time.monotonic()
        """When the other side was last heard, on the clock of `time.monotonic`."""
        self._connection = connection
        self._own_key, self._other_key = keys
        self._silent_s = silent_after_ms / 1000
        self._sent = 0
        self._sending = threading.Lock()
        self._closed = threading.Event()
        self._why = ""

    def open(self, heard: Heard) -> None:
        """Begin to listen and to beat."""
        # Neither thread may wait for longer than the other side may be silent.
        self._connection.settimeout(self._silent_s)
        threading.Thread(target=self._listen, args=(heard,), name="headway-line", daemon=True).start()
        threading.Thread(target=self._beat, name="headway-beat", daemon=True).start()

    def send(self, message: Message) -> None:
        """Send a message. One that cannot be sent closes the line, and whoever listens hears of that."""
        body = encode(message)
        with self._sending:
            digest = _digest(self._own_key, self._sent, body)
            self._sent += 1
            try:
                self._connection.sendall(len(body).to_bytes(_LENGTH_BYTES, "big") + digest + body)
            except OSError as error:
                self.close(error.strerror or "it does not take what is sent")

    def close(self, why: str = "closed") -> None:
        """End the connection; again does nothing."""
        if not self._closed.is_set():
            self._why = why
            self._closed.set()
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            self._connection.close()

    @property
    def why(self) -> str:
        """Why the connection has ended."""
        return self._why

    def _beat(self) -> None:
        while not self._closed.wait(min(_BEAT_S, self._silent_s / 4)):
            self.send(BEAT)

    def _listen(self, heard: Heard) -> None:
        received = 0
        try:
            while not self._closed.is_set():
                length = int.from_bytes(self._take(_LENGTH_BYTES), "big")
                if length > _MESSAGE_MAX:
                    self.close("it sent something else than messages")
                    break
                digest = self._take(_HASH_BYTES)
                body = self._take(length)
                if not hmac.compare_digest(digest, _digest(self._other_key, received, body)):
                    self.close("a message was changed, left out or repeated")
                    break
                received += 1
                self.heard_s = time.monotonic()
                message = decode(body)
                if message != BEAT:
                    heard(message)
        except TimeoutError:
            self.close(f"nothing was heard of it for {self._silent_s:g} s")
        except (OSError, msgspec.DecodeError) as error:
            self.close(getattr(error, "strerror", None) or str(error) or "it has ended")
        finally:
            self.close("it sent something else than messages")
            heard(None)

    def _take(self, size: int) -> bytes:
        """Exactly `size` bytes; raises `TimeoutError` when they do not come before the other side counts as silent."""
        until_s = time.monotonic() + self._silent_s
        received = bytearray()
        while len(received) < size:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            piece = self._connection.recv(min(size - len(received), 1 << 20))
            if not piece:
                msg = "it has ended the connection"
                raise ConnectionError(msg)
            received += piece
            until_s = time.monotonic() + self._silent_s
        return bytes(received)


def _digest(key: bytes, number: int, body: bytes) -> bytes:
    return hmac.digest(key, number.to_bytes(8, "big") + body, "sha256")


def proof(secret: bytes, what: bytes, *parts: bytes) -> bytes:
    """A hash that only who knows the secret can make."""
    return hmac.digest(secret, what + b"".join(parts), "sha256")


def accept(connection: socket.socket, secret: bytes, silent_after_ms: int) -> Line:
    """Greet somebody who has dialled; raises `ForeignPeerError` unless he knows the secret, `OSError` if he is gone."""
    origin = _name_of(connection)
    connection.settimeout(_GREET_S)
    hello = _exactly(connection, len(_HELLO) + _NUMBER_BYTES)
    if not hello.startswith(_HELLO):
        msg = f"what has dialled from {origin} is no supervisor of Headway"
        raise ForeignPeerError(msg)
    theirs, ours = hello[len(_HELLO) :], os.urandom(_NUMBER_BYTES)
    connection.sendall(ours + proof(secret, b"accept", theirs, ours))
    if not hmac.compare_digest(_exactly(connection, _HASH_BYTES), proof(secret, b"dial", theirs, ours)):
        msg = f"what has dialled from {origin} does not know the secret of the cluster"
        raise ForeignPeerError(msg)
    keys = proof(secret, b"from accept", theirs, ours), proof(secret, b"from dial", theirs, ours)
    return Line(connection, keys, silent_after_ms, origin)


def dial(ip: str, port: int, secret: bytes, silent_after_ms: int) -> Line:
    """Dial the coordinator; raises `ForeignPeerError` unless it knows the secret, `OSError` where nobody listens."""
    connection = socket.create_connection((ip, port), timeout=_GREET_S)
    try:
        ours = os.urandom(_NUMBER_BYTES)
        connection.sendall(_HELLO + ours)
        answer = _exactly(connection, _NUMBER_BYTES + _HASH_BYTES)
        theirs = answer[:_NUMBER_BYTES]
        if not hmac.compare_digest(answer[_NUMBER_BYTES:], proof(secret, b"accept", ours, theirs)):
            msg = f"what listens at {ip}:{port} does not know the secret of this cluster"
            raise ForeignPeerError(msg)
        connection.sendall(proof(secret, b"dial", ours, theirs))
    except BaseException:
        connection.close()
        raise
    keys = proof(secret, b"from dial", ours, theirs), proof(secret, b"from accept", ours, theirs)
    return Line(connection, keys, silent_after_ms, f"{ip}:{port}")


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    until_s = time.monotonic() + _GREET_S
    while len(received) < size:
        connection.settimeout(max(0.001, until_s - time.monotonic()))
        piece = connection.recv(size - len(received))
        if not piece:
            msg = "the connection was closed in the greeting: is its secret another one?"
            raise ConnectionError(msg)
        received += piece
    return received


def _name_of(connection: socket.socket) -> str:
    try:
        name: Any = connection.getpeername()
    except OSError as error:
        msg = "a connection was gone before it was greeted"
        raise ForeignPeerError(msg) from error
    return f"{name[0]}:{name[1]}"

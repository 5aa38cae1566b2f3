"""The hosts that have dialled the coordinator: who they are, what they say, and when one is gone."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, NamedTuple, Optional

from headway.cluster.hosts import Hosts
from headway.cluster.messages import Hello, Message, Order, Refused, Standing, What
from headway.cluster.talk import Line, accept
from headway.errors import ClusterError, ForeignPeerError

__all__ = ["Closed", "Peer", "PeerGone", "Peers"]

log = logging.getLogger("headway")

_LISTEN_S: Final = 0.1
_LIVES_S: Final = 1.0
"""What was sent before somebody came may be heard for so long after that."""


class Closed(BaseException):
    """The coordinator is to end."""


class PeerGone(Exception):
    """A host is not there any more; `host` is its name."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(f"host {host} is gone: {why}")
        self.host = host


@dataclass
class Peer:
    """A host that is there."""

    line: Line
    hello: Hello
    standing: Standing
    """What it has in its state directory now."""
    still_ms: int = 0
    """How long nothing has moved in any of them."""


class _Newcomer(NamedTuple):
    """A host that has come, and waits to be let in."""

    line: Line
    hello: Hello
    came_s: float


class Peers:
    """The hosts that are there, by name; for one thread, but for what listens."""

    def __init__(self, hosts: Hosts) -> None:
        self.names = [host.name for host in hosts.hosts]
        self._hosts = hosts
        self._secret = hosts.secret_bytes()
        self._heard: queue.Queue[tuple[Optional[Line], Optional[Message]]] = queue.Queue()
        self._there: dict[str, Peer] = {}
        self._newcomers: list[_Newcomer] = []
        self._orders = 0
        self._listener: Optional[socket.socket] = None
        self._lock = threading.Lock()
        self._lines: set[Line] = set()
        """All connections, also of those who have not been let in."""
        self._closed = threading.Event()

    def start(self) -> None:
        """Listen for hosts. Raises `ClusterError` when the port cannot be had."""
        first = self._hosts.first
        family = socket.AF_INET6 if ":" in first.ip else socket.AF_INET
        try:
            self._listener = socket.create_server((first.ip, first.port), family=family, backlog=64)
        except OSError as error:
            msg = (
                f"host {first.name} cannot listen at {first.address} ({error.strerror or error}): the address must be "
                "one of this machine, and its port free"
            )
            raise ClusterError(msg) from error
        threading.Thread(target=self._accept, name="headway-door", daemon=True).start()

    def close(self) -> None:
        """End all connections, and whatever waits for a message."""
        self._closed.set()
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # Whoever waits in `accept` is woken by that alone.
            self._listener.close()
        self._heard.put((None, None))
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.close("the coordinator has ended")

    def __getitem__(self, host: str) -> Peer:
        """A host that is there. Raises `PeerGone` for one that is not."""
        if host not in self._there:
            raise PeerGone(host, "it has not come again")
        return self._there[host]

    def __contains__(self, host: str) -> bool:
        return host in self._there

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._there.values()))

    @property
    def missing(self) -> list[str]:
        """The hosts that are not there."""
        return [name for name in self.names if name not in self._there]

    def let_go(self, host: str) -> None:
        """Expect nothing more of a host."""
        self._there.pop(host, None)

    def order(self, host: str, what: What) -> int:
        """Give an order to a host; returns the number of its answer. Raises `PeerGone`."""
        self._orders += 1
        self[host].line.send(Order(number=self._orders, what=what))
        return self._orders

    def tell_all(self, message: Message) -> None:
        """Say something to all hosts that are there."""
        for peer in self:
            peer.line.send(message)

    def next(self, timeout_s: float) -> Optional[tuple[str, Message]]:
        """The next message of a host; None when there is none in time. Hosts that come are let in.

        Raises `PeerGone` when one has gone, and `Closed`.
        """
        self._admit_newcomers()
        try:
            line, message = self._heard.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if self._closed.is_set() or line is None:
            raise Closed
        host = next((name for name, peer in self._there.items() if peer.line is line), None)
        if message is None:
            with self._lock:
                self._lines.discard(line)
            self._newcomers = [one for one in self._newcomers if one.line is not line]
            if host is not None:
                self._leave(host, line.why)
            return None
        if isinstance(message, Hello):
            self._welcome(line, message)
            return None
        if host is None:
            return None  # It was refused, or has been taken for gone.
        return host, message

    def _leave(self, host: str, why: str) -> None:
        del self._there[host]
        raise PeerGone(host, why)

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._greet, args=(connection,), name="headway-greeting", daemon=True).start()
            except (OSError, RuntimeError):  # Out of descriptors, or of threads.
                if not self._closed.is_set():
                    time.sleep(_LISTEN_S)

    def _greet(self, connection: socket.socket) -> None:
        """Let somebody in who knows the secret; whoever does not cannot hold others up."""
        try:
            line = accept(connection, self._secret, self._hosts.silent_after_ms)
        except (OSError, ForeignPeerError) as error:
            log.warning("a connection to host %s was refused: %s", self._hosts.first.name, error)
            connection.close()
            return
        with self._lock:
            if self._closed.is_set():
                line.close("the coordinator has ended")
                return
            self._lines.add(line)
        line.open(lambda message: self._heard.put((line, message)))

    def _welcome(self, line: Line, hello: Hello) -> None:
        name = hello.host
        own = version("headway")
        why = ""
        if name not in self.names:
            why = f"the hosts file of {self._hosts.first.name} has no host {name!r}: put the same file on all hosts"
        elif hello.digest != self._hosts.digest:
            why = (
                f"the hosts file of {name} is not that of {self._hosts.first.name}: put the same file on all hosts, "
                "and start them anew"
            )
        elif hello.version != own:
            first = self._hosts.first.name
            why = f"host {name} has Headway {hello.version}, and host {first} has {own}: install the same on all hosts"
        if why:
            self._refuse(line, name, why)
            return
        self._newcomers.append(_Newcomer(line, hello, time.monotonic()))
        self._admit_newcomers()

    def _refuse(self, line: Line, name: str, why: str) -> None:
        log.warning("host %s from %s was refused: %s", name, line.origin, why)
        line.send(Refused(why=why))

    def _admit_newcomers(self) -> None:
        """Let in who has come, once it is known that nobody else is there under that name.

        A connection whose machine has lost its power, or of which one direction was cut, ends only after a while. So a
        host that comes again may find itself there: it waits until that one is gone, or has proved to live.
        """
        waiting, self._newcomers = self._newcomers, []
        gone = ""
        for one in waiting:
            name = one.hello.host
            there = self._there.get(name)
            if there is None:
                self._there[name] = Peer(one.line, one.hello, one.hello.standing)
            elif there.hello.process == one.hello.process:
                there.line.close("it has dialled again")
                gone = name
                del self._there[name]
                self._newcomers.append(one)
            elif there.line.heard_s > one.came_s + _LIVES_S:
                why = f"there is a host {name} already, at {there.line.origin}: stop that one first"
                self._refuse(one.line, name, why)
            else:
                self._newcomers.append(one)
        if gone:
            raise PeerGone(gone, "it has dialled again")

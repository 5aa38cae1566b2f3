"""Whether the workers of one machine are connected with each other, and with nobody else.

The engine takes whoever connects first for a peer, and sends it events. So the supervisor looks into the system's
table of connections before the first batch is made: at the other end of each connection to a worker's port must be
another of its workers. The table names the two ends and the socket, and each process's directory in `/proc` names its
sockets.

Only Linux has such a table. Elsewhere nothing is looked at, and what is sealed stays sealed (`headway.runtime.seal`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NamedTuple, Optional

from headway.errors import ForeignPeerError

__all__ = ["Connection", "connections", "free_addresses", "has_listened", "have_met", "meetings", "stranger"]

_TABLE: Final = Path("/proc/net/tcp")
_LISTENING: Final = "0A"
_PAST: Final = "06"
"""What is left of a connection for a minute after its end."""
_NO_SOCKET: Final = "0"
_LOOKS: Final = 3


class Connection(NamedTuple):
    """One row of the system's table: a socket, or what is left of one."""

    local: str
    remote: str
    state: str
    user: str
    inode: str
    """Its number; 0 while nobody has accepted it, or when its process has closed it."""

    @property
    def port(self) -> int:
        """The port at this end."""
        return int(self.local.rpartition(":")[2], 16)


def connections(table: Path = _TABLE) -> Optional[list[Connection]]:
    """All rows of the table of IPv4; None where the system has none."""
    try:
        lines = table.read_text("ascii").splitlines()[1:]
    except OSError:
        return None
    rows = (line.split() for line in lines)
    return [Connection(row[1], row[2], row[3], row[7], row[9]) for row in rows]


def has_listened(table: Iterable[Connection], port: int) -> bool:
    """Whether a socket of this machine listens on the port, or did so: it stops as soon as its peers have come."""
    return any(row.port == port and row.state != _PAST for row in table)


def sockets_of(pid: int) -> Optional[set[str]]:
    """The numbers of the sockets that a process has open, none when it is gone; None where the system does not tell."""
    found = set()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):  # It has just been closed.
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    except PermissionError:
        return None
    except OSError:
        return set()
    return found


def have_met(addresses: Sequence[str], pids: Sequence[int]) -> bool:
    """Whether each worker, of those that listen at `addresses`, is connected with each other one.

    Where the system does not tell, they are taken to have met. Raises `ForeignPeerError` when one has accepted a
    connection of somebody else.
    """
    ports = [int(address.rpartition(":")[2]) for address in addresses]
    found: set[Optional[str]] = set()
    # The table is not of one moment: it may have one end of a connection without the other. Not three times, though.
    for _ in range(_LOOKS):
        table = connections()
        # In this order: whoever has a connection in the table has had its socket before.
        sockets = [sockets_of(pid) for pid in pids]
        if table is None or None in sockets:
            return True
        workers = [(port, owned or set()) for port, owned in zip(ports, sockets)]
        found.add(stranger(table, workers))
        if None in found:
            return len(meetings(table, workers)) == len(pids) * (len(pids) - 1) // 2
    raise ForeignPeerError(found.pop() or "")


def meetings(table: Sequence[Connection], workers: Sequence[tuple[int, set[str]]]) -> set[tuple[int, int]]:
    """Which workers are connected: pairs of their indices, the one that listened first.

    `workers` holds the port and the sockets of each.
    """
    found = set()
    for index, _, peer in _accepted(table, workers):
        other = _owner(peer, workers)
        if other is not None:
            found.add((index, other))
    return found


def stranger(table: Sequence[Connection], workers: Sequence[tuple[int, set[str]]]) -> Optional[str]:
    """Whose connection a worker has accepted although its other end is no worker; None when there is none."""
    for index, accepted, peer in _accepted(table, workers):
        if _owner(peer, workers) is None:
            whose = f" of user {peer.user}" if peer is not None and peer.inode != _NO_SOCKET else ""
            return (
                f"a process{whose} that is not of this run connected from {_shown(accepted.remote)} to worker {index}"
            )
    return None


def _accepted(
    table: Sequence[Connection], workers: Sequence[tuple[int, set[str]]]
) -> Iterable[tuple[int, Connection, Optional[Connection]]]:
    """The connections that workers have accepted on their ports: the worker, its end, and the other end."""
    ends = {(row.local, row.remote): row for row in table}
    for index, (port, sockets) in enumerate(workers):
        for row in table:
            if row.port == port and row.state != _LISTENING and row.inode in sockets:
                yield index, row, ends.get((row.remote, row.local))


def _owner(end: Optional[Connection], workers: Sequence[tuple[int, set[str]]]) -> Optional[int]:
    if end is None:
        return None
    return next((index for index, (_, sockets) in enumerate(workers) if end.inode in sockets), None)


def _shown(place: str) -> str:
    """An address as people write it; the table has its bytes in reverse.

    >>> _shown("0100007F:1F90")
    '127.0.0.1:8080'
    """
    host, _, port = place.partition(":")
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(host))) + f":{int(port, 16)}"


def free_addresses(count: int) -> list[str]:
    """Addresses on loopback whose ports nobody listens on now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]

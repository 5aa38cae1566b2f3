"""Where a server listens, and whether it may."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from dataclasses import dataclass
from typing import Final

from headway.errors import UsageError

__all__ = ["Address", "listen", "parse_address", "refuse_open"]

_BACKLOG: Final = 1024
_FORMER_S: Final = 3.0
"""How long the process of a run that was killed may take to let its port go."""
_POLL_S: Final = 0.05


@dataclass(frozen=True)
class Address:
    """A host, without the brackets of IPv6, and a port; port 0 takes a free one.

    >>> str(Address("::1", 8080)), Address("127.0.0.1", 80).is_loopback, Address("0.0.0.0", 80).is_loopback
    ('[::1]:8080', True, False)
    """

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it. A name other than `localhost` counts as open."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str, what: str) -> Address:
    """The address in `HOST:PORT`, `[IPV6]:PORT`, `:PORT` or `PORT`; without a host it is 127.0.0.1.

    Raises `UsageError` that names `what` was given, such as `--listen`.

    >>> str(parse_address("8080", "--listen")), str(parse_address("[::1]:0", "--listen"))
    ('127.0.0.1:8080', '[::1]:0')
    """
    host, _, port = text.strip().rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (port.isascii() and port.isdigit() and int(port) < 65_536) or (":" in host and f"[{host}]" not in text):
        msg = f"{what} {text!r} is not an address: write HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080"
        raise UsageError(msg)
    return Address(host or "127.0.0.1", int(port))


def refuse_open(address: Address, what: str, *, has_token: bool, option: str) -> None:
    """Raise `UsageError` for an address that others reach, where nothing says who may ask.

    `option` is how a token is given, such as `--token`.
    """
    if not address.is_loopback and not has_token:
        msg = (
            f"{what} {address}: whoever reaches this address could use it, and no token is asked for; "
            f"give one, such as {option} env:HEADWAY_TOKEN, or listen on 127.0.0.1:{address.port}"
        )
        raise UsageError(msg)


def listen(address: Address, what: str) -> socket.socket:
    """A socket that listens. Raises `UsageError` where it cannot, such as when the port is in use.

    A port in use is tried for some seconds: the server of a run that was killed may be about to let it go.
    """
    until = time.monotonic() + _FORMER_S
    while True:
        try:
            return _listen(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < until:
                time.sleep(_POLL_S)
                continue
            reason = error.strerror or str(error)
            msg = f"{what} {address}: cannot listen there: {reason}; give another address or port"
            raise UsageError(msg) from error


def _listen(address: Address) -> socket.socket:
    infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, place = infos[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock

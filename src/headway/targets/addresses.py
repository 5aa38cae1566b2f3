"""Which addresses a target may dial.

The check is made on the address that is really dialled, when a connection is opened: not on the name, which may lead
elsewhere a second later, and not on how the address is written (`127.1`, `2130706433`, `0`), which only the resolver
understands. An IPv6 address that carries an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo) is judged by both.

**What is allowed by default.** Whoever writes the URL of a target writes the flow, and nearly always means a service
within the own network or on the own machine. So private networks and loopback are allowed; a default that everybody
has to turn off protects nobody. Never allowed by default are addresses that no service has and that give secrets away:
link-local ones, those at which clouds answer with credentials, and those that are no single receiver's (unspecified,
multicast, broadcast, reserved). Where URLs come from others, deny `private` and `loopback` as well.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, Optional, Union

from headway.errors import UsageError

__all__ = ["AddressPolicy", "AddressRefusedError"]

Address = Union[IPv4Address, IPv6Address]
Network = Union[IPv4Network, IPv6Network]

_NAMED: Final = {
    "all": ("0.0.0.0/0", "::/0"),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    # AWS, Google, Azure and others are link-local as well; these are the ones that are not.
    "metadata": ("fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    "special": ("0.0.0.0/8", "::/128", "224.0.0.0/4", "ff00::/8", "240.0.0.0/4"),
}
"""Names that stand for networks."""
_DENIED: Final = ("link-local", "metadata", "special")
_NAT64: Final = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_COMPATIBLE: Final = ip_network("::/96")


class AddressRefusedError(OSError):
    """An address must not be dialled. An `OSError`, so that the next address of the same name is tried."""


class AddressPolicy:
    """Says of each address whether it may be dialled. `allow` wins over `deny`, and `deny` over the default.

    Both take networks such as `10.0.0.0/8`, single addresses, and the names `all`, `loopback`, `private`,
    `link-local`, `metadata` and `special`. Raises `UsageError` for anything else.

    >>> policy = AddressPolicy(allow=["10.1.0.0/16"], deny=["private"])
    >>> policy.refusal("10.1.2.3"), policy.refusal("10.2.2.3"), policy.refusal("8.8.8.8")
    (None, '10.2.2.3 is denied (10.0.0.0/8)', None)
    >>> AddressPolicy().refusal("::ffff:169.254.169.254")
    '::ffff:a9fe:a9fe (169.254.169.254) is denied (169.254.0.0/16)'
    """

    def __init__(self, *, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self._allowed = _networks("allow", allow)
        self._denied = [*_networks("deny", deny), *_networks("deny", _DENIED)]

    def refusal(self, host: str) -> Optional[str]:
        """Why an address, as a socket has it, must not be dialled; None where it may."""
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return f"{host!r} is no address"
        for form in _forms(address):
            if _within(form, self._allowed) is not None:
                continue
            denied = _within(form, self._denied)
            if denied is not None:
                shown = f"{address} ({form})" if form is not address else str(address)
                return f"{shown} is denied ({denied})"
        return None

    def socket_for(self, addr_info: tuple[Any, ...]) -> socket.socket:
        """A socket for what a resolver has found. Raises `AddressRefusedError` where it must not be dialled."""
        family, kind, protocol, _, sockaddr = addr_info
        refusal = self.refusal(str(sockaddr[0]))
        if refusal is not None:
            msg = f"{refusal}: name it with allow=[...] if it is meant"
            raise AddressRefusedError(msg)
        return socket.socket(family, kind, protocol)


def _networks(option: str, texts: Iterable[str]) -> list[Network]:
    if isinstance(texts, str):
        msg = f"{option}={texts!r} is one text: write a list, such as {option}=[{texts!r}]"
        raise UsageError(msg)
    found = []
    for text in texts:
        for network in _NAMED.get(text, (text,)):
            try:
                found.append(ip_network(network))
            except ValueError as error:
                msg = (
                    f"{option}: {text!r} is no network ({error}): write one such as 10.0.0.0/8, an address, "
                    f"or one of {', '.join(_NAMED)}"
                )
                raise UsageError(msg) from None
    return found


def _within(address: Address, networks: Iterable[Network]) -> Optional[Network]:
    return next((network for network in networks if address in network), None)


def _forms(address: Address) -> Iterator[Address]:
    """An address, and those that are inside it."""
    yield address
    if isinstance(address, IPv6Address):
        yield from _inside(address)


def _inside(address: IPv6Address) -> Iterator[IPv4Address]:
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    low = int(address) & 0xFFFFFFFF
    # ::1 and :: are addresses of their own, and no IPv4 address is so small.
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and low > 0xFFFF):
        yield IPv4Address(low)

"""The address of a receiver: checked when it is declared, and shown without what may be secret in it."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final, NamedTuple, Optional
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from headway.basics.secret import Secret
from headway.errors import UsageError

__all__ = ["Address", "Url", "host_and_port"]

_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")
_NUMBER: Final = re.compile(r"[0-9]*|0x[0-9a-f]*")
_AS_IT_IS: Final = "/%:@!$&'()*+,;=~?"
"""What is not encoded again; quotation marks and the like are."""
_EXAMPLE: Final = "write one such as https://shop.example/hooks"


_HOST_AND_PORT: Final = re.compile(r"([^\s/@:\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")
_PORT_MOST: Final = 65_535


class Address(NamedTuple):
    """Whom a request goes to, and what it asks for there: all of it ASCII."""

    is_tls: bool
    host: str
    port: int
    authority: str
    """The host, and the port where it is not that of the scheme: what the header `Host` says."""
    path: str
    """With what stands behind the question mark."""


class _Parsed(NamedTuple):
    text: str
    address: Address


class Url:
    """An address, or a reference to one that is itself a secret.

    >>> Url("https://shop.example/hooks?token=swordfish").shown
    'https://shop.example/hooks?token=…'
    >>> Url("env:SHOP_URL").shown
    'env:SHOP_URL'
    """

    def __init__(self, text: str) -> None:
        self._secret = Secret(text, "url")
        self._parsed: Optional[_Parsed] = None
        if self._secret.reference is None:
            self.shown = _shown(_checked(text, text))
        else:
            self.shown = self._secret.reference

    def read(self) -> Address:
        """The address of this moment. Raises `UsageError` where there is none."""
        text = self._secret.one()
        if self._parsed is None or self._parsed.text != text:
            parts = _checked(text, repr(self._secret))
            try:
                self._parsed = _Parsed(text, _address(parts))
            except UnicodeError:
                msg = f"{self.shown} is no address: {_EXAMPLE}"
                raise UsageError(msg) from None
        return self._parsed.address

    def secrets(self) -> list[str]:
        """What of the address must not be shown, as it was read so far. Never raises."""
        known = self._secret.known()
        if self._secret.reference is not None:
            return [part for text in known for part in (text, *_after_host(text))]
        asked = urlsplit(known[0]).query
        return [asked, *(value for _, value in parse_qsl(asked))]


def host_and_port(address: str, who: str, example: str) -> str:
    """The address of a gRPC server, where it is one. Raises `UsageError` otherwise.

    >>> host_and_port("localhost:7233", "to_temporal", "localhost:7233")
    'localhost:7233'
    """
    found = _HOST_AND_PORT.fullmatch(address) if isinstance(address, str) else None
    if found is None or not 0 < int(address.rpartition(":")[2]) <= _PORT_MOST:
        msg = f"{who}({address!r}, ...): expected a host and a port, such as {example!r}"
        raise UsageError(msg)
    return address


def _checked(text: str, shown: str) -> SplitResult:
    """The parts of an address. The messages show no more of it than may be seen."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.username is not None or parts.password is not None:
        msg = 'the url has a name or a password in it: use headers={"Authorization": "Basic env:NAME"}'
        raise UsageError(msg)
    if parts.scheme not in ("http", "https") or not host or _CONTROL.search(text) or not _is_written_as_usual(host):
        msg = f"{shown.partition('?')[0]!r} is no address of an HTTP service: {_EXAMPLE}"
        raise UsageError(msg)
    if parts.fragment:
        msg = f"{shown.partition('?')[0].partition('#')[0]} has a part behind #, which is never sent: leave it out"
        raise UsageError(msg)
    return parts


def _address(parts: SplitResult) -> Address:
    """The parts as they go over the wire. Raises `UnicodeError` for a name that no DNS has."""
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode()
    is_tls = parts.scheme == "https"
    usual = 443 if is_tls else 80
    port = usual if parts.port is None else parts.port
    shown = f"[{host}]" if ":" in host else host
    path = quote(parts.path or "/", safe=_AS_IT_IS)
    asked = f"?{quote(parts.query, safe=_AS_IT_IS)}" if parts.query else ""
    return Address(is_tls, host, port, shown if port == usual else f"{shown}:{port}", path + asked)


def _is_written_as_usual(host: str) -> bool:
    """Whether a host is a name, or an address as it is usually written: `127.1` and `2130706433` are neither."""
    try:
        ip_address(host)
        return True
    except ValueError:
        return _NUMBER.fullmatch(host.rpartition(".")[2]) is None and ":" not in host


def _shown(parts: SplitResult) -> str:
    pairs = (part.partition("=") for part in parts.query.split("&"))
    # Without an equals sign it may be a value as well.
    names = "&".join(f"{name}=…" if equals else "…" for name, equals, _ in pairs)
    asked = f"?{names}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{asked}"


def _after_host(text: str) -> list[str]:
    try:
        parts = urlsplit(text)
    except ValueError:  # No address, so that nothing was sent to it.
        return []
    return [found for found in (parts.path, parts.query) if found.strip("/")]

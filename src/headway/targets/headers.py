"""Headers that a user adds to each request, some of them secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from headway.basics.secret import HIDDEN, Secret
from headway.errors import UsageError
from headway.targets.urls import Address

__all__ = ["Headers", "head_of"]

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_SCHEME: Final = re.compile(r"([A-Za-z]+ )?((?:env|file):.+)")
"""`env:NAME`, or with the scheme of an authorization before it, such as `Bearer env:NAME`."""
_OURS: Final = frozenset(
    {
        *(
            "connection",
            "content-length",
            "content-type",
            "cookie",
            "expect",
            "host",
            "keep-alive",
            "te",
            "traceparent",
        ),
        *("trailer", "transfer-encoding", "upgrade"),
    }
)
_DEFAULTS: Final = {"user-agent": "headway", "accept": "*/*", "accept-encoding": "identity"}


class Headers:
    """Headers with values as they are, or by reference; both are taken for secret and never shown.

    >>> Headers({"X-Shop": "eu"}).read()["x-shop"]
    'eu'
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._given: list[tuple[str, str, Secret]] = []
        for name, value in headers.items():
            lowered = _checked_name(name)
            if not isinstance(value, str) or not _VALUE.fullmatch(value) or not value:
                msg = f"headers: the value of {name!r} is no text of one line of ASCII"
                raise UsageError(msg)
            found = _SCHEME.fullmatch(value)
            scheme, text = (found[1] or "", found[2]) if found else ("", value)
            self._given.append((lowered, scheme, Secret(text, f"header {name!r}")))

    def read(self) -> dict[str, str]:
        """All headers of this moment. Raises `UsageError` where a value is not there, or cannot be one."""
        found = dict(_DEFAULTS)
        for name, scheme, secret in self._given:
            value = secret.one()
            if not _VALUE.fullmatch(value):
                msg = f"{secret!r} is no text of one line of ASCII"
                raise UsageError(msg)
            found[name] = scheme + value
        return found

    def secrets(self) -> list[str]:
        """The values that must not be shown, without a scheme before them. Never raises."""
        return [text for _, _, secret in self._given for text in secret.known()]

    def __repr__(self) -> str:
        return f"<headers {', '.join(f'{name}: {HIDDEN}' for name, _, _ in self._given)}>"


def head_of(method: str, address: Address, headers: Mapping[str, str], length: int) -> bytes:
    r"""The head of a request. Raises `ValueError` for a header that would be another one, or several.

    >>> head_of("POST", Address(False, "shop.example", 80, "shop.example", "/hooks"), {"x-shop": "eu"}, 2)
    b'POST /hooks HTTP/1.1\r\nhost: shop.example\r\nx-shop: eu\r\ncontent-length: 2\r\n\r\n'
    """
    lines = [f"{method} {address.path} HTTP/1.1", f"host: {address.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"content-length: {length}")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        msg = "a header has a line end in it"
        raise ValueError(msg)
    return f"{text}\r\n\r\n".encode("latin-1")


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        msg = f"headers: {name!r} is no name of a header"
        raise UsageError(msg)
    lowered = name.lower()
    if lowered in _OURS or lowered.startswith(("ce-", "webhook-")):
        msg = f"headers: {name!r} is set by Headway itself: leave it out"
        raise UsageError(msg)
    return lowered

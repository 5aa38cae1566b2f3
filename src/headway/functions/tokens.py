"""Tokens: names of calls that are answered from outside."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Generator
from typing import Any, NamedTuple

import msgspec

from headway.errors import UsageError
from headway.functions.history import Identity
from headway.functions.tasks import Future

__all__ = ["Token", "read_token", "token_of"]

_decoder = msgspec.json.Decoder(tuple[str, str, int, int])


class Token(NamedTuple):
    """The text that names a call for whoever is to answer it, and the future of the answer."""

    text: str
    future: Future[Any]

    def __await__(self) -> Generator[Any, None, Any]:
        return self.future.__await__()


def token_of(identity: Identity, call: int) -> str:
    """The token of a call: text that may stand in an address. It is no secret, and guards nothing.

    >>> read_token(token_of(Identity("refund_order", "o-17", 2), 5))
    (Identity(name='refund_order', id='o-17', run=2), 5)
    """
    data = msgspec.json.encode((identity.name, identity.id, identity.run, call))
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_token(text: str) -> tuple[Identity, int]:
    """Whose call a token names. Raises `UsageError` for text that is none."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        name, instance, run, call = _decoder.decode(data)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        msg = f"{text!r:.100} is no token of a call: give the one that the function or the step was given"
        raise UsageError(msg) from None
    return Identity(name, instance, run), call

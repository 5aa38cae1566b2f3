"""Bearer tokens: who may ask. They come from the environment or from a file, and appear nowhere else."""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from headway.errors import UsageError

__all__ = ["Tokens"]

_LEAST: Final = 16
"""Characters of a token at least: shorter ones can be guessed."""


class Tokens:
    """The tokens that a server takes; without any it asks for none.

    Only their hashes are kept. All of them are compared, in constant time, so that neither which one matches nor how
    much of it can be measured.

    >>> os.environ["EXAMPLE_TOKEN"] = "correct-horse-battery"
    >>> tokens = Tokens.load(["env:EXAMPLE_TOKEN"], "--token")
    >>> tokens.admit(b"Bearer correct-horse-battery"), tokens.admit(b"Bearer wrong"), tokens
    (True, False, Tokens(1))
    """

    def __init__(self, tokens: Sequence[str] = ()) -> None:
        self._hashes = [sha256(token.encode()).digest() for token in tokens]

    @classmethod
    def load(cls, references: Sequence[str], what: str) -> Tokens:
        """Read `env:NAME` and `file:PATH`; a file holds one token a line, so that a new one can be added first.

        Raises `UsageError` for a reference that leads to no token, or to one of fewer than 16 characters.
        """
        return cls([token for reference in references for token in _read(reference, what)])

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def __repr__(self) -> str:
        return f"Tokens({len(self._hashes)})"

    def admit(self, authorization: bytes) -> bool:
        """Whether an `Authorization` header has one of them; without any, always."""
        if not self._hashes:
            return True
        scheme, _, token = authorization.partition(b" ")
        given = sha256(token.strip()).digest()
        matches = [hmac.compare_digest(given, known) for known in self._hashes]
        return scheme.lower() == b"bearer" and any(matches)


def _read(reference: str, what: str) -> list[str]:
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        found = [os.environ.get(name, "")]
    elif kind == "file" and name:
        try:
            found = [line.strip() for line in Path(name).read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            msg = f"{what} {reference}: the file cannot be read: {reason}; check its path and rights"
            raise UsageError(msg) from None
    else:
        # What was given may be the secret itself: it must not be shown.
        msg = f"{what} takes where the token is, not the token: write env:NAME or file:PATH"
        raise UsageError(msg)
    if not found or not found[0]:
        msg = f"{what} {reference} leads to no token: put one there, of {_LEAST} characters or more"
        raise UsageError(msg)
    if any(len(token) < _LEAST or not token.isascii() or not token.isprintable() for token in found):
        msg = f"{what} {reference}: a token there is not of {_LEAST} or more ASCII characters"
        raise UsageError(msg)
    return found

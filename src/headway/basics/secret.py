"""Secrets of connections: told as they are, by the name of an environment variable, or by the path of a file.

A secret is held so that it does not get out by accident: `repr` and `str` show where it comes from and nothing of it,
and it cannot be pickled. What is read from a file is read again when the file has changed, also when it is a link that
now leads elsewhere, as mounted secrets of Kubernetes are; so one is rotated without a restart.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn, Optional, Union

from headway.errors import UsageError

__all__ = ["HIDDEN", "Secret", "SecretText", "hide"]

SecretText = Union[str, Sequence[str]]
"""`env:NAME`, `file:/path`, or the secret itself; several while one is rotated."""

HIDDEN: Final = "***"
"""What stands in the place of a secret."""

_BYTES_MAX: Final = 65_536
_SHORTEST_HIDDEN: Final = 4
"""Characters: what is shorter than this is in many texts by chance."""


class Secret:
    """One secret, or the several of a file with one on each line.

    Raises `UsageError` for a text that cannot be one. Reading costs a look at the file's inode.

    >>> os.environ["SHOP_TOKEN"] = "swordfish"
    >>> secret = Secret("env:SHOP_TOKEN", "token")
    >>> secret.read(), secret
    (['swordfish'], <token from env:SHOP_TOKEN>)
    >>> Secret("swordfish", "token")
    <token ***>
    """

    def __init__(self, text: str, what: str) -> None:
        if not isinstance(text, str) or not text or text in ("env:", "file:"):
            msg = f'{what} is empty or no text: write "env:NAME", "file:/path" or the {what} itself'
            raise UsageError(msg)
        self._what = what
        self._text = text
        self._seen: Optional[tuple[int, int, int]] = None
        self._lines: list[str] = []
        self._known = [] if self.reference else [text]
        self._known_before: list[str] = []

    @property
    def reference(self) -> Optional[str]:
        """`env:NAME` or `file:/path`; None for a secret that was written down as it is."""
        return self._text if self._text.startswith(("env:", "file:")) else None

    def read(self) -> list[str]:
        """The secrets of this moment, one or more. Raises `UsageError` where there is none."""
        kind, _, rest = self._text.partition(":")
        if kind == "env":
            lines = _lines_of(os.environ.get(rest, ""))
        elif kind == "file":
            lines = self._from_file(rest)
        else:
            lines = [self._text]
        if not lines:
            where = f"the environment variable {rest!r} is not set" if kind == "env" else f"{rest} is empty"
            msg = f"there is no {self._what}: {where}"
            raise UsageError(msg)
        if lines != self._known:
            self._known, self._known_before = list(lines), self._known
        return lines

    def known(self) -> list[str]:
        """What to hide in texts: the secrets that were read last, and those before the last change. Never raises.

        Nothing is read: what was sent was read before, and a file that is gone by now must not hide the error of it.
        """
        return [*self._known, *self._known_before]

    def one(self) -> str:
        """The only, or the first, secret of this moment."""
        return self.read()[0]

    def _from_file(self, path: str) -> list[str]:
        try:
            status = os.stat(path)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                with open(path, "rb") as file:
                    self._lines = _lines_of(file.read(_BYTES_MAX).decode())
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            msg = f"there is no {self._what}: {path} cannot be read ({reason})"
            raise UsageError(msg) from None
        return self._lines

    def __repr__(self) -> str:
        return f"<{self._what} {f'from {self.reference}' if self.reference else HIDDEN}>"

    def __reduce__(self) -> NoReturn:
        msg = f"a {self._what} is not pickled: it would be readable in the bytes"
        raise TypeError(msg)


def _lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def hide(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets in it, in case that somebody has sent them back.

    >>> hide("no access with swordfish", ["swordfish"])
    'no access with ***'
    """
    for secret in secrets:
        if len(secret) >= _SHORTEST_HIDDEN:
            text = text.replace(secret, HIDDEN)
    return text

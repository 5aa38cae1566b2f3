"""TLS to a receiver: an authority of one's own, a certificate to show, and both read again when their files change."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Optional

from headway.errors import UsageError

if TYPE_CHECKING:
    import ssl

__all__ = ["Pem", "TlsFiles"]

_NO_PASSWORD: Final = ""
"""Where a key is encrypted, this is refused. Without it OpenSSL would ask on the terminal."""


class Pem(NamedTuple):
    """What the files hold: authorities, the certificate, and its key."""

    ca: Optional[bytes]
    cert: Optional[bytes]
    key: Optional[bytes]


class TlsFiles:
    """Makes contexts for TLS. Names and dates of certificates are always checked.

    With `ca`, a file of certificates, only these authorities are trusted, and otherwise those of the system. `cert` and
    `key` are what is shown to a receiver that asks; `key` may be in the file of `cert`. Raises `UsageError` for a key
    without a certificate.
    """

    def __init__(self, *, ca: Optional[str], cert: Optional[str], key: Optional[str]) -> None:
        if key is not None and cert is None:
            msg = f"key={key!r} has no certificate: give cert= as well"
            raise UsageError(msg)
        self._ca, self._cert, self._key = (None if path is None else os.fspath(path) for path in (ca, cert, key))
        self._seen: Any = None
        self._context: Optional[ssl.SSLContext] = None
        self._pem: Optional[tuple[ssl.SSLContext, Pem]] = None

    @property
    def is_given(self) -> bool:
        """Whether there is any file."""
        return self._ca is not None or self._cert is not None

    def context(self) -> ssl.SSLContext:
        """The context of this moment. Raises `UsageError` where a file cannot be read or used.

        Another one when a file has changed: connections that are open keep theirs, and new ones get it. Costs a look
        at the inode of each file.
        """
        seen = [self._look(path) for path in (self._ca, self._cert, self._key) if path is not None]
        if self._context is None or seen != self._seen:
            self._context, self._seen = self._made(), seen
        return self._context

    def pem(self) -> Pem:
        """The files of this moment, for a client that makes its own connections; the same object until one changes.

        Raises `UsageError` as `context` does.
        """
        context = self.context()
        if self._pem is None or self._pem[0] is not context:
            ca, cert, key = (None if path is None else _read(path) for path in (self._ca, self._cert, self._key))
            self._pem = (context, Pem(ca, cert, cert if key is None else key))
        return self._pem[1]

    def _look(self, path: str) -> tuple[int, int, int]:
        try:
            status = os.stat(path)
        except OSError as error:
            msg = f"{path} cannot be read ({error.strerror})"
            raise UsageError(msg) from None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _made(self) -> ssl.SSLContext:
        import ssl

        path = self._ca
        try:
            context = ssl.create_default_context(cafile=self._ca)
            if self._cert is not None:
                path = self._cert
                context.load_cert_chain(self._cert, self._key, password=_NO_PASSWORD)
        except (OSError, ValueError) as error:  # An SSLError is an OSError.
            hint = "expected PEM, a key that is not encrypted, and a key that belongs to the certificate"
            msg = f"{path} cannot be used for TLS ({getattr(error, 'reason', None) or error.args[-1]}): {hint}"
            raise UsageError(msg) from None
        return context


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})"
        raise UsageError(msg) from None

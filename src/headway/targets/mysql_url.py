"""Where a database of MySQL or MariaDB is, as a URL: shown without its password."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from headway.basics.secret import Secret
from headway.errors import UsageError
from headway.targets.tls import TlsFiles

__all__ = ["MysqlUrl"]

_PORT: Final = 3306
_FILES: Final = ("ssl_ca", "ssl_cert", "ssl_key")


class MysqlUrl:
    """`mysql://user:password@host:port/database`, or a reference to one. Raises `UsageError` for what is none.

    >>> MysqlUrl("mysql://app:swordfish@db.example/shop").shown
    'db.example/shop'
    """

    def __init__(self, text: str) -> None:
        self._secret = Secret(text, "url")
        if self._secret.reference is None:
            parts = _split(text)
            host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
            self.shown = f"{host}/{unquote(parts.path[1:])}"
        else:
            self.shown = self._secret.reference

    def options(self) -> dict[str, Any]:
        """What the library connects by, at this moment. Raises `UsageError` where the URL or a file is not there."""
        parts = _split(self._secret.one())
        asked = dict(parse_qsl(parts.query))
        found: dict[str, Any] = {
            "host": parts.hostname,
            "port": parts.port or _PORT,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "database": unquote(parts.path[1:]),
        }
        ca, cert, key = (asked.get(name) for name in _FILES)
        if ca or cert or key or asked.get("ssl") == "true":
            found["ssl"] = TlsFiles(ca=ca, cert=cert, key=key).context()
        return found

    def secrets(self) -> list[str]:
        """What must not be shown: the whole text, and the password in it as it is written and as it is meant."""
        found: list[str] = []
        for text in self._secret.known():
            with suppress(UsageError):
                password = _split(text).password or ""
                found += [password, unquote(password)]
            found.append(text)
        return [text for text in found if text]


def _split(text: str) -> SplitResult:
    """The parts of a URL. The message of an error has nothing of the text, which may be a password."""
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("mysql", "mariadb") and parts.hostname and len(parts.path) > 1 and parts.port != 0
        given = parse_qsl(parts.query, keep_blank_values=True)
        unknown = [name for name, value in given if not (value and name in _FILES) and (name, value) != ("ssl", "true")]
    except ValueError:
        is_good, unknown = False, []
    if not is_good:
        msg = (
            "the url is no address of a MySQL database: write mysql://user:password@host:3306/database, or where it "
            "stands, such as env:DATABASE_URL"
        )
        raise UsageError(msg)
    if unknown:
        msg = f"the url has the option {unknown[0]!r}: expected ssl=true, ssl_ca, ssl_cert or ssl_key"
        raise UsageError(msg)
    return parts

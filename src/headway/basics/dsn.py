"""Where a database is: shown without its password."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final
from urllib.parse import unquote, urlsplit

from headway.basics.secret import Secret
from headway.errors import UsageError

__all__ = ["Dsn"]

_PAIR: Final = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s']+)")
_WHOLE: Final = re.compile(rf"\s*(?:{_PAIR.pattern}\s*)+")


class Dsn:
    """The connection string of a database, or a reference to one. Raises `UsageError` for what is none.

    >>> Dsn("postgresql://app:swordfish@db.example:5433/shop").shown
    'db.example:5433/shop'
    >>> Dsn("host=db.example dbname=shop password=swordfish").shown
    'db.example/shop'
    """

    def __init__(self, text: str) -> None:
        self._secret = Secret(text, "dsn")
        if self._secret.reference is None:
            self.shown = _shown(_parts(text))
        else:
            self.shown = self._secret.reference

    def read(self) -> str:
        """The text of this moment. Raises `UsageError` where there is none."""
        text = self._secret.one()
        _parts(text)
        return text

    def secrets(self) -> list[str]:
        """What must not be shown: the whole text, and the password in it, as it is written and as it is meant.

        Of what was read so far, as `Secret.known` has it. Never raises.
        """
        found: list[str] = []
        for text in self._secret.known():
            with suppress(UsageError):  # What is no address of a database is hidden as a whole.
                password = _parts(text).get("password", "")
                found += [password, unquote(password)]
            found.append(text)
        return [text for text in found if text]


def _parts(text: str) -> dict[str, str]:
    """Host, port, database and password. The message of an error has nothing of the text, which may be a password."""
    if text.startswith(("postgresql://", "postgres://")):
        # Several hosts, and none, are fine for the library; the parser of addresses knows one.
        rest = text.partition("://")[2].partition("?")[0]
        credentials, _, where = rest.rpartition("@")
        hosts, _, database = where.partition("/")
        password = credentials.partition(":")[2]
        asked = dict(_asked(urlsplit(text).query))
        return {"host": hosts, "dbname": unquote(database), "password": password, **asked}
    if _WHOLE.fullmatch(text):
        return {name: value.strip("'") for name, value in _PAIR.findall(text)}
    msg = (
        "the dsn is no address of a PostgreSQL database: write postgresql://user@host/database, "
        '"host=... dbname=...", or where it stands, such as env:DATABASE_URL'
    )
    raise UsageError(msg)


def _asked(query: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&")) if value]


def _shown(parts: dict[str, str]) -> str:
    host = parts.get("host") or "local"
    port = f":{parts['port']}" if "port" in parts else ""
    return f"{host}{port}/{parts.get('dbname', '')}"

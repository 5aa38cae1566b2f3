"""Schema registries: the schemas of records by the numbers that stand before them.

What a number means never changes. So each is asked for once, and known ones need no registry.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from typing import Any, Final, Optional

from headway.basics.secret import Secret
from headway.errors import InputError, UsageError

__all__ = ["Registry"]

_TIMEOUT_S: Final = 10.0
_PATIENCE_S: Final = 60.0
_PAUSES_S: Final = (0.1, 0.5, 1, 2, 5)


class Registry:
    """A schema registry with the interface of Confluent's, such as also Karapace and Apicurio have.

    `user` and `password` are texts, `env:NAME` or `file:/path`. Raises `UsageError` for what is no URL.

    >>> Registry("http://localhost:8081", user="env:REGISTRY_USER", password="env:REGISTRY_PASSWORD")
    <Registry http://localhost:8081>
    """

    def __init__(self, url: str, *, user: Optional[str] = None, password: Optional[str] = None) -> None:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            msg = f"Registry({url!r}): expected a URL, such as 'http://localhost:8081'"
            raise UsageError(msg)
        if (user is None) is not (password is None):
            msg = f"Registry({url!r}): give user and password, or neither"
            raise UsageError(msg)
        self.url = url.rstrip("/")
        self._access = None
        if user is not None and password is not None:
            self._access = Secret(user, "registry user"), Secret(password, "registry password")
        self._known: dict[int, dict[str, Any]] = {}
        self._unknown: set[int] = set()
        self._lock = threading.Lock()

    def schema(self, number: int) -> dict[str, Any]:
        """What the registry says of a number: `schema`, and `schemaType` where that is not Avro.

        Waits for a registry that does not answer, for a minute. Raises `InputError` after that, so that the run ends
        and nothing is lost, and `ValueError` for a number that the registry does not know.
        """
        with self._lock:
            if number not in self._known:
                if number not in self._unknown:
                    self._ask(number)
                if number in self._unknown:
                    msg = f"the schema {number} is not known to the registry {self.url}"
                    raise ValueError(msg)
            return self._known[number]

    def _ask(self, number: int) -> None:
        until_s = time.monotonic() + _PATIENCE_S
        attempt = 0
        while True:
            try:
                self._known[number] = self._get(f"/schemas/ids/{number}")
                return
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    self._unknown.add(number)
                    return
                reason = f"it answers {error.code} {error.reason}"
                if error.code in (401, 403):
                    msg = f"the registry {self.url} refuses the schema {number}: {reason}; check user and password"
                    raise InputError(msg) from None
            except (OSError, ValueError) as error:
                reason = str(error)
            if time.monotonic() > until_s:
                msg = (
                    f"the registry {self.url} does not give the schema {number}: {reason}; the run goes on there when "
                    "it is started again"
                )
                raise InputError(msg)
            time.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
            attempt += 1

    def _get(self, path: str) -> dict[str, Any]:
        request = urllib.request.Request(self.url + path, headers={"Accept": "application/json"})
        if self._access is not None:
            both = ":".join(secret.one() for secret in self._access)
            request.add_header("Authorization", f"Basic {b64encode(both.encode()).decode()}")
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            found = json.load(response)
        if not isinstance(found, dict) or not isinstance(found.get("schema"), str):
            msg = f"{path} is answered with no schema"
            raise ValueError(msg)
        return found

    def __repr__(self) -> str:
        return f"<Registry {self.url}>"

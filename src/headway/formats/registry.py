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
from urllib.parse import quote

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
        self._known: dict[str, dict[str, Any]] = {}
        self._unknown: set[str] = set()
        self._lock = threading.Lock()

    def schema(self, number: int) -> dict[str, Any]:
        """What the registry says of a number: `schema`, and `schemaType` where that is not Avro.

        Waits for a registry that does not answer, for a minute. Raises `InputError` after that, so that the run ends
        and nothing is lost, and `ValueError` for a number that the registry does not know.
        """
        return self._found(f"/schemas/ids/{number}", f"the schema {number}")

    def parts_of(self, found: dict[str, Any]) -> list[dict[str, Any]]:
        """The schemas that one refers to, as versions of other subjects: each one behind those that it refers to.

        Waits and raises as `schema` does.
        """
        parts: dict[str, dict[str, Any]] = {}
        self._gather(found, parts, set())
        return list(parts.values())

    def _gather(self, found: dict[str, Any], parts: dict[str, dict[str, Any]], begun: set[str]) -> None:
        for one in found.get("references") or ():
            subject, version = str(one["subject"]), int(one["version"])
            path = f"/subjects/{quote(subject, safe='')}/versions/{version}"
            if path not in begun:  # One that refers to itself, by way of others, is no schema that a registry takes.
                begun.add(path)
                part = self._found(path, f"version {version} of the schema {subject!r}")
                self._gather(part, parts, begun)
                parts[path] = part

    def _found(self, path: str, what: str) -> dict[str, Any]:
        with self._lock:
            if path not in self._known and path not in self._unknown:
                self._ask(path, what)
            if path in self._unknown:
                msg = f"{what} is not known to the registry {self.url}"
                raise ValueError(msg)
            return self._known[path]

    def _ask(self, path: str, what: str) -> None:
        until_s = time.monotonic() + _PATIENCE_S
        attempt = 0
        while True:
            try:
                self._known[path] = self._get(path)
                return
            except urllib.error.HTTPError as error:
                with error:
                    if error.code == 404 and _is_of_registry(error):
                        self._unknown.add(path)
                        return
                reason = f"it answers {error.code} {error.reason}"
                if error.code in (401, 403):
                    msg = f"the registry {self.url} refuses {what}: {reason}; check user and password"
                    raise InputError(msg) from None
                if error.code == 404:
                    reason += ", and not as a registry does: check its URL, to which the path of the interface belongs"
            except (OSError, ValueError) as error:
                reason = str(error)
            if time.monotonic() > until_s:
                msg = (
                    f"the registry {self.url} does not give {what}: {reason}; the run goes on there when it is started "
                    "again"
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


def _is_of_registry(error: urllib.error.HTTPError) -> bool:
    """Whether a registry says that it does not know something, and not a server that has no such path at all."""
    try:
        return isinstance(json.load(error).get("error_code"), int)
    except (OSError, ValueError, AttributeError):
        return False
